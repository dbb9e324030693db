#include <algorithm>
#include <iostream>
#include <optional>
#include <utility>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "cli/command.hpp"
#include "cli/demo_agent.hpp"
#include "cli/event_log.hpp"
#include "cli/flags.hpp"
#include "cli/metrics_file.hpp"
#include "cli/runtime.hpp"
#include "cli/sockets.hpp"
#include "connector/agent/agent_metrics.hpp"
#include "connector/agent/agent_server.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/codec/agent_control.hpp"
#include "transport/grpc/grpc_listener.hpp"
#include "transport/length_prefix_framing.hpp"
#include "transport/uds/uds_dialer.hpp"
#include "transport/uds/uds_listener.hpp"

namespace sharingbus::cli {
namespace {

namespace json = boost::json;
using connector::AgentFailMode;
using connector::AgentServer;

/// Where it serves, in the order of the flags.
using Bound = std::vector<std::pair<std::string, std::string>>;

void print_line(const std::string& line) {
  std::cout << line << '\n' << std::flush;
}

class AgentCommand final : public Command {
 public:
  explicit AgentCommand(CLI::App& program)
      : app_(*program.add_subcommand("agent", "A demo agent that proxies ask about requests")) {
    app_.add_option("--listen", listen_,
                    "grpc://HOST:PORT (port 0 is any free one), grpcs:// with TLS, or unix:PATH; one of each");
    serve_flags_.add(app_, "Proxies");
    app_.add_option("--reverse", reverse_, "unix:PATH of a proxy to register with; may be repeated");
    app_.add_flag("--json", json_, "JSON lines on stdout: the addresses, then what happens to proxies");
    app_.add_option("--agent-id", options_.capabilities.agent_id, "Who it says it is")
        ->check(not_empty())
        ->capture_default_str();
    app_.add_option("--auth-token", auth_token_, "Shown to the proxies of --reverse");
    app_.add_option("--connections", reverse_options_.connections, "To each proxy of --reverse")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    add_choice<AgentFailMode>(app_, "--fail-mode", options_.fail_mode,
                              {{"closed", AgentFailMode::closed}, {"open", AgentFailMode::open}},
                              "What an event gets for which there is no decision: block or allow");
    add_choice<bool>(app_, "--encoding", options_.msgpack, {{"json", false}, {"msgpack", true}},
                     "On Unix sockets: msgpack where the proxy prefers it, or json only");
    add_duration(app_, "--processing-timeout", options_.processing_timeout, "From an event to its answer",
                 Zero::refused);
    add_duration(app_, "--handshake-timeout", options_.handshake_timeout, "From a connection to its handshake",
                 Zero::refused);
    add_duration(app_, "--report-interval", report_interval_, "Between health reports, and metrics reports; 0s: none");
    add_duration(app_, "--drain", drain_, "What running events get at shutdown");
    app_.add_option("--max-connections", options_.max_connections, "Connections at once")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    add_wait_strategy(app_, wait_strategy_);
    metrics_flags_.add(app_);
    app_.add_option("--log-level", log_level_, "Least level that is logged")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    add_config_flag(app_, config_);
    name_environment(app_);
  }

  CLI::App& app() override { return app_; }

  int run() override {
    apply_config_file(app_, config_);
    options_.health_interval = report_interval_;
    options_.metrics_interval = report_interval_;
    options_.capabilities.name = options_.capabilities.agent_id;
    value_or_usage(options_.validate(), "agent");
    if (listen_.empty() && reverse_.empty()) throw CLI::RequiredError("--listen or --reverse");
    if (reverse_.empty()) refuse_given(app_, {"--auth-token", "--connections"}, "--reverse unix:PATH");
    serve_flags_.check();
    const auto listen = endpoints("--listen", listen_, {serve_flags_.with_tls() ? "grpcs" : "grpc", "unix"});
    const bool secure =
        std::any_of(listen.begin(), listen.end(), [](const auto& endpoint) { return endpoint.scheme == "grpcs"; });
    if (serve_flags_.with_tls() && !secure)
      throw CLI::ValidationError("--tls-cert", "is for --listen grpcs://HOST:PORT");
    if (listen.size() > 2 || (listen.size() == 2 && listen[0].scheme == listen[1].scheme)) {
      throw CLI::ValidationError("--listen", "takes one grpc:// and one unix: endpoint at most");
    }
    return serve(listen, endpoints("--reverse", reverse_, {"unix"}));
  }

 private:
  static std::vector<transport::Endpoint> endpoints(const std::string& flag, const std::vector<std::string>& texts,
                                                    const std::vector<std::string>& schemes) {
    std::vector<transport::Endpoint> out;
    for (const std::string& text : texts) {
      auto endpoint = value_or_usage(transport::parse_endpoint(text), flag);
      if (std::find(schemes.begin(), schemes.end(), endpoint.scheme) == schemes.end()) {
        if (endpoint.scheme == "grpcs" && schemes.size() > 1) {
          throw CLI::ValidationError(flag, "'" + text + "' needs --tls-cert and --tls-key");
        }
        throw CLI::ValidationError(
            flag, "'" + text + "' is not served; use " +
                      (schemes.size() == 1 ? "unix:PATH" : schemes.front() + "://HOST:PORT or unix:PATH"));
      }
      out.push_back(std::move(endpoint));
    }
    return out;
  }

