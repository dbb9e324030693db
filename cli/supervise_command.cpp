#include <atomic>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "bus/async.hpp"
#include "cli/command.hpp"
#include "cli/config_file.hpp"
#include "cli/flags.hpp"
#include "cli/live_screen.hpp"
#include "cli/runtime.hpp"
#include "cli/sd_notify.hpp"
#include "cli/service_board.hpp"
#include "cli/supervise_config.hpp"
#include "connector/lifecycle/lifecycle_manager.hpp"
#include "transport/content_length_framing.hpp"
#include "transport/length_prefix_framing.hpp"
#include "transport/process/process_dialer.hpp"
#include "transport/tcp/tcp_dialer.hpp"
#include "transport/uds/uds_dialer.hpp"

namespace sharingbus::cli {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using connector::LifecycleManager;
using connector::ServiceTransport;
using connector::SupervisionStrategy;

struct Graces {
  Duration stop = std::chrono::seconds(5);
  Duration kill = std::chrono::seconds(5);
};

/// Beyond a process's own graces, before a manager gives up on the end of a stream.
constexpr Duration kStopMargin = std::chrono::seconds(5);

/// The transports of this program's services.
connector::DialerFactory make_dialers(Runtime& runtime, LogSink log, Graces graces) {
  return [&runtime, log = std::move(log),
          graces](const connector::TransportConfig& to) -> Result<std::unique_ptr<transport::Dialer>> {
    switch (to.type) {
      case ServiceTransport::stdio: {
        transport::ProcessDialerOptions options;
        options.command = to.command;
        options.args = to.args;
        options.env = to.env;
        options.cwd = to.cwd;
        options.framing = std::make_shared<transport::ContentLengthFraming>();
        options.stop_grace = graces.stop;
        options.kill_grace = graces.kill;
        options.on_stderr = [log, command = to.command](const transport::ProcessStderr& line) {
          const EventLine text{
              LogLevel::info, "stderr", {{"pid", std::to_string(line.pid)}, {"command", command}, {"line", line.line}}};
          log(text.level, text.text());
        };
        return std::make_unique<transport::ProcessDialer>(runtime.executor(), runtime.timers(), std::move(options));
      }
      case ServiceTransport::tcp:
        return std::make_unique<transport::TcpDialer>(
            runtime.executor(), runtime.timers(), transport::Endpoint{"tcp", to.address, to.port},
            transport::TcpDialerOptions{.framing = std::make_shared<transport::LengthPrefixFraming>(), .socket = {}});
      case ServiceTransport::unix_socket:
        return std::make_unique<transport::UdsDialer>(
            runtime.executor(), runtime.timers(), transport::Endpoint{"unix", to.address, 0},
            transport::UdsDialerOptions{.framing = std::make_shared<transport::LengthPrefixFraming>()});
      case ServiceTransport::websocket:
        break;
    }
    return Error(errc::unimplemented, "services are not reached by websocket yet");
  };
}

enum class Output : std::uint8_t { lines, json, table };

/// Published when all else was: who shows events has shown them when it comes to this one.
struct LastEvent {
  static constexpr std::string_view event_name = "sharingbus.supervise.last_event";
};

/// Shows what happens to the services: a bus subscriber like any other.
class ServiceView {
 public:
  /// `gave_up` is called once, when no service is left that runs or will.
  ServiceView(Runtime& runtime, Output output, std::function<void()> gave_up)
      : runtime_(runtime),
        strand_(asio::make_strand(runtime.executor())),
        output_(output),
        gave_up_(std::move(gave_up)),
        screen_(STDOUT_FILENO) {}

  void start(const std::vector<SupervisedService>& services, bool auto_reconnect) {
    for (const SupervisedService& one : services)
      board_.add(one.service.name, !auto_reconnect || !one.service.transport.auto_reconnect);
    SubscriptionOptions options;
    options.name = "service view";
    options.filter = ServiceBoard::filter() || Filter::type<LastEvent>();
    options.capacity = 16'384;
    subscription_ = subscribe_on(runtime_.bus(), strand_, std::move(options),
                                 [this](const Received& received) { receive(received); });
    if (output_ == Output::table) tick();
  }
  /// The manager has no such service, and never will.
  void refused(const std::string& name, const Error& why) {
    asio::post(strand_, [this, name, why] {
      board_.refuse(name);
      show(EventLine{LogLevel::error, "Error", {{"service", name}, {"error", to_string(why)}}});
      look_whether_over();
    });
  }
  /// Calls `done` when everything that is on the bus by now has been shown.
  void finish(std::function<void()> done) {
    asio::post(strand_, [this, done = std::move(done)]() mutable {
      finished_ = std::move(done);
      runtime_.bus().publish(LastEvent{});
    });
  }
  /// Nothing is shown afterwards. Call it when the executor's work is over.
  void stop() {
    subscription_ = {};
    if (output_ == Output::table) screen_.draw(board_.table(runtime_.timers().now()));
  }

