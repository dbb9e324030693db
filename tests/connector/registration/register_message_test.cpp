#include "connector/registration/register_message.hpp"

#include <memory>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace sharingbus::connector {
namespace {

namespace json = boost::json;

/// Answers the questions of the register message as the test says.
struct Described : Connector {
  std::string type = "my.type";
  std::vector<ConnectorBehavior> roles{ConnectorBehavior::request_response};
  Context facts;
  std::vector<TaskTypeSchema> tasks;

  std::string connector_type() const override { return type; }
  std::string version() const override { return "2.3.4"; }
  std::vector<ConnectorBehavior> behaviors() const override { return roles; }
  Context metadata() const override { return facts; }
  std::vector<TaskTypeSchema> capabilities() const override { return tasks; }
};

TaskTypeSchema task(std::string id, std::string description, std::string schema) {
  TaskTypeSchema made;
  made.task_type_id = std::move(id);
  made.description = std::move(description);
  made.input_schema_json = std::move(schema);
  return made;
}

struct RegisterMessage : ::testing::Test {
  transport::messages::RegisterRequest make(const std::string& session_token = "") {
    return make_register_request(registration, session_token, endpoint);
  }
  const std::string& fact(const transport::messages::RegisterRequest& request, const std::string& key) {
    static const std::string missing = "(missing)";
    const auto found = request.instance_metadata.metadata.find(key);
    return found != request.instance_metadata.metadata.end() ? found->second : missing;
  }

  std::shared_ptr<Described> connector = std::make_shared<Described>();
  Registration registration{{.tenant = "a.b", .type = "config type", .instance = "i:1 x"}, connector};
  transport::Endpoint endpoint{"grpc", "localhost", 50061};
};

TEST_F(RegisterMessage, Identifiers_AreSanitizedAndTheTypeIsTheConnectorsOwn) {
  const auto sut = make();
  EXPECT_EQ(sut.tenant_id, "a-b");
  EXPECT_EQ(sut.connector_type, "my-type");
  EXPECT_EQ(sut.instance_id, "i-1-x");
  EXPECT_EQ(sut.capabilities.connector_type, "my.type") << "not sanitised there";
  EXPECT_EQ(sut.scope, transport::messages::ConnectorScope::unspecified);
}

TEST_F(RegisterMessage, Capabilities_ComeFromTheConnector) {
  connector->facts = {{"k", "v"}};
  connector->roles = {ConnectorBehavior::source, ConnectorBehavior::sink};
  const auto sut = make().capabilities;
  EXPECT_EQ(sut.version, "2.3.4");
  EXPECT_EQ(sut.supported_encodings, (std::vector{PayloadEncoding::json, PayloadEncoding::raw_bytes}));
  EXPECT_EQ(sut.behaviors, (std::vector{ConnectorBehavior::source, ConnectorBehavior::sink}));
  EXPECT_EQ(sut.metadata, (Context{{"k", "v"}}));
  EXPECT_TRUE(sut.task_types.empty());
}

TEST_F(RegisterMessage, PlainConnector_IsRequestResponse) {
  registration.connector = make_connector("plain", nullptr);
  EXPECT_EQ(make().capabilities.behaviors, std::vector{ConnectorBehavior::request_response});
}

TEST_F(RegisterMessage, Tokens_TravelTogether) {
  EXPECT_EQ(make().jwt_token, "");
  EXPECT_EQ(make().session_token, "");
  registration.config.auth_token = "jwt";
  const auto sut = make("session");
  EXPECT_EQ(sut.jwt_token, "jwt");
  EXPECT_EQ(sut.session_token, "session");
}

TEST_F(RegisterMessage, DisplayName_DefaultsToTheSanitizedInstance) {
  EXPECT_EQ(make().instance_metadata.display_name, "i-1-x");
  registration.config.display_name = "My. Name";
  registration.config.tags = {"one", "two"};
  EXPECT_EQ(make().instance_metadata.display_name, "My. Name");
  EXPECT_EQ(make().instance_metadata.tags, (std::vector<std::string>{"one", "two"}));
}

TEST_F(RegisterMessage, RuntimeFacts_AreMergedAndTheUsersKeysWin) {
  registration.config.metadata = {{"team", "red"}, {"sdk.os", "mine"}};
  const auto sut = make();
  EXPECT_EQ(fact(sut, "team"), "red");
  EXPECT_EQ(fact(sut, "sdk.os"), "mine");
  EXPECT_EQ(fact(sut, "sdk.language"), "c++");
  EXPECT_EQ(fact(sut, "sdk.pid"), std::to_string(::getpid()));
  for (const char* key :
       {"sdk.version", "sdk.arch", "sdk.os_family", "sdk.debug", "sdk.hostname", "sdk.target", "sdk.compiler"}) {
    EXPECT_NE(fact(sut, key), "(missing)") << key;
    EXPECT_NE(fact(sut, key), "") << key;
  }
}

TEST_F(RegisterMessage, TransportAndTls_ComeFromTheScheme) {
  const auto facts = [this](const char* scheme) {
    endpoint.scheme = scheme;
    const auto sut = make();
    return fact(sut, "sdk.transport") + "/" + fact(sut, "sdk.tls");
  };
  EXPECT_EQ(facts("grpc"), "gRPC/false");
  EXPECT_EQ(facts("grpcs"), "gRPC/true");
  EXPECT_EQ(facts("ws"), "WebSocket/false");
  EXPECT_EQ(facts("wss"), "WebSocket/true");
}

TEST_F(RegisterMessage, ToolWithCapabilities_NamesItsSchemas) {
  connector->roles = {ConnectorBehavior::tool};
  connector->tasks = {task("add", "adds", R"({"type":"object"})"), task("odd", "no schema", "not JSON")};
  const auto sut = make().capabilities;
  EXPECT_EQ(sut.task_types, connector->tasks);
  ASSERT_EQ(sut.metadata.count("tool_schemas"), 1u);
  EXPECT_EQ(json::parse(sut.metadata.at("tool_schemas")),
            json::parse(R"([{"name":"add","description":"adds","parameters":{"type":"object"}},
                            {"name":"odd","description":"no schema","parameters":null}])"));
}

TEST_F(RegisterMessage, ToolSchemas_AreNotAddedWhereTheyAreNotWanted) {
  connector->roles = {ConnectorBehavior::tool};
  EXPECT_EQ(make().capabilities.metadata.count("tool_schemas"), 0u) << "no capabilities";
  connector->tasks = {task("add", "", "{}")};
  connector->facts = {{"tool_schemas", "own"}};
  EXPECT_EQ(make().capabilities.metadata.at("tool_schemas"), "own");
  connector->facts.clear();
  connector->roles = {ConnectorBehavior::request_response};
  EXPECT_EQ(make().capabilities.metadata.count("tool_schemas"), 0u) << "no tool";
}

}  // namespace
}  // namespace sharingbus::connector
