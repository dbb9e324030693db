#include "cli/event_log.hpp"

#include <boost/asio/strand.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "cli/flags.hpp"
#include "connector/agent/agent_server_events.hpp"
#include "connector/gateway/gateway_events.hpp"
#include "connector/registration/events.hpp"

namespace sharingbus::cli {
namespace {

using namespace sharingbus::connector;

/// One line stays one line, whatever a peer sent.
std::string quoted(const std::string& value) {
  if (value.find_first_of(" \t\r\n'=\"") == std::string::npos && !value.empty()) return value;
  std::string text = "'";
  for (const char c : value) text += c == '\n' || c == '\r' ? ' ' : c == '\'' ? '"' : c;
  return text + "'";
}

/// Of an agent.
std::optional<EventLine> describe_proxy(const BusEvent& event) {
  const auto with_retry = [](EventLine line, bool reverse, Duration retry_in) {
    if (reverse) line.fields.emplace_back("retry_in", format_duration(retry_in));
    return line;
  };
  if (const auto* e = event.get_if<ProxyConnected>()) {
    return EventLine{LogLevel::info,
                     "proxy connected",
                     {{"proxy_id", e->proxy_id},
                      {"version", e->proxy_version},
                      {"peer", e->peer},
                      {"encoding", std::string(e->encoding)},
                      {"reverse", e->reverse ? "true" : "false"}}};
  }
  if (const auto* e = event.get_if<ProxyRefused>()) {
    EventLine line{LogLevel::warn, "proxy refused", {{"peer", e->peer}, {"error", to_string(e->error)}}};
    return with_retry(std::move(line), e->reverse, e->retry_in);
  }
  if (const auto* e = event.get_if<ProxyDisconnected>()) {
    EventLine line{LogLevel::info,
                   "proxy disconnected",
                   {{"proxy_id", e->proxy_id},
                    {"peer", e->peer},
                    {"reason", e->error ? to_string(e->error) : "finished"}}};
    return with_retry(std::move(line), e->reverse, e->retry_in);
  }
  return std::nullopt;
}

}  // namespace

std::string EventLine::text() const {
  std::string line = what;
  for (const auto& [key, value] : fields) line.append(" ").append(key).append("=").append(quoted(value));
  return line;
}

std::string EventLine::json() const {
  boost::json::object object{{"event", what}};
  for (const auto& [key, value] : fields) object[key] = value;
  return boost::json::serialize(object);
}

std::optional<EventLine> describe(const BusEvent& event) {
  if (const auto* e = event.get_if<ConnectorRegistered>()) {
    return EventLine{LogLevel::info, "connector registered", {{"address", e->address}, {"peer", e->peer}}};
  }
  if (const auto* e = event.get_if<ConnectorRefused>()) {
    return EventLine{LogLevel::warn,
                     "connector refused",
                     {{"address", e->address}, {"peer", e->peer}, {"error", to_string(e->error)}}};
  }
  if (const auto* e = event.get_if<ConnectorDisconnected>()) {
    return EventLine{LogLevel::info,
                     "connector disconnected",
                     {{"address", e->address}, {"peer", e->peer}, {"reason", e->error ? to_string(e->error) : "finished"}}};
  }
  if (const auto* e = event.get_if<Registered>()) {
    return EventLine{LogLevel::info, "registered", {{"address", e->address}, {"arn", e->arn}}};
  }
  if (const auto* e = event.get_if<RegistrationFailed>()) {
    return EventLine{LogLevel::warn, "registration failed", {{"address", e->address}, {"error", to_string(e->error)}}};
  }
  if (const auto* e = event.get_if<Disconnected>()) {
    EventLine line{LogLevel::warn, "disconnected", {{"address", e->address}, {"reason", e->reason}}};
    if (e->reason == "shutdown") line.level = LogLevel::info;
    if (e->detail) line.fields.emplace_back("detail", to_string(e->detail));
    return line;
  }
  if (const auto* e = event.get_if<BackingOff>()) {
    return EventLine{LogLevel::info,
                     "retrying",
                     {{"address", e->address}, {"attempt", std::to_string(e->attempt)}, {"after", format_duration(e->delay)}}};
  }
  if (const auto* e = event.get_if<RegistrationNotice>()) {
    return EventLine{e->warn ? LogLevel::warn : LogLevel::info, "notice", {{"address", e->address}, {"text", e->text}}};
  }
  return describe_proxy(event);
}

/// Who is registered over which connection, as the events tell.
struct EventLog::Census {
  std::size_t connectors = 0;
  std::map<std::string, std::size_t> by_peer;

  void count(const BusEvent& event, EventLine& line) {
    if (const auto* registered = event.get_if<ConnectorRegistered>()) {
      ++connectors;
      ++by_peer[registered->peer];
    } else if (const auto* gone = event.get_if<ConnectorDisconnected>()) {
      if (connectors != 0) --connectors;
      const auto found = by_peer.find(gone->peer);
      if (found != by_peer.end() && --found->second == 0) by_peer.erase(found);
    } else {
      return;
    }
    line.fields.emplace_back("connectors", std::to_string(connectors));
    line.fields.emplace_back("connections", std::to_string(by_peer.size()));
  }
};

EventLog::EventLog(SharingBus& bus, boost::asio::any_io_executor executor, Filter filter, Print print)
    : census_(std::make_shared<Census>()) {
  SubscriptionOptions options;
  options.name = "event log";
  options.filter = std::move(filter);
  options.capacity = 16'384;
  subscription_ = subscribe_on(
      bus, boost::asio::make_strand(std::move(executor)), std::move(options),
      [census = census_, print = std::move(print)](const Received& received) {
        if (const Gap* gap = received.gap()) {
          print(EventLine{LogLevel::warn, "events not logged", {{"count", std::to_string(gap->count)}}});
        } else if (const EventRef* event = received.event()) {
          auto line = describe(**event);
          if (!line) return;
          census->count(**event, *line);
          print(*line);
        }
      });
}

}  // namespace sharingbus::cli