  /// A line of its own, behind what was shown before.
  void say(std::string line) {
    asio::post(strand_, [this, line = std::move(line)] { print(line); });
  }

 private:
  void print(const std::string& line) {
    if (output_ == Output::table) return screen_.print(line);
    std::cout << line << '\n' << std::flush;
  }
  void receive(const Received& received) {
    const Gap* gap = received.gap();
    const EventRef* event = received.event();
    // What was lost may have been the last one.
    const bool last = gap != nullptr || (event != nullptr && (*event)->is<LastEvent>());
    if (last && finished_) std::exchange(finished_, nullptr)();
    if (gap != nullptr) {
      return show(EventLine{LogLevel::warn, "EventsLost", {{"count", std::to_string(gap->count)}}});
    }
    if (event == nullptr) return;
    const auto line = board_.take(**event, runtime_.timers().now());
    if (!line) return;
    show(*line);
    look_whether_over();
  }
  void look_whether_over() {
    if (board_.all_gave_up() && gave_up_) std::exchange(gave_up_, nullptr)();
  }
  void show(const EventLine& line) {
    switch (output_) {
      case Output::json:
        return print(line.json());
      case Output::lines:
        if (line.level != LogLevel::debug) print(line.text());
        return;
      case Output::table:
        if (line.level >= LogLevel::warn) screen_.print(line.text());
        return redraw_soon();
    }
  }

  /// A burst of events is drawn once.
  void redraw_soon() {
    if (std::exchange(redraw_waits_, true)) return;
    runtime_.timers().schedule_after(std::chrono::milliseconds(100), [this] {
      asio::post(strand_, [this] {
        redraw_waits_ = false;
        screen_.draw(board_.table(runtime_.timers().now()));
      });
    });
  }
  /// Heartbeats grow old by themselves.
  void tick() {
    runtime_.timers().schedule_after(std::chrono::seconds(1), [this] {
      asio::post(strand_, [this] { redraw_soon(); });
      tick();
    });
  }

  Runtime& runtime_;
  const asio::strand<asio::any_io_executor> strand_;
  const Output output_;
  std::function<void()> gave_up_;
  std::function<void()> finished_;
  ServiceBoard board_;
  LiveScreen screen_;
  bool redraw_waits_ = false;
  CallbackSubscription subscription_;
};

class SuperviseCommand final : public Command {
 public:
  explicit SuperviseCommand(CLI::App& program)
      : app_(*program.add_subcommand("supervise",
                                     "Keeps services running: programs, and servers on TCP and Unix sockets")) {
    add_config_flag(app_, config_path_);
    app_.add_flag("--check-config", check_config_, "Only read the config and say whether it is good");
    app_.add_flag("--json", json_, "JSON lines on stdout: what happens to the services");
    add_duration(app_, "--heartbeat-interval", config_.heartbeat_interval, "Between probes of a service",
                 Zero::refused);
    add_duration(app_, "--heartbeat-timeout", config_.heartbeat_timeout, "A service silent for longer is reconnected",
                 Zero::refused);
    app_.add_option("--auto-reconnect", config_.auto_reconnect, "Whether services are reconnected at all")
        ->capture_default_str();
    app_.add_option("--max-reconnect-attempts", config_.reconnect.max_attempts, "Attempts before a service is given up")
        ->capture_default_str();
    add_duration(app_, "--reconnect-delay", config_.reconnect.delay, "Before the first attempt");
    add_duration(app_, "--max-reconnect-delay", config_.reconnect.max_delay, "Before any attempt, at most");
    app_.add_option("--backoff-multiplier", config_.reconnect.multiplier, "From one wait to the next")
        ->check(between(1, 1e6))
        ->capture_default_str();
    app_.add_option("--jitter", config_.reconnect.jitter, "Share of a wait by which it is spread")
        ->check(between(0, 1))
        ->capture_default_str();
    app_.add_option("--healthy-after", config_.healthy_after, "Answers after which a service that comes back is back")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    app_.add_option("--failed-after", config_.failed_after, "Failed checks in a row after which a service timed out")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    add_supervision_flags();
    app_.add_option("--log-level", log_level_, "Least level that is logged")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    name_environment(app_);
  }

  CLI::App& app() override { return app_; }

  int run() override {
    if (config_path_.empty()) throw CLI::RequiredError("--config");
    const YAML::Node root = load_config_file(config_path_);
    apply_config(app_, config_path_, root, "services");
    auto services = read_services(root.IsMap() ? root["services"] : YAML::Node());
    config_.stop_timeout = graces_.stop + graces_.kill + kStopMargin;
    value_or_usage(config_.validate(), "supervise");
    if (check_config_) return checked(services.size());
    return supervise(std::move(services));
  }

