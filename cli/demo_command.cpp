#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <iostream>
#include <optional>
#include <utility>

#include "bus/observers/metrics_observer.hpp"
#include "cli/builtin_connectors.hpp"
#include "cli/command.hpp"
#include "cli/demo_load.hpp"
#include "cli/demo_report.hpp"
#include "cli/flags.hpp"
#include "cli/runtime.hpp"
#include "cli/sockets.hpp"
#include "connector/gateway/gateway.hpp"
#include "connector/registration/multi_connector_runner.hpp"

namespace sharingbus::cli {
namespace {

struct DemoOptions {
  std::size_t connectors = 3;
  std::uint64_t requests = 3000;
  std::uint64_t concurrency = 64;
  std::string transport = "grpc";
  bool json = false;
};

constexpr Duration kRegistrationTimeout = std::chrono::seconds(30);

/// One run: serve, register, load, stop; each step begins when the one before has ended. All on one bus. What decides
/// happens on a strand.
class DemoRun {
 public:
  explicit DemoRun(const DemoOptions& options)
      : options_(options),
        runtime_(1),
        strand_(boost::asio::make_strand(runtime_.executor())),
        kinds_(runtime_.bus()),
        gateway_(runtime_.executor(), runtime_.bus(), runtime_.timers(), gateway_options(options)) {}

  int run() {
    const transport::Endpoint any{options_.transport == "websocket" ? "ws" : "grpc", "127.0.0.1", 0};
    const auto bound =
        gateway_.serve(make_listener(runtime_, any, gateway_.make_listener_options(), {}, stderr_log()));
    boost::asio::post(strand_, [this, &bound] {
      bound ? start_connectors(*bound) : fail(to_string(bound.error()));
    });
    runtime_.on_signal([this](int) { boost::asio::post(strand_, [this] { interrupt(); }); });
    runtime_.wait();
    return finish();
  }

 private:
  static connector::GatewayOptions gateway_options(const DemoOptions& options) {
    connector::GatewayOptions gateway;
    gateway.max_pending_per_session = std::max<std::size_t>(gateway.max_pending_per_session, options.concurrency);
    gateway.max_sessions = std::max<std::size_t>(gateway.max_sessions, 2 * options.connectors);
    return gateway;
  }

  void start_connectors(const transport::Endpoint& gateway) {
    SubscriptionOptions registered;
    registered.name = "registrations";
    registered.filter = Filter::type<connector::ConnectorRegistered>();
    registered_ = runtime_.bus().subscribe_inline(std::move(registered), [this](const EventRef& event) {
      if (addresses_.size() == options_.connectors) return;
      addresses_.push_back(event->get_if<connector::ConnectorRegistered>()->address);
      if (addresses_.size() == options_.connectors) boost::asio::post(strand_, [this] { start_load(); });
    });
    registration_timer_ = runtime_.timers().schedule_after(kRegistrationTimeout, [this] {
      boost::asio::post(strand_, [this] {
        fail("not all connectors registered within " + format_duration(kRegistrationTimeout));
      });
    });

    dialer_.emplace(runtime_, gateway, DialSettings{});
    if (const auto opened = dialer_->open(); !opened) return fail(to_string(opened.error()));
    std::vector<connector::Registration> registrations;
    const auto echo = make_builtin_connector("echo", runtime_.timers());
    for (std::size_t i = 1; i <= options_.connectors; ++i) {
      registrations.push_back({{.tenant = "demo", .type = "echo", .instance = std::to_string(i)}, echo});
    }
    connector::RunnerOptions runner;
    runner.host = transport::to_string(gateway);
    runner_.emplace(runtime_.executor(), runtime_.bus(), runtime_.timers(), dialer_->dialer(), std::move(runner),
                    std::move(registrations));
    runner_->run([this](const Error&) {
      dialer_->close([this] { gateway_.close(Duration::zero(), [this] { runtime_.stop(); }); });
    });
  }

