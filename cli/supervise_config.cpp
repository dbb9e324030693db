#include "cli/supervise_config.hpp"

#include <functional>
#include <map>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <CLI/CLI.hpp>

#include "cli/flags.hpp"
#include "connector/lifecycle/supervision.hpp"

namespace sharingbus::cli {
namespace {

namespace json = boost::json;
using connector::ServiceTransport;

[[noreturn]] void refuse(const std::string& key, const std::string& what) {
  throw CLI::ValidationError(key, what);
}

std::string text_of(const std::string& key, const YAML::Node& node) {
  if (!node.IsScalar()) refuse(key, "it needs a value");
  return node.Scalar();
}

template <class T>
T number_of(const std::string& key, const YAML::Node& node) {
  T number{};
  if (!node.IsScalar() || !YAML::convert<T>::decode(node, number)) refuse(key, "it needs a whole number in range");
  return number;
}

bool flag_of(const std::string& key, const YAML::Node& node) {
  bool flag = false;
  if (!node.IsScalar() || !YAML::convert<bool>::decode(node, flag)) refuse(key, "it needs true or false");
  return flag;
}

Duration duration_of(const std::string& key, const YAML::Node& node) {
  const std::string text = text_of(key, node);
  const auto duration = parse_duration(text);
  if (!duration || *duration == Duration::zero()) {
    refuse(key, "'" + text + "' is no duration above 0; write 500ms, 30s, 5m or 1h");
  }
  return *duration;
}

/// A list of values; one value is a list of one.
std::vector<std::string> texts_of(const std::string& key, const YAML::Node& node) {
  if (node.IsScalar()) return {node.Scalar()};
  if (!node.IsSequence()) refuse(key, "it needs a value or a list of values");
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < node.size(); ++i)
    texts.push_back(text_of(key + "[" + std::to_string(i) + "]", node[i]));
  return texts;
}

std::map<std::string, std::string> map_of(const std::string& key, const YAML::Node& node) {
  if (!node.IsMap()) refuse(key, "it needs a map of values");
  std::map<std::string, std::string> map;
  for (const auto& entry : node)
    map[entry.first.Scalar()] = text_of(key + "." + entry.first.Scalar(), entry.second);
  return map;
}

/// YAML as JSON: quoted scalars are texts, plain ones are what JSON makes of them, else texts too.
json::value json_of(const YAML::Node& node) {
  if (node.IsNull()) return nullptr;
  if (node.IsMap()) {
    json::object object;
    for (const auto& entry : node)
      object[entry.first.Scalar()] = json_of(entry.second);
    return object;
  }
  if (node.IsSequence()) {
    json::array array;
    for (const YAML::Node& item : node)
      array.push_back(json_of(item));
    return array;
  }
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return json::string(text);
  json::error_code code;
  json::value value = json::parse(text, code);
  return code ? json::value(json::string(text)) : value;
}

using Reader = std::function<void(const std::string& key, const YAML::Node& node)>;

/// Reads a map key by key.
void read_map(const std::string& where, const YAML::Node& node, const std::map<std::string, Reader>& readers) {
  if (!node.IsMap()) refuse(where, "it needs a map");
  for (const auto& entry : node) {
    const std::string& key = entry.first.Scalar();
    const auto reader = readers.find(key);
    if (reader == readers.end()) refuse(where + "." + key, "unknown key");
    reader->second(where + "." + key, entry.second);
  }
}

connector::GreetingMessage read_greeting(const std::string& where, const YAML::Node& node) {
  connector::GreetingMessage message;
  if (node.IsScalar()) {
    message.method = node.Scalar();
    return message;
  }
  read_map(where, node,
           {{"method", [&](const auto& key, const auto& n) { message.method = text_of(key, n); }},
            {"params",
             [&](const auto& key, const auto& n) {
               if (!n.IsMap() && !n.IsSequence()) refuse(key, "it needs a map or a list");
               message.params = json_of(n);
             }},
            {"notification", [&](const auto& key, const auto& n) { message.notification = flag_of(key, n); }}});
  if (message.method.empty()) refuse(where + ".method", "it is missing");
  return message;
}

connector::ServiceCapability read_capability(const std::string& where, const YAML::Node& node) {
  connector::ServiceCapability capability;
  if (node.IsScalar()) {
    capability.name = node.Scalar();
    return capability;
  }
  read_map(where, node,
           {{"name", [&](const auto& key, const auto& n) { capability.name = text_of(key, n); }},
            {"version", [&](const auto& key, const auto& n) { capability.version = text_of(key, n); }},
            {"config", [&](const auto& key, const auto& n) {
               if (!n.IsMap()) refuse(key, "it needs a map");
               capability.config = json_of(n).as_object();
             }}});
  return capability;
}

template <class T, class ReadOne>
std::vector<T> list_of(const std::string& key, const YAML::Node& node, ReadOne read_one) {
  if (!node.IsSequence()) refuse(key, "it needs a list");
  std::vector<T> list;
  for (std::size_t i = 0; i < node.size(); ++i)
    list.push_back(read_one(key + "[" + std::to_string(i) + "]", node[i]));
  return list;
}

void check_transport(const std::string& where, const connector::TransportConfig& transport) {
  switch (transport.type) {
    case ServiceTransport::stdio:
      if (transport.command.empty()) refuse(where + ".command", "it is missing: a stdio service is a program");
      return;
    case ServiceTransport::tcp:
      if (transport.address.empty()) refuse(where + ".address", "it is missing");
      if (transport.port == 0) refuse(where + ".port", "it is missing");
      return;
    case ServiceTransport::unix_socket:
      if (transport.address.empty()) refuse(where + ".address", "it is missing: the socket's path");
      return;
    case ServiceTransport::websocket:
      refuse(where + ".transport", "services are not reached by websocket yet");
  }
}

SupervisedService read_service(const std::string& where, const YAML::Node& node) {
  SupervisedService read;
  connector::ExtensionService& service = read.service;
  connector::TransportConfig& transport = service.transport;
  read_map(where, node,
           {{"name", [&](const auto& key, const auto& n) { service.name = text_of(key, n); }},
            {"version", [&](const auto& key, const auto& n) { service.version = text_of(key, n); }},
            {"description", [&](const auto& key, const auto& n) { service.description = text_of(key, n); }},
            {"metadata", [&](const auto& key, const auto& n) { service.metadata = map_of(key, n); }},
            {"capabilities",
             [&](const auto& key, const auto& n) {
               service.capabilities = list_of<connector::ServiceCapability>(key, n, read_capability);
             }},
            {"transport",
             [&](const auto& key, const auto& n) {
               const auto type = connector::parse_service_transport(text_of(key, n));
               if (!type) refuse(key, "'" + n.Scalar() + "' is none of stdio, tcp, unix, websocket");
               transport.type = *type;
             }},
            {"command",
             [&](const auto& key, const auto& n) {
               auto words = texts_of(key, n);
               if (words.empty()) refuse(key, "it is empty");
               transport.command = words.front();
               transport.args.insert(transport.args.begin(), words.begin() + 1, words.end());
             }},
            {"args",
             [&](const auto& key, const auto& n) {
               const auto words = texts_of(key, n);
               transport.args.insert(transport.args.end(), words.begin(), words.end());
             }},
            {"env", [&](const auto& key, const auto& n) { transport.env = map_of(key, n); }},
            {"cwd", [&](const auto& key, const auto& n) { transport.cwd = text_of(key, n); }},
            {"address", [&](const auto& key, const auto& n) { transport.address = text_of(key, n); }},
            {"port", [&](const auto& key, const auto& n) { transport.port = number_of<std::uint16_t>(key, n); }},
            {"timeout", [&](const auto& key, const auto& n) { transport.timeout = duration_of(key, n); }},
            {"auto-reconnect", [&](const auto& key, const auto& n) { transport.auto_reconnect = flag_of(key, n); }},
            {"depends-on", [&](const auto& key, const auto& n) { read.policy.depends_on = texts_of(key, n); }},
            {"greeting", [&](const auto& key, const auto& n) {
               read.policy.greeting = list_of<connector::GreetingMessage>(key, n, read_greeting);
             }}});
  if (service.name.empty()) refuse(where + ".name", "it is missing");
  check_transport(where, transport);
  return read;
}

}  // namespace

std::vector<SupervisedService> read_services(const YAML::Node& services) {
  if (!services || services.IsNull()) refuse("services", "there are none");
  auto read = list_of<SupervisedService>("services", services, read_service);
  if (read.empty()) refuse("services", "there are none");
  std::vector<connector::Dependent> names;
  for (const SupervisedService& one : read)
    names.push_back({one.service.name, one.policy.depends_on});
  const auto order = value_or_usage(connector::start_order(names), "services");
  std::vector<SupervisedService> ordered;
  for (const std::size_t at : order)
    ordered.push_back(std::move(read[at]));
  return ordered;
}

}  // namespace sharingbus::cli