 private:
  void add_supervision_flags() {
    add_choice<SupervisionStrategy>(app_, "--strategy", config_.supervision.strategy,
                                    {{"none", SupervisionStrategy::none},
                                     {"one-for-one", SupervisionStrategy::one_for_one},
                                     {"rest-for-one", SupervisionStrategy::rest_for_one}},
                                    "Who is restarted when a service fails, and whether restarts are counted");
    app_.add_option("--max-restarts", config_.supervision.max_restarts,
                    "Restarts of a service within the window; one more and it is given up")
        ->capture_default_str();
    add_duration(app_, "--restart-window", config_.supervision.window, "See --max-restarts", Zero::refused);
    add_duration(app_, "--stop-grace", graces_.stop,
                 "What a program gets to end once its input is closed, before SIGTERM");
    add_duration(app_, "--kill-grace", graces_.kill, "What a program gets after SIGTERM, before SIGKILL");
    add_duration(app_, "--drain", drain_, "What all services get to stop one after another");
  }

  int checked(std::size_t services) const {
    if (json_) {
      std::cout << json::serialize(json::object{{"config", "ok"}, {"services", services}}) << '\n';
    } else {
      std::cout << "config ok services=" << services << '\n';
    }
    return kDone;
  }

  [[nodiscard]] Output output() const {
    if (json_) return Output::json;
    return ::isatty(STDOUT_FILENO) != 0 ? Output::table : Output::lines;
  }

  int supervise(std::vector<SupervisedService> services) {
    const LogSink log = make_log(log_level_);
    const SystemdNotifier systemd;
    Runtime runtime(1);
    LifecycleManager manager(runtime.executor(), runtime.bus(), runtime.timers(), config_,
                             make_dialers(runtime, log, graces_));
    std::atomic<bool> failed{false};
    ServiceView view(runtime, output(), [&] {
      failed = true;
      log(LogLevel::error, "no service is left that runs or will");
      end(runtime, manager, view, systemd);
    });
    view.start(services, config_.auto_reconnect);
    runtime.on_signal([&](int) {
      log(LogLevel::info, "stopping services for up to " + format_duration(drain_));
      end(runtime, manager, view, systemd);
    });
    if (const auto interval = systemd.watchdog_interval()) watch(runtime, systemd, *interval);
    start_all(manager, view, services, [&](std::size_t running) { announce(view, systemd, services.size(), running); });
    runtime.wait();
    view.stop();
    log(LogLevel::info, "stopped");
    return failed ? kFailed : kDone;
  }

  void end(Runtime& runtime, LifecycleManager& manager, ServiceView& view, const SystemdNotifier& systemd) const {
    systemd.notify("STOPPING=1");
    manager.close(drain_, [&] { view.finish([&] { runtime.stop(); }); });
  }

  static void watch(Runtime& runtime, const SystemdNotifier& systemd, Duration interval) {
    systemd.notify("WATCHDOG=1");
    runtime.timers().schedule_after(interval, [&runtime, &systemd, interval] { watch(runtime, systemd, interval); });
  }

  /// `done` gets the number of services that came up at the first try, once all have been tried.
  static void start_all(LifecycleManager& manager, ServiceView& view, const std::vector<SupervisedService>& services,
                        const std::function<void(std::size_t)>& done) {
    struct Progress {
      std::size_t left;
      std::size_t running;
    };
    // Completions come one at a time, on the manager's strand.
    const auto progress = std::make_shared<Progress>(Progress{services.size(), 0});
    for (const SupervisedService& one : services) {
      const auto tried = [progress, done, &manager, &view, name = one.service.name](const Error& error,
                                                                                    const std::string& id) {
        progress->running += error ? 0 : 1;
        if (error && !manager.get_status(id) && !error.is(errc::closed)) view.refused(name, error);
        if (--progress->left == 0) done(progress->running);
      };
      manager.start_service(one.service, one.policy, tried);
    }
  }

  void announce(ServiceView& view, const SystemdNotifier& systemd, std::size_t services, std::size_t running) const {
    systemd.notify("READY=1");
    if (json_) {
      view.say(
          json::serialize(json::object{{"listening", json::object{}}, {"services", services}, {"running", running}}));
    } else {
      view.say("listening services=" + std::to_string(services) + " running=" + std::to_string(running));
    }
  }

  CLI::App& app_;
  std::string config_path_;
  bool check_config_ = false;
  bool json_ = false;
  connector::LifecycleConfig config_;
  Graces graces_;
  Duration drain_ = std::chrono::seconds(60);
  std::string log_level_ = "info";
};

}  // namespace

std::unique_ptr<Command> make_supervise_command(CLI::App& program) {
  return std::make_unique<SuperviseCommand>(program);
}

}  // namespace sharingbus::cli