  void start_load() {
    if (!runtime_.timers().cancel(registration_timer_) || stopping_) return;
    channels_ = dialer_->dialer().stats().channels;
    load_ = std::make_shared<DemoLoad>(runtime_.executor(), runtime_.bus(), runtime_.timers(), gateway_, addresses_,
                                       options_.requests, options_.concurrency);
    load_->start([this] { boost::asio::post(strand_, [this] { stop(); }); });
    show_progress();
  }

  void show_progress() {
    if (::isatty(STDERR_FILENO) == 0 || stopping_) return;
    std::cerr << "\r" << load_->progress() << "/" << options_.requests << " requests" << std::flush;
    progress_timer_ = runtime_.timers().schedule_after(std::chrono::milliseconds(200),
                                                        [this] { boost::asio::post(strand_, [this] { show_progress(); }); });
  }

  void interrupt() {
    interrupted_ = true;
    if (load_) {
      load_->interrupt();
    } else {
      stop();
    }
  }

  void fail(const std::string& why) {
    std::cerr << "sharingbus demo: " << why << '\n';
    stop();
  }

  void stop() {
    if (std::exchange(stopping_, true)) return;
    if (runner_) {
      runner_->shutdown_handle().shutdown();
    } else {
      gateway_.close(Duration::zero(), [this] { runtime_.stop(); });
    }
  }

  int finish() {
    if (progress_timer_ != 0) std::cerr << "\r\033[K";
    if (interrupted_) return kInterrupted;
    if (!load_) return kFailed;
    DemoReport report;
    report.transport = options_.transport;
    report.connectors = options_.connectors;
    report.channels = channels_;
    report.load = load_->result();
    report.bus = runtime_.bus().snapshot();
    if (!report.load.first_failure.empty()) std::cerr << "sharingbus demo: first failure: " << report.load.first_failure << '\n';
    options_.json ? print_json(report) : print_table(report);
    return report.load.failed == 0 && report.load.requests == options_.requests && report.balanced() ? kDone : kFailed;
  }

  const DemoOptions options_;
  Runtime runtime_;
  const boost::asio::strand<boost::asio::any_io_executor> strand_;
  MetricsObserver kinds_;
  connector::Gateway gateway_;
  std::optional<GatewayDialer> dialer_;
  std::optional<connector::MultiConnectorRunner> runner_;
  std::shared_ptr<DemoLoad> load_;
  /// Filled by the dispatcher until the load starts.
  std::vector<std::string> addresses_;
  Subscription registered_;
  TimerId registration_timer_ = 0;
  TimerId progress_timer_ = 0;
  std::size_t channels_ = 0;
  bool stopping_ = false;
  bool interrupted_ = false;
};

class DemoCommand final : public Command {
 public:
  explicit DemoCommand(CLI::App& program)
      : app_(*program.add_subcommand("demo", "Gateway, connectors and observers in one process, over real sockets")) {
    app_.add_option("--connectors", options_.connectors, "Echo connectors")
        ->check(CLI::Range(1, 10'000))
        ->capture_default_str();
    app_.add_option("--requests", options_.requests, "Requests in all")
        ->check(CLI::Range(1, 100'000'000))
        ->capture_default_str();
    app_.add_option("--concurrency", options_.concurrency, "Requests at once")
        ->check(CLI::Range(1, 65'536))
        ->capture_default_str();
    app_.add_option("--transport", options_.transport, "What carries them")
        ->check(CLI::IsMember({"grpc", "websocket"}))
        ->capture_default_str();
    app_.add_flag("--json", options_.json, "One JSON document instead of the table");
    add_config_flag(app_, config_);
    name_environment(app_);
  }

  CLI::App& app() override { return app_; }

  int run() override {
    apply_config_file(app_, config_);
    raise_descriptor_limit();
    return DemoRun(options_).run();
  }

 private:
  CLI::App& app_;
  DemoOptions options_;
  std::string config_;
};

}  // namespace

std::unique_ptr<Command> make_demo_command(CLI::App& program) {
  return std::make_unique<DemoCommand>(program);
}

}  // namespace sharingbus::cli
