#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <iostream>
#include <utility>

#include "cli/command.hpp"
#include "cli/event_log.hpp"
#include "cli/flags.hpp"
#include "cli/runtime.hpp"
#include "connector/gateway/gateway.hpp"
#include "transport/grpc/grpc_listener.hpp"

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
    app_.add_option("--grpc", grpc_, "Address to serve gRPC on; port 0 is any free one")->capture_default_str();
    app_.add_flag("--json", json_, "JSON lines on stdout: the addresses, then what happens to connectors");
    add_duration(app_, "--heartbeat-interval", options_.heartbeat_interval, "Between heartbeats to a connector",
                 Zero::refused);
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
    const auto endpoint = value_or_usage(transport::parse_endpoint(grpc_), "--grpc");
    if (endpoint.scheme != "grpc") throw CLI::ValidationError("--grpc", "'" + grpc_ + "' is not host:port");
    return serve(endpoint);
  }

 private:
  int serve(const transport::Endpoint& endpoint) {
    const LogSink log = make_log(log_level_);
    Runtime runtime(1);
    const EventLog events(runtime.bus(), runtime.executor(), Filter::kind(EventKind::connector_lifecycle), [&](const EventLine& line) {
      log(line.level, line.text());
      if (json_) print_line(line.json());
    });
    options_.log = nullptr;  // the event log says the same
    connector::Gateway gateway(runtime.executor(), runtime.bus(), runtime.timers(), options_);
    transport::GrpcListenerOptions listener;
    listener.base = gateway.make_listener_options();
    listener.base.limits.max_inbound_bytes = max_message_bytes_;
    listener.base.max_links = options_.max_sessions;
    const auto bound = gateway.serve(std::make_unique<transport::GrpcListener>(endpoint, listener));
    if (!bound) {
      std::cerr << "sharingbus gateway: " << to_string(bound.error()) << '\n';
      close(runtime, gateway);
      return kFailed;
    }
    // Before anyone knows that it is ready: who does may end it.
    runtime.on_signal([&](int) {
      log(LogLevel::info, "draining for up to " + format_duration(drain_));
      gateway.close(drain_, [&] { runtime.stop(); });
    });
    announce(*bound);
    runtime.wait();
    log(LogLevel::info, "stopped");
    return kDone;
  }

  void close(Runtime& runtime, connector::Gateway& gateway) {
    gateway.close(Duration::zero(), [&] { runtime.stop(); });
    runtime.wait();
  }

  void announce(const transport::Endpoint& bound) const {
    if (json_) {
      print_line(json::serialize(json::object{{"listening", json::object{{"grpc", transport::authority(bound)}}}}));
    } else {
      print_line("listening grpc=" + transport::authority(bound));
    }
  }

  CLI::App& app_;
  std::string grpc_ = "127.0.0.1:50061";
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
