#include <cstdio>
#include <iostream>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "cli/command.hpp"
#include "cli/event_log.hpp"
#include "cli/flags.hpp"
#include "cli/runtime.hpp"
#include "cli/sockets.hpp"
#include "connector/gateway/gateway.hpp"

namespace sharingbus::cli {
namespace {

namespace json = boost::json;
using connector::DuplicatePolicy;

void print_line(const std::string& line) {
  std::cout << line << '\n' << std::flush;
}

class GatewayCommand final : public Command {
 public:
  explicit GatewayCommand(CLI::App& program)
      : app_(*program.add_subcommand("gateway", "The server that connectors register with")) {
    // Old connectors send all their task types at once.
    options_.max_register_bytes = std::size_t{8} * 1024 * 1024;
    grpc_option_ = app_.add_option(
        "--grpc", grpc_,
        "Address to serve gRPC on; port 0 is any free one; 127.0.0.1:50061 unless --websocket is given");
    grpc_option_->type_name("ADDRESS");
    websocket_option_ = app_.add_option("--websocket", websocket_, "Address to serve WebSockets on");
    websocket_option_->type_name("ADDRESS");
    serve_flags_.add(app_);
    app_.add_flag("--json", json_, "JSON lines on stdout: the addresses, then what happens to connectors");
    add_duration(app_, "--heartbeat-interval", options_.heartbeat_interval,
                 "A connector silent for this long is sent a heartbeat", Zero::refused);
    add_duration(app_, "--session-timeout", options_.session_timeout, "A connector silent for longer is ended",
                 Zero::refused);
    add_duration(app_, "--register-timeout", options_.register_timeout, "From a stream's opening to its registration",
                 Zero::refused);
    add_duration(app_, "--drain", drain_, "What running requests get at shutdown");
    add_choice<DuplicatePolicy>(
        app_, "--duplicates", options_.duplicates,
        {{"replace-old", DuplicatePolicy::replace_old}, {"refuse-new", DuplicatePolicy::refuse_new}},
        "Who keeps an identity that registers twice");
    app_.add_option("--max-sessions", options_.max_sessions, "Streams at once")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    app_.add_option("--max-unused-connections", listen_.max_unused_connections,
                    "gRPC connections without a stream; those beyond are closed at once")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    add_duration(app_, "--handshake-timeout", listen_.handshake_timeout,
                 "From a connection to its first words of HTTP/2, or to its WebSocket stream", Zero::refused);
    add_duration(app_, "--max-connection-idle", listen_.max_connection_idle,
                 "A gRPC connection without streams for longer is closed", Zero::refused);
    app_.add_option("--max-message-bytes", max_message_bytes_, "Largest message that is accepted")
        ->check(CLI::Range(1, kMostMessageBytes))
        ->capture_default_str();
    app_.add_option("--max-register-bytes", options_.max_register_bytes, "Largest registration that is accepted")
        ->check(CLI::Range(1, kMostMessageBytes))
        ->capture_default_str();
    app_.add_option("--log-level", log_level_, "Least level that is logged")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    add_config_flag(app_, config_);
    name_environment(app_);
  }

  CLI::App& app() override { return app_; }

  int run() override {
    apply_config_file(app_, config_);
    value_or_usage(options_.validate(), "gateway");
    serve_flags_.check();
    const bool websocket = websocket_option_->count() != 0;
    std::vector<Served> served;
    if (grpc_option_->count() != 0 || !websocket) served.push_back({"grpc", address("--grpc", grpc_, "grpc", "grpcs")});
    if (websocket) served.push_back({"websocket", address("--websocket", websocket_, "ws", "wss")});
    raise_descriptor_limit();
    return serve(std::move(served));
  }

 private:
  /// What is served, and where.
  struct Served {
    std::string name;
    transport::Endpoint endpoint;
  };

  /// What `text` says for `flag`: an address, or a URL with the scheme that goes with the TLS flags.
  [[nodiscard]] transport::Endpoint address(const std::string& flag, const std::string& text, const std::string& plain,
                                            const std::string& secure) const {
    const std::string& scheme = serve_flags_.with_tls() ? secure : plain;
    const bool url = text.find("://") != std::string::npos;
    auto endpoint = value_or_usage(transport::parse_endpoint(url ? text : scheme + "://" + text), flag);
    if (endpoint.scheme == secure && scheme == plain) {
      throw CLI::ValidationError(flag, secure + ":// needs --tls-cert and --tls-key");
    }
    if (endpoint.scheme != scheme) throw CLI::ValidationError(flag, "'" + text + "' is not host:port");
    return endpoint;
  }

  int serve(std::vector<Served> served) {
    const LogSink log = make_log(log_level_);
    Runtime runtime(1);
    const EventLog events(runtime.bus(), runtime.executor(), Filter::kind(EventKind::connector_lifecycle),
                          [&](const EventLine& line) {
                            log(line.level, line.text());
                            if (json_) print_line(line.json());
                          });
    options_.log = nullptr;  // the event log says the same
    listen_.tls = serve_flags_.tls();
    connector::Gateway gateway(runtime.executor(), runtime.bus(), runtime.timers(), options_);
    for (Served& each : served) {
      transport::ListenerOptions base = gateway.make_listener_options();
      base.limits.max_inbound_bytes = max_message_bytes_;
      base.max_links = options_.max_sessions;
      auto bound = gateway.serve(make_listener(runtime, each.endpoint, std::move(base), listen_, log));
      if (!bound) {
        std::cerr << "sharingbus gateway: " << to_string(bound.error()) << '\n';
        close(runtime, gateway);
        return kFailed;
      }
      each.endpoint = std::move(*bound);
    }
    // Before anyone knows that it is ready: who does may end it.
    runtime.on_signal([&](int) {
      log(LogLevel::info, "draining for up to " + format_duration(drain_));
      gateway.close(drain_, [&] { runtime.stop(); });
    });
    announce(served);
    runtime.wait();
    log(LogLevel::info, "stopped");
    return kDone;
  }

  void close(Runtime& runtime, connector::Gateway& gateway) {
    gateway.close(Duration::zero(), [&] { runtime.stop(); });
    runtime.wait();
  }

  void announce(const std::vector<Served>& served) const {
    json::object addresses;
    std::string line = "listening";
    for (const Served& each : served) {
      addresses[each.name] = transport::authority(each.endpoint);
      line += " " + each.name + "=" + transport::authority(each.endpoint);
    }
    print_line(json_ ? json::serialize(json::object{{"listening", std::move(addresses)}}) : line);
  }

  CLI::App& app_;
  CLI::Option* grpc_option_ = nullptr;
  CLI::Option* websocket_option_ = nullptr;
  std::string grpc_ = "127.0.0.1:50061";
  std::string websocket_;
  ServeFlags serve_flags_;
  ListenSettings listen_;
  bool json_ = false;
  connector::GatewayOptions options_;
  Duration drain_ = std::chrono::seconds(5);
  std::size_t max_message_bytes_ = 16 * 1024 * 1024;
  std::string log_level_ = "info";
  std::string config_;
};

}  // namespace

std::unique_ptr<Command> make_gateway_command(CLI::App& program) {
  return std::make_unique<GatewayCommand>(program);
}

}  // namespace sharingbus::cli
