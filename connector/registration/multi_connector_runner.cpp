#include "connector/registration/multi_connector_runner.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "connector/registration/registration_runner.hpp"

namespace sharingbus::connector {

namespace asio = boost::asio;

namespace {

RunnerOptions validated(RunnerOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(valid.error().message);
  return options;
}

}  // namespace

/// The signal, and who has to hear of it.
class ShutdownHandle::Signal {
 public:
  void raise() {
    std::function<void()> listener;
    {
      const std::scoped_lock lock(mutex_);
      if (std::exchange(raised_, true)) return;
      listener = listener_;
    }
    if (listener) listener();
  }
  [[nodiscard]] bool raised() const {
    const std::scoped_lock lock(mutex_);
    return raised_;
  }
  void listen(std::function<void()> listener) {
    const std::scoped_lock lock(mutex_);
    listener_ = std::move(listener);
  }

 private:
  mutable std::mutex mutex_;
  bool raised_ = false;
  std::function<void()> listener_;
};

void ShutdownHandle::shutdown() const {
  signal_->raise();
}
bool ShutdownHandle::signalled() const {
  return signal_->raised();
}

class MultiConnectorRunner::State : public std::enable_shared_from_this<State> {
 public:
  State(asio::any_io_executor run_on, SharingBus& bus, TimerService& timers, transport::Dialer& dialer,
        RunnerOptions options)
      : executor(std::move(run_on)),
        signal(std::make_shared<ShutdownHandle::Signal>()),
        bus_(bus),
        timers_(timers),
        dialer_(dialer),
        options_(std::move(options)),
        metrics_(bus) {}

  const asio::any_io_executor executor;
  const std::shared_ptr<ShutdownHandle::Signal> signal;

  Result<> add(Registration registration) {
    if (registration.connector == nullptr) return Error(errc::invalid_argument, "registration has no connector");
    const std::scoped_lock lock(mutex_);
    if (running_) return Error(errc::already_running, "registrations can not be added while running");
    const Address key = registration.key();
    if (find(key) != entries_.end()) {
      return Error(errc::invalid_argument, "duplicate registration " + to_string(key));
    }
    entries_.push_back({key, std::move(registration), nullptr, std::nullopt});
    return {};
  }

  void warn(const std::string& text) const {
    if (options_.log) options_.log(LogLevel::warn, text);
  }

  void run(std::function<void(Error)> done) {
    // `done` may let the runner go on another thread while this one is still here.
    const auto alive = shared_from_this();
    std::vector<std::pair<std::size_t, std::shared_ptr<RegistrationRunner>>> runners;
    {
      const std::scoped_lock lock(mutex_);
      if (running_) return post(std::move(done), Error(errc::already_running, "the runner is running"));
      if (signal->raised()) return post(std::move(done), {});
      if (entries_.empty()) {
        warn("run with nothing registered");
        return post(std::move(done), {});
      }
      for (std::size_t i = 0; i < entries_.size(); ++i) {
        if (make_runner(entries_[i])) runners.emplace_back(i, entries_[i].runner);
      }
      if (runners.empty()) return post(std::move(done), {});
      running_ = true;
      done_ = std::move(done);
      left_ = runners.size();
    }
    for (const auto& [index, runner] : runners) {
      // Weak, because the runners belong to this: a run that is never finished must not keep itself alive.
      runner->start([weak = weak_from_this(), i = index](Error error) {
        if (const auto self = weak.lock()) self->ended(i, std::move(error));
      });
    }
    signal->listen([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->shutdown_all();
    });
    // A signal between the check above and now.
    if (signal->raised()) shutdown_all();
  }

