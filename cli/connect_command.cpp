#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <iostream>
#include <optional>
#include <unistd.h>
#include <utility>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "cli/builtin_connectors.hpp"
#include "cli/command.hpp"
#include "cli/event_log.hpp"
#include "cli/flags.hpp"
#include "cli/runtime.hpp"
#include "cli/sockets.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "connector/registration/multiplexed_dialer.hpp"

namespace sharingbus::cli {
namespace {

namespace json = boost::json;
using connector::JitterMode;

class ConnectCommand final : public Command {
 public:
  explicit ConnectCommand(CLI::App& program)
      : app_(*program.add_subcommand("connect", "Built-in connectors, registered with any gateway")) {
    app_.add_option("url", options_.host,
                    "The gateway, grpc:// grpcs:// ws:// or wss://host:port, or host:port for gRPC")
        ->type_name("URL");
    app_.add_option("--type", type_, "What the connectors do")
        ->check(CLI::IsMember(builtin_connector_types()))
        ->capture_default_str();
    app_.add_option("--tenant", registration_.tenant, "Tenant of the address")->capture_default_str();
    app_.add_option("--instance", instance_, "Instance of the address; with --instances, followed by -1, -2, …")
        ->capture_default_str();
    app_.add_option("--instances", instances_, "How many connectors")
        ->check(CLI::Range(1, 100'000))
        ->capture_default_str();
    app_.add_option("--auth-token", registration_.auth_token, "JWT to register with");
    app_.add_option("--display-name", registration_.display_name, "Shown by the gateway");
    app_.add_option("--tags", registration_.tags, "Shown by the gateway")->delimiter(',');
    dial_flags_.add(app_);
    add_runner_flags();
    app_.add_flag("--json", json_, "One JSON document at the end: what each connector did, summed up");
    app_.add_option("--log-level", log_level_, "Least level that is logged")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    add_config_flag(app_, config_);
    name_environment(app_);
  }

  CLI::App& app() override { return app_; }

  int run() override {
    apply_config_file(app_, config_);
    if (options_.host.empty()) throw CLI::RequiredError("url");
    options_.reconnect = !no_reconnect_;
    const auto endpoint = value_or_usage(options_.endpoint(), "url");
    if (constexpr std::array kSchemes{"grpc", "grpcs", "ws", "wss"};
        std::find(kSchemes.begin(), kSchemes.end(), endpoint.scheme) == kSchemes.end()) {
      throw CLI::ValidationError(
          "url", "connectors connect to grpc:// grpcs:// ws:// and wss://, not to " + endpoint.scheme + "://");
    }
    value_or_usage(options_.validate(), "connect");
    options_.log = make_log(log_level_);
    DialSettings settings;
    settings.max_streams_per_channel = options_.max_streams_per_channel;
    settings.max_message_bytes = options_.limits.max_inbound_bytes;
    settings.connect_timeout = options_.connect_timeout;
    dial_flags_.apply(endpoint, options_.log, settings);
    raise_descriptor_limit();
    return connect(endpoint, settings);
  }

 private:
  void add_runner_flags() {
    app_.add_option("--max-streams-per-channel", options_.max_streams_per_channel, "Connectors on one connection")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    add_duration(app_, "--connect-timeout", options_.connect_timeout, "To open a stream", Zero::refused);
    app_.add_option("--max-registrations-per-stream", max_registrations_,
                    "Connectors of one tenant that share a stream, where the gateway allows it; 1: none do")
        ->check(CLI::Range(1, 100'000))
        ->capture_default_str();
    app_.add_flag("--no-reconnect", no_reconnect_, "A connector ends with its first stream");
    add_duration(app_, "--reconnect-delay", options_.reconnect_delay, "First wait before another attempt");
    add_duration(app_, "--max-backoff", options_.max_backoff, "Longest wait before another attempt");
    add_duration(app_, "--reconnect-jitter", options_.reconnect_jitter, "Spread of the waits; 0s for none");
    add_choice<JitterMode>(
        app_, "--jitter-mode", options_.jitter_mode,
        {{"additive", JitterMode::additive}, {"equal", JitterMode::equal}, {"decorrelated", JitterMode::decorrelated}},
        "How waits are spread");
    app_.add_option("--max-concurrent-requests", options_.max_concurrent_requests, "Handlers of one connector at once")
        ->check(CLI::Range(0, static_cast<int>(connector::kMostRequests)))
        ->capture_default_str();
    app_.add_option("--max-waiting-requests", options_.max_waiting_requests, "Requests of one connector that may wait")
        ->check(CLI::Range(1, static_cast<int>(connector::kMostRequests)))
        ->capture_default_str();
    add_duration(app_, "--request-timeout", options_.request_timeout,
                 "What a request may take; 0s: as long as it likes");
    add_duration(app_, "--heartbeat-interval", options_.heartbeat_interval, "Between heartbeats to the gateway",
                 Zero::refused);
    add_duration(app_, "--heartbeat-slack", options_.heartbeat_slack,
                 "A heartbeat may be this early, to go out with others", Zero::allowed);
    add_duration(app_, "--heartbeat-timeout", options_.heartbeat_timeout, "Without an answer for longer: reconnect",
                 Zero::refused);
    add_duration(app_, "--minimum-stream-life", options_.minimum_stream_life,
                 "A stream that lived less keeps the backoff");
    add_duration(app_, "--drain", options_.drain, "What running requests get at shutdown");
    app_.add_option("--max-message-bytes", options_.limits.max_inbound_bytes, "Largest message that is accepted")
        ->check(CLI::Range(1, kMostMessageBytes))
        ->capture_default_str();
  }

  [[nodiscard]] std::vector<connector::Registration> registrations(const Clock& clock) const {
    const auto connector = make_builtin_connector(type_, clock);
    std::vector<connector::Registration> all;
    for (int i = 1; i <= instances_; ++i) {
      connector::Registration registration{registration_, connector};
      registration.config.type = type_;
      registration.config.instance = instances_ == 1 ? instance_ : instance_ + "-" + std::to_string(i);
      all.push_back(std::move(registration));
    }
    return all;
  }

  int connect(const transport::Endpoint& endpoint, const DialSettings& settings) {
    const LogSink log = options_.log;
    Runtime runtime(1);
    const EventLog events(runtime.bus(), runtime.executor(), Filter::kind(EventKind::registration),
                          [&](const EventLine& line) { log(line.level, line.text()); });
    GatewayDialer way(runtime, endpoint, settings);
    if (const auto opened = way.open(); !opened) {
      std::cerr << "sharingbus connect: " << to_string(opened.error()) << '\n';
      return kFailed;
    }
    std::optional<connector::MultiplexedDialer> shared;
    if (max_registrations_ > 1) {
      shared.emplace(runtime.executor(), runtime.bus(), runtime.timers(), way.dialer(), max_registrations_);
    }
    transport::Dialer& dialer = shared ? *shared : way.dialer();
    connector::MultiConnectorRunner runner(runtime.executor(), runtime.bus(), runtime.timers(), dialer, options_,
                                           registrations(runtime.timers()));
    const connector::ShutdownHandle shutdown = runner.shutdown_handle();
    std::atomic<bool> interrupted{false};
    runtime.on_signal([&](int) {
      interrupted = true;
      shutdown.shutdown();
    });
    runner.run([&](const Error&) {
      const auto close = [&] { way.close([&] { runtime.stop(); }); };
      if (!shared) return close();
      shared->close(close);
    });
    runtime.wait();
    if (json_) print_summary(runner);
    if (interrupted) return kInterrupted;
    return any_failed(runner) ? kFailed : kDone;
  }

  static bool any_failed(const connector::MultiConnectorRunner& runner) {
    for (const auto& [key, reason] : runner.end_reasons()) {
      if (reason) return true;
    }
    return false;
  }

  static void print_summary(const connector::MultiConnectorRunner& runner) {
    connector::RegistrationMetrics sum;
    const auto metrics = runner.metrics_snapshot();
    for (const auto& [key, m] : metrics) {
      sum.requests_received += m.requests_received;
      sum.requests_processed += m.requests_processed;
      sum.requests_failed += m.requests_failed;
      sum.bytes_in += m.bytes_in;
      sum.bytes_out += m.bytes_out;
      sum.reconnection_attempts += m.reconnection_attempts;
      sum.successful_reconnects += m.successful_reconnects;
      sum.total_disconnects += m.total_disconnects;
    }
    const json::object document{{"connectors", metrics.size()},
                                {"requests_received", sum.requests_received},
                                {"requests_processed", sum.requests_processed},
                                {"requests_failed", sum.requests_failed},
                                {"bytes_in", sum.bytes_in},
                                {"bytes_out", sum.bytes_out},
                                {"reconnection_attempts", sum.reconnection_attempts},
                                {"successful_reconnects", sum.successful_reconnects},
                                {"total_disconnects", sum.total_disconnects}};
    std::cout << json::serialize(document) << '\n';
  }

  CLI::App& app_;
  connector::RunnerOptions options_{.host = ""};
  connector::RegistrationConfig registration_;
  DialFlags dial_flags_;
  std::size_t max_registrations_ = 1;
  std::string type_ = "echo";
  std::string instance_ = "instance";
  int instances_ = 1;
  bool no_reconnect_ = false;
  bool json_ = false;
  std::string log_level_ = "info";
  std::string config_;
};

}  // namespace

std::unique_ptr<Command> make_connect_command(CLI::App& program) {
  return std::make_unique<ConnectCommand>(program);
}

}  // namespace sharingbus::cli
