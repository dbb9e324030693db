#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "cli/command.hpp"
#include "cli/event_log.hpp"
#include "cli/flags.hpp"
#include "cli/metrics_file.hpp"
#include "cli/pool_load.hpp"
#include "cli/runtime.hpp"
#include "cli/sockets.hpp"
#include "connector/agent/agent_metrics.hpp"
#include "connector/agent/agent_pool.hpp"
#include "connector/agent/agent_pool_events.hpp"
#include "connector/agent/reverse_listener.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/length_prefix_framing.hpp"
#include "transport/uds/uds_dialer.hpp"
#include "transport/uds/uds_listener.hpp"

namespace sharingbus::cli {
namespace {

namespace json = boost::json;
using connector::AgentPool;
using connector::BalanceStrategy;

double percentile_us(const std::vector<std::uint64_t>& sorted_ns, double share) {
  if (sorted_ns.empty()) return 0;
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(sorted_ns.size()));
  return static_cast<double>(sorted_ns[std::min(rank, sorted_ns.size() - 1)]) / 1000.0;
}

connector::AgentDialerFactory make_dialers(Runtime& runtime, const transport::TlsOptions& tls) {
  return [&runtime, tls](const connector::AgentEndpoint& where) -> Result<std::unique_ptr<transport::Dialer>> {
    if (where.carrier == transport::AgentCarrier::uds) {
      transport::UdsDialerOptions options;
      options.framing = std::make_shared<transport::LengthPrefixFraming>();
      return std::make_unique<transport::UdsDialer>(runtime.executor(), runtime.timers(), where.endpoint,
                                                    std::move(options));
    }
    transport::GrpcDialerOptions options;
    options.method = transport::kAgentMethod;
    options.fallback_method = transport::kAgentMethodLegacy;
    options.max_streams_per_channel = 1;
    options.max_receive_bytes = 2 * transport::kAgentUdsFrameBytesMax;
    options.tls = tls;
    return std::make_unique<transport::GrpcDialer>(where.endpoint, std::move(options), runtime.timers());
  };
}

/// Nothing for events that nobody needs to read line by line.
std::optional<EventLine> describe(const BusEvent& event) {
  using namespace connector;
  if (const auto* e = event.get_if<AgentConnectionUp>()) {
    return EventLine{LogLevel::info, "agent connected", {{"agent", e->agent_id}, {"peer", e->peer}}};
  }
  if (const auto* e = event.get_if<AgentConnectionDown>()) {
    const bool ours = !e->error;
    return EventLine{ours ? LogLevel::info : LogLevel::warn,
                     "agent disconnected",
                     {{"agent", e->agent_id}, {"reason", ours ? "finished" : to_string(e->error)}}};
  }
  if (const auto* e = event.get_if<AgentConnectFailed>()) {
    return EventLine{
        LogLevel::warn,
        "connecting failed",
        {{"agent", e->agent_id}, {"error", to_string(e->error)}, {"retry_in", format_duration(e->retry_in)}}};
  }
  if (const auto* e = event.get_if<AgentConnectionUnhealthy>()) {
    return EventLine{LogLevel::warn, "connection unhealthy", {{"agent", e->agent_id}}};
  }
  if (const auto* e = event.get_if<AgentPaused>()) {
    return EventLine{LogLevel::info, "agent paused", {{"agent", e->agent_id}}};
  }
  if (const auto* e = event.get_if<AgentResumed>()) {
    return EventLine{LogLevel::info, "agent resumed", {{"agent", e->agent_id}}};
  }
  if (const auto* e = event.get_if<ReverseAgentRefused>()) {
    return EventLine{LogLevel::warn, "agent refused", {{"peer", e->peer}, {"error", to_string(e->error)}}};
  }
  return std::nullopt;
}

class PoolCommand final : public Command {
 public:
  explicit PoolCommand(CLI::App& program)
      : app_(*program.add_subcommand("pool", "Asks an agent about requests and checks its decisions")) {
    app_.add_option("--agent", agent_, "Where the agent is: grpc://HOST:PORT, grpcs:// with TLS, or unix:PATH");
    tls_flags_.add(app_);
    app_.add_option("--reverse", reverse_, "unix:PATH to wait at for an agent that connects by itself");
    app_.add_option("--agent-id", agent_id_, "With --reverse: who may connect")
        ->check(not_empty())
        ->capture_default_str();
    app_.add_option("--auth-token", auth_token_, "With --reverse: what it has to show; else it runs as the same user");
    app_.add_option("--requests", requests_, "Requests in all")
        ->check(CLI::Range(1, 1'000'000'000))
        ->capture_default_str();
    app_.add_option("--concurrency", concurrency_, "Requests at once")
        ->check(CLI::Range(1, 100'000))
        ->capture_default_str();
    app_.add_option("--connections", options_.connections_per_agent, "Connections to the agent")
        ->check(CLI::Range(1, 1024))
        ->capture_default_str();
    add_choice<BalanceStrategy>(app_, "--strategy", options_.strategy,
                                {{"round-robin", BalanceStrategy::round_robin},
                                 {"least-in-flight", BalanceStrategy::least_in_flight},
                                 {"lowest-error-rate", BalanceStrategy::lowest_error_rate},
                                 {"random", BalanceStrategy::random},
                                 {"peak-ewma", BalanceStrategy::peak_ewma},
                                 {"power-of-two-choices", BalanceStrategy::power_of_two_choices}},
                                "How a connection is chosen");
    app_.add_option("--calls-in-a-row", options_.calls_in_a_row, "Requests that each choice stands for")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    add_choice<bool>(app_, "--encoding", msgpack_, {{"json", false}, {"msgpack", true}},
                     "On Unix sockets: what the agent is asked to speak");
    add_duration(app_, "--connect-timeout", options_.connect_timeout, "From dialling to the end of the handshake",
                 Zero::refused);
    add_duration(app_, "--request-timeout", options_.request_timeout, "From a request to its answer", Zero::refused);
    add_duration(app_, "--wait", wait_, "With --reverse: how long for the agent to connect", Zero::refused);
    add_wait_strategy(app_, wait_strategy_);
    metrics_flags_.add(app_);
    app_.add_flag("--json", json_, "One JSON document on stdout instead of a table");
    app_.add_option("--log-level", log_level_, "Least level that is logged")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    add_config_flag(app_, config_);
    name_environment(app_);
  }

  CLI::App& app() override { return app_; }

  int run() override {
    apply_config_file(app_, config_);
    if (agent_.empty() == reverse_.empty()) throw CLI::RequiredError("one of --agent and --reverse");
    const LogSink log = make_log(log_level_);
    if (!agent_.empty()) {
      const auto where = value_or_usage(connector::parse_agent_endpoint(agent_), "--agent");
      tls_ = tls_flags_.tls("--agent", where.endpoint, log);
      refuse_given(app_, {"--agent-id", "--auth-token", "--wait"}, "--reverse unix:PATH");
      if (where.carrier != transport::AgentCarrier::uds) refuse_given(app_, {"--encoding"}, "--agent unix:PATH");
    }
    std::optional<transport::Endpoint> reverse;
    if (!reverse_.empty()) {
      reverse = value_or_usage(transport::parse_endpoint(reverse_), "--reverse");
      if (reverse->scheme != "unix") throw CLI::ValidationError("--reverse", "takes unix:PATH");
      static_cast<void>(tls_flags_.tls("--reverse", *reverse, log));
      // Agents that dial in speak JSON.
      refuse_given(app_, {"--encoding"}, "--agent unix:PATH");
    }
    if (msgpack_) options_.encodings = {"msgpack", "json"};
    // All that may be under way at once has its turn at once.
    options_.max_waiting = std::max<std::size_t>(options_.max_waiting, concurrency_);
    options_.channel_buffer = 256;
    value_or_usage(options_.validate(), "pool");
    return drive(reverse, log);
  }

 private:
  int drive(const std::optional<transport::Endpoint>& reverse, const LogSink& log) {
    const bool with_grpc = !reverse && agent_.rfind("unix:", 0) != 0;
    Runtime runtime(0, wait_strategy(wait_strategy_, with_grpc));
    SubscriptionOptions shown;
    shown.name = "event log";
    shown.filter = Filter::origin(EventOrigin::agent);
    const auto events = subscribe_on(runtime.bus(), runtime.executor(), std::move(shown), [&](const Received& item) {
      if (item.event() == nullptr) return;
      if (const auto line = describe(**item.event())) log(line->level, line->text());
    });
    const connector::PoolMetricsObserver observer(runtime.bus());
    AgentPool pool(runtime.executor(), runtime.bus(), runtime.timers(), make_dialers(runtime, tls_), options_);
    auto metrics =
        value_or_usage(MetricsFile::open(metrics_flags_, runtime.executor(), runtime.timers(), log,
                                         [&] { return observer.to_prometheus() + pool.export_prometheus(); }),
                       "--metrics");
    PoolLoad load(pool, runtime.timers(), agent_id(), requests_, concurrency_);
    std::optional<connector::ReverseListener> listener;
    bool interrupted = false;
    bool begun = false;
    bool closing = false;
    Error failed;
    const auto close = [&] {
      if (std::exchange(closing, true)) return;
      const auto pool_closed = [&] { pool.async_close([&](const Error&) { runtime.stop(); }); };
      if (listener) return listener->close(pool_closed);
      pool_closed();
    };
    // Nobody needs to wait for an agent, nor hear that none came, once it is all off.
    runtime.on_signal([&](int) {
      interrupted = true;
      if (!begun) return close();
      load.interrupt();
    });
    const auto ready = [&](const Error& error) {
      if (closing) return;
      failed = error;
      if (error) return close();
      begun = true;
      pool.start_maintenance();
      load.start(close);
    };
    CallbackSubscription arrival;
    TimerId late = 0;
    if (reverse) {
      listener.emplace(runtime.executor(), runtime.bus(), runtime.timers(), pool, reverse_options());
      arrival = wait_for_agent(runtime, pool, late, ready);
      const auto bound = serve(runtime, *listener, *reverse);
      if (!bound) ready(bound.error());
    } else {
      pool.async_add_agent(agent_id(), agent_, ready);
    }
    runtime.wait();
    metrics.finish();
    arrival = {};
    runtime.timers().cancel(late);
    if (failed) {
      std::cerr << "sharingbus pool: " << to_string(failed) << '\n';
      return interrupted ? kInterrupted : kFailed;
    }
    report(load.result());
    if (interrupted) return kInterrupted;
    return load.result().wrong == 0 && load.result().requests == requests_ ? kDone : kFailed;
  }

  [[nodiscard]] std::string agent_id() const { return reverse_.empty() ? "agent" : agent_id_; }

  [[nodiscard]] connector::ReverseListenerOptions reverse_options() const {
    connector::ReverseListenerOptions options;
    options.allowed_agents = {agent_id_};
    if (auth_token_.empty()) {
      options.same_user = true;
    } else {
      options.tokens = {{auth_token_, agent_id_}};
    }
    return options;
  }

  static Result<transport::Endpoint> serve(Runtime& runtime, connector::ReverseListener& listener,
                                           const transport::Endpoint& endpoint) {
    transport::UdsListenerOptions options;
    options.base = listener.make_listener_options();
    options.framing = listener.framing();
    return listener.serve(
        std::make_unique<transport::UdsListener>(runtime.executor(), runtime.timers(), endpoint, std::move(options)));
  }

  /// Calls `ready` once, when all its connections are there, or when it has taken too long.
  CallbackSubscription wait_for_agent(Runtime& runtime, AgentPool& pool, TimerId& late,
                                      const std::function<void(const Error&)>& ready) {
    const auto waiting = std::make_shared<bool>(true);
    late = runtime.timers().schedule_after(wait_, [this, waiting, ready] {
      if (!std::exchange(*waiting, false)) return;
      ready(Error(errc::connect_timeout, "agent '" + agent_id_ + "' did not connect within " + format_duration(wait_)));
    });
    SubscriptionOptions options;
    options.name = "pool command";
    options.filter = Filter::type<connector::AgentConnectionUp>();
    return subscribe_on(runtime.bus(), runtime.executor(), std::move(options),
                        [this, &pool, waiting, ready](const Received&) {
                          const auto stats = pool.agent_stats(agent_id_);
                          if (!stats || stats->healthy_connections < options_.connections_per_agent) return;
                          if (std::exchange(*waiting, false)) ready({});
                        });
  }

  void report(const PoolLoad::Result& result) const {
    auto sorted = result.latencies_ns;
    std::sort(sorted.begin(), sorted.end());
    const double seconds = std::chrono::duration<double>(result.elapsed).count();
    const double rps = seconds > 0 ? static_cast<double>(result.requests - result.failed) / seconds : 0;
    if (json_) {
      json::object document{{"agent", agent_.empty() ? reverse_ : agent_},
                            {"requests", result.requests},
                            {"blocked", result.blocked},
                            {"wrong", result.wrong},
                            {"failed", result.failed},
                            {"seconds", seconds},
                            {"rps", rps},
                            {"p50_us", percentile_us(sorted, 0.50)},
                            {"p99_us", percentile_us(sorted, 0.99)},
                            {"p999_us", percentile_us(sorted, 0.999)}};
      if (!result.first_wrong.empty()) document["first_wrong"] = result.first_wrong;
      std::cout << json::serialize(document) << '\n' << std::flush;
      return;
    }
    std::printf("requests %llu  blocked %llu  wrong %llu  failed %llu\n",
                static_cast<unsigned long long>(result.requests), static_cast<unsigned long long>(result.blocked),
                static_cast<unsigned long long>(result.wrong), static_cast<unsigned long long>(result.failed));
    std::printf("%.0f requests/s  p50 %.0f us  p99 %.0f us  p99.9 %.0f us\n", rps, percentile_us(sorted, 0.50),
                percentile_us(sorted, 0.99), percentile_us(sorted, 0.999));
    if (!result.first_wrong.empty()) std::printf("first wrong: %s\n", result.first_wrong.c_str());
    std::fflush(stdout);
  }

  CLI::App& app_;
  AgentTlsFlags tls_flags_;
  transport::TlsOptions tls_;
  std::string agent_;
  std::string reverse_;
  std::string agent_id_ = "sharingbus";
  std::string auth_token_;
  std::uint64_t requests_ = 1000;
  std::uint64_t concurrency_ = 64;
  connector::AgentPoolOptions options_;
  bool msgpack_ = false;
  Duration wait_ = std::chrono::seconds(30);
  bool json_ = false;
  std::optional<WaitStrategy> wait_strategy_;
  MetricsFlags metrics_flags_;
  std::string log_level_ = "warn";
  std::string config_;
};

}  // namespace

std::unique_ptr<Command> make_pool_command(CLI::App& program) {
  return std::make_unique<PoolCommand>(program);
}

}  // namespace sharingbus::cli