  int serve(const std::vector<transport::Endpoint>& listen, const std::vector<transport::Endpoint>& reverse) {
    const LogSink log = make_log(log_level_);
    // One thread: the demo's handlers decide at once, and a second would cost hops.
    const bool with_grpc =
        std::any_of(listen.begin(), listen.end(), [](const auto& where) { return where.scheme != "unix"; });
    Runtime runtime(0, wait_strategy(wait_strategy_, with_grpc));
    const Filter shown = Filter::type<connector::ProxyConnected>() || Filter::type<connector::ProxyRefused>() ||
                         Filter::type<connector::ProxyDisconnected>();
    const EventLog events(runtime.bus(), runtime.executor(), shown, [&](const EventLine& line) {
      log(line.level, line.text());
      if (json_) print_line(line.json());
    });
    const connector::AgentServerMetricsObserver observer(runtime.bus());
    auto metrics = value_or_usage(MetricsFile::open(metrics_flags_, runtime.executor(), runtime.timers(), log,
                                                    [&] { return observer.to_prometheus(); }),
                                  "--metrics");
    options_.log = nullptr;  // the event log says the same
    AgentServer server(runtime.executor(), runtime.bus(), runtime.timers(), std::make_shared<DemoAgent>(), options_);
    Bound bound;
    for (const transport::Endpoint& endpoint : listen) {
      const auto address = server.serve(make_listener(runtime, server, endpoint));
      if (!address) {
        std::cerr << "sharingbus agent: " << to_string(address.error()) << '\n';
        return give_up(runtime, server);
      }
      bound.emplace_back(endpoint.scheme, transport::authority(*address));
    }
    if (!auth_token_.empty()) reverse_options_.auth_token = auth_token_;
    // Before anyone knows that it is ready: who does may end it.
    runtime.on_signal([&](int) {
      log(LogLevel::info, "draining for up to " + format_duration(drain_));
      server.close(drain_, [&] { runtime.stop(); });
    });
    for (const transport::Endpoint& endpoint : reverse)
      bound.emplace_back("reverse", transport::to_string(endpoint));
    announce(bound);
    for (const transport::Endpoint& endpoint : reverse) {
      const auto dialled = server.register_with(make_dialer(runtime, endpoint), reverse_options_);
      if (!dialled) {
        std::cerr << "sharingbus agent: " << to_string(dialled.error()) << '\n';
        return give_up(runtime, server);
      }
    }
    runtime.wait();
    metrics.finish();
    log(LogLevel::info, "stopped");
    return kDone;
  }

  [[nodiscard]] std::unique_ptr<transport::Listener> make_listener(Runtime& runtime, AgentServer& server,
                                                                   const transport::Endpoint& endpoint) const {
    if (endpoint.scheme != "unix") {
      transport::GrpcListenerOptions options;
      options.tls = serve_flags_.tls();
      options.base = server.make_listener_options(transport::AgentCarrier::grpc);
      options.methods = {transport::kAgentMethod, transport::kAgentMethodLegacy};
      const auto base = [&](connector::AgentMethod method) {
        return server.make_listener_options(transport::AgentCarrier::grpc, method);
      };
      options.services = {{{transport::kAgentEventMethod, transport::kAgentEventMethodLegacy},
                           base(connector::AgentMethod::process_event)},
                          {{transport::kAgentControlMethod, transport::kAgentControlMethodLegacy},
                           base(connector::AgentMethod::control_stream)}};
      return std::make_unique<transport::GrpcListener>(endpoint, std::move(options));
    }
    transport::UdsListenerOptions options;
    options.base = server.make_listener_options(transport::AgentCarrier::uds);
    options.framing = std::make_shared<transport::LengthPrefixFraming>();
    return std::make_unique<transport::UdsListener>(runtime.executor(), runtime.timers(), endpoint, std::move(options));
  }

  static std::unique_ptr<transport::Dialer> make_dialer(Runtime& runtime, const transport::Endpoint& endpoint) {
    transport::UdsDialerOptions options;
    options.framing = std::make_shared<transport::LengthPrefixFraming>();
    return std::make_unique<transport::UdsDialer>(runtime.executor(), runtime.timers(), endpoint, std::move(options));
  }

  static int give_up(Runtime& runtime, AgentServer& server) {
    server.close(Duration::zero(), [&] { runtime.stop(); });
    runtime.wait();
    return kFailed;
  }

  void announce(const Bound& bound) const {
    if (!json_) {
      std::string line = "listening";
      for (const auto& [scheme, address] : bound)
        line += " " + scheme + "=" + address;
      return print_line(line);
    }
    json::object addresses;
    json::array proxies;
    for (const auto& [scheme, address] : bound) {
      if (scheme == "reverse") {
        proxies.emplace_back(address);
      } else {
        addresses[scheme] = address;
      }
    }
    if (!proxies.empty()) addresses["reverse"] = std::move(proxies);
    print_line(json::serialize(json::object{{"listening", std::move(addresses)}}));
  }

  CLI::App& app_;
  ServeFlags serve_flags_;
  std::vector<std::string> listen_;
  std::vector<std::string> reverse_;
  bool json_ = false;
  connector::AgentServerOptions options_;
  connector::ReverseOptions reverse_options_;
  std::string auth_token_;
  Duration report_interval_ = std::chrono::seconds(10);
  Duration drain_ = std::chrono::seconds(5);
  std::optional<WaitStrategy> wait_strategy_;
  MetricsFlags metrics_flags_;
  std::string log_level_ = "info";
  std::string config_;
};

}  // namespace

std::unique_ptr<Command> make_agent_command(CLI::App& program) {
  return std::make_unique<AgentCommand>(program);
}

}  // namespace sharingbus::cli