  std::vector<Address> keys() const {
    const std::scoped_lock lock(mutex_);
    std::vector<Address> keys;
    for (const Entry& entry : entries_) keys.push_back(entry.key);
    return keys;
  }
  std::map<Address, RegistrationMetrics> metrics() const {
    const std::scoped_lock lock(mutex_);
    std::map<Address, RegistrationMetrics> result;
    for (const Entry& entry : entries_) {
      result[entry.key] = entry.runner ? metrics_.metrics(entry.runner->uid()) : RegistrationMetrics{};
    }
    return result;
  }
  std::map<Address, Error> end_reasons() const {
    const std::scoped_lock lock(mutex_);
    std::map<Address, Error> result;
    for (const Entry& entry : entries_) {
      if (entry.ended) result[entry.key] = *entry.ended;
    }
    return result;
  }

 private:
  struct Entry {
    Address key;
    Registration registration;
    /// Kept after it has ended, for its metrics' uid.
    std::shared_ptr<RegistrationRunner> runner;
    std::optional<Error> ended;
  };

  std::vector<Entry>::const_iterator find(const Address& key) const {
    return std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
  }

  /// False when the connector threw: that registration has ended then, the others have not.
  bool make_runner(Entry& entry) {
    entry.ended.reset();
    entry.runner.reset();
    std::string why = "something that is no std::exception";
    try {
      entry.runner =
          std::make_shared<RegistrationRunner>(executor, bus_, timers_, dialer_, entry.registration, options_);
    } catch (const std::exception& e) {
      why = e.what();
    } catch (...) {
    }
    if (entry.runner) {
      metrics_.watch(entry.runner->uid());
    } else {
      entry.ended = Error(errc::handler_failed, "the connector failed to name its type: " + why);
      warn("registration " + to_string(entry.key) + ": " + entry.ended->message);
    }
    return entry.runner != nullptr;
  }

  void post(std::function<void(Error)> done, Error error) const {
    asio::post(executor, [done = std::move(done), error = std::move(error)] { done(error); });
  }

  void ended(std::size_t index, Error error) {
    std::function<void(Error)> done;
    {
      const std::scoped_lock lock(mutex_);
      entries_[index].ended = std::move(error);
      if (--left_ != 0) return;
      running_ = false;
      done = std::move(done_);
    }
    done({});
  }

  void shutdown_all() {
    std::vector<std::shared_ptr<RegistrationRunner>> runners;
    {
      const std::scoped_lock lock(mutex_);
      if (!running_) return;
      for (const Entry& entry : entries_) {
        if (entry.runner) runners.push_back(entry.runner);
      }
    }
    for (const auto& runner : runners) runner->shutdown();
  }

  SharingBus& bus_;
  TimerService& timers_;
  transport::Dialer& dialer_;
  const RunnerOptions options_;
  RegistrationMetricsObserver metrics_;

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  bool running_ = false;
  std::size_t left_ = 0;
  std::function<void(Error)> done_;
};

MultiConnectorRunner::MultiConnectorRunner(asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                                           transport::Dialer& dialer, RunnerOptions options,
                                           std::vector<Registration> registrations)
    : state_(std::make_shared<State>(std::move(executor), bus, timers, dialer, validated(std::move(options)))) {
  for (Registration& registration : registrations) {
    if (registration.connector == nullptr) throw std::invalid_argument("registration has no connector");
    const auto added = state_->add(std::move(registration));
    if (!added) state_->warn(added.error().message + " dropped");
  }
}

MultiConnectorRunner::~MultiConnectorRunner() = default;

Result<> MultiConnectorRunner::add(Registration registration) {
  return state_->add(std::move(registration));
}

std::vector<Address> MultiConnectorRunner::registrations() const {
  return state_->keys();
}

void MultiConnectorRunner::run(std::function<void(Error)> done) {
  state_->run(std::move(done));
}

ShutdownHandle MultiConnectorRunner::shutdown_handle() const {
  return ShutdownHandle(state_->signal);
}

std::map<Address, RegistrationMetrics> MultiConnectorRunner::metrics_snapshot() const {
  return state_->metrics();
}

std::map<Address, Error> MultiConnectorRunner::end_reasons() const {
  return state_->end_reasons();
}

asio::any_io_executor MultiConnectorRunner::executor() const {
  return state_->executor;
}

}  // namespace sharingbus::connector
