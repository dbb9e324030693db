#include "connector/registration/register_message.hpp"

#include <algorithm>
#include <array>
#include <sys/utsname.h>
#include <unistd.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace sharingbus::connector {
namespace {

namespace messages = transport::messages;
namespace json = boost::json;

constexpr const char* kSdkVersion = "0.1.0";
#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "gcc " __VERSION__;
#else
constexpr const char* kCompiler = "unknown";
#endif

Context runtime_facts(const transport::Endpoint& endpoint) {
  const bool websocket = endpoint.scheme == "ws" || endpoint.scheme == "wss";
  const bool tls = endpoint.scheme == "grpcs" || endpoint.scheme == "wss";
  Context facts{{"sdk.version", kSdkVersion},
                {"sdk.language", "c++"},
                {"sdk.compiler", kCompiler},
                {"sdk.os_family", "unix"},
                {"sdk.pid", std::to_string(::getpid())},
                {"sdk.transport", websocket ? "WebSocket" : "gRPC"},
                {"sdk.tls", tls ? "true" : "false"}};
#ifdef NDEBUG
  facts.emplace("sdk.debug", "false");
#else
  facts.emplace("sdk.debug", "true");
#endif
  utsname names{};
  if (::uname(&names) == 0) {
    std::string os(static_cast<const char*>(names.sysname));
    std::transform(os.begin(), os.end(), os.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    const std::string arch = static_cast<const char*>(names.machine);
    facts.emplace("sdk.target", arch + "-" + os);
    facts.emplace("sdk.os", std::move(os));
    facts.emplace("sdk.arch", arch);
    facts.emplace("sdk.hostname", static_cast<const char*>(names.nodename));
  }
  return facts;
}

/// Tool connectors must name their tools' schemas, as JSON text. (§4.2.)
void add_tool_schemas(messages::ConnectorCapabilities& capabilities) {
  const bool tool = std::find(capabilities.behaviors.begin(), capabilities.behaviors.end(), ConnectorBehavior::tool) !=
                    capabilities.behaviors.end();
  if (!tool || capabilities.task_types.empty() || capabilities.metadata.count("tool_schemas") != 0) return;
  json::array schemas;
  for (const TaskTypeSchema& task : capabilities.task_types) {
    json::error_code code;
    json::value parameters = json::parse(task.input_schema_json, code);
    if (code) parameters = nullptr;
    schemas.push_back(json::object{
        {"name", task.task_type_id}, {"description", task.description}, {"parameters", std::move(parameters)}});
  }
  capabilities.metadata.emplace("tool_schemas", json::serialize(schemas));
}

}  // namespace

messages::RegisterRequest make_register_request(const Registration& registration, const std::string& session_token,
                                                const transport::Endpoint& endpoint) {
  const Address address = registration.address();
  const RegistrationConfig& config = registration.config;
  messages::RegisterRequest request;
  request.tenant_id = address.tenant;
  request.connector_type = address.type;
  request.instance_id = address.instance;
  request.capabilities.connector_type = registration.connector->connector_type();
  request.capabilities.version = registration.connector->version();
  request.capabilities.supported_encodings = registration.connector->supported_encodings();
  request.capabilities.behaviors = registration.connector->behaviors();
  request.capabilities.metadata = registration.connector->metadata();
  request.capabilities.task_types = registration.connector->capabilities();
  add_tool_schemas(request.capabilities);
  request.jwt_token = config.auth_token;
  request.session_token = session_token;
  request.instance_metadata.display_name = config.display_name.empty() ? address.instance : config.display_name;
  request.instance_metadata.tags = config.tags;
  request.instance_metadata.metadata = config.metadata;
  request.instance_metadata.metadata.merge(runtime_facts(endpoint));
  return request;
}

}  // namespace sharingbus::connector
