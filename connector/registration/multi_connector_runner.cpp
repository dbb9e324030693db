#include "connector/registration/multi_connector_runner.hpp"

#include <list>
#include <mutex>
#include <stdexcept>
#include <utility>

#include <boost/asio/post.hpp>

#include "connector/internal/strand_pool.hpp"
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
  using Callback = std::function<void(Error)>;

  State(asio::any_io_executor run_on, SharingBus& bus, TimerService& timers, transport::Dialer& dialer,
        RunnerOptions options)
      : executor(std::move(run_on)),
        signal(std::make_shared<ShutdownHandle::Signal>()),
        strands_(bus, executor),
        bus_(bus),
        timers_(timers),
        dialer_(dialer),
        options_(std::move(options)),
        metrics_(bus) {}

  const asio::any_io_executor executor;
  const std::shared_ptr<ShutdownHandle::Signal> signal;

  Result<> add(Registration registration) {
    const std::scoped_lock lock(mutex_);
    if (running_) return Error(errc::already_running, "registrations can not be added while running");
    const auto added = insert(std::move(registration));
    if (!added) return added.error();
    return {};
  }

  Result<> add_running(Registration registration) {
    EntryPtr entry;
    {
      const std::scoped_lock lock(mutex_);
      if (!running_) return Error(errc::invalid_state, "the runner is not running");
      if (signal->raised()) return Error(errc::closed, "the runner is shutting down");
      auto added = insert(std::move(registration));
      if (!added) return added.error();
      entry = std::move(*added);
      if (!make_runner(*entry)) {
        const Error why = *entry->ended;
        forget(*entry);
        return why;
      }
      ++left_;
    }
    start(entry);
    // A signal between the check above and now.
    if (signal->raised()) entry->runner->shutdown();
    return {};
  }

  void remove(const Address& key, Callback done) {
    std::shared_ptr<RegistrationRunner> runner;
    std::vector<Callback> waiting;
    {
      const std::scoped_lock lock(mutex_);
      const auto found = by_key_.find(key);
      if (found == by_key_.end()) return post(std::move(done), not_found(key));
      const EntryPtr entry = *found->second;
      if (entry->active) {
        entry->removing = true;
        if (done) entry->removals.push_back(std::move(done));
        runner = entry->runner;
      } else {
        waiting.swap(entry->waiting);
        forget(*entry);
      }
    }
    if (runner) return runner->shutdown();
    for (Callback& each : waiting)
      post(std::move(each), Error(errc::cancelled, "the registration was removed before it ran"));
    post(std::move(done), {});
  }

  void wait(const Address& key, Callback done) {
    const std::scoped_lock lock(mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return post(std::move(done), not_found(key));
    Entry& entry = **found->second;
    if (entry.ended) return post(std::move(done), *entry.ended);
    if (done) entry.waiting.push_back(std::move(done));
  }

  /// The handle is gone.
  void abandon() {
    std::vector<Callback> waiting;
    {
      const std::scoped_lock lock(mutex_);
      for (const EntryPtr& entry : entries_) {
        for (Callback& each : entry->waiting)
          waiting.push_back(std::move(each));
        for (Callback& each : entry->removals)
          waiting.push_back(std::move(each));
        entry->waiting.clear();
        entry->removals.clear();
      }
    }
    for (Callback& each : waiting)
      post(std::move(each), Error(errc::closed, "the runner was destroyed"));
  }

  void warn(const std::string& text) const {
    if (options_.log) options_.log(LogLevel::warn, text);
  }

  void run(Callback done) {
    // `done` may let the runner go on another thread while this one is still here.
    const auto alive = shared_from_this();
    std::vector<EntryPtr> starting;
    std::vector<std::pair<Callback, Error>> failed;
    {
      const std::scoped_lock lock(mutex_);
      if (running_) return post(std::move(done), Error(errc::already_running, "the runner is running"));
      if (signal->raised()) return post(std::move(done), {});
      if (entries_.empty()) {
        warn("run with nothing registered");
        return post(std::move(done), {});
      }
      for (const EntryPtr& entry : entries_) {
        if (make_runner(*entry)) {
          starting.push_back(entry);
          continue;
        }
        for (Callback& each : std::exchange(entry->waiting, {}))
          failed.emplace_back(std::move(each), *entry->ended);
      }
      running_ = !starting.empty();
      done_ = running_ ? std::exchange(done, nullptr) : nullptr;
      left_ = starting.size();
    }
    for (auto& [each, why] : failed)
      post(std::move(each), std::move(why));
    if (starting.empty()) return post(std::move(done), {});
    for (const EntryPtr& entry : starting)
      start(entry);
    signal->listen([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->shutdown_all();
    });
    // A signal between the check above and now.
    if (signal->raised()) shutdown_all();
  }

  std::vector<Address> keys() const {
    const std::scoped_lock lock(mutex_);
    std::vector<Address> keys;
    for (const EntryPtr& entry : entries_)
      keys.push_back(entry->key);
    return keys;
  }
  std::map<Address, RegistrationMetrics> metrics() const {
    const std::scoped_lock lock(mutex_);
    std::map<Address, RegistrationMetrics> result;
    for (const EntryPtr& entry : entries_) {
      result[entry->key] = entry->runner ? metrics_.metrics(entry->runner->uid()) : RegistrationMetrics{};
    }
    return result;
  }
  std::map<Address, Error> end_reasons() const {
    const std::scoped_lock lock(mutex_);
    std::map<Address, Error> result;
    for (const EntryPtr& entry : entries_) {
      if (entry->ended) result[entry->key] = *entry->ended;
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
    /// Its runner was started and has not ended.
    bool active = false;
    bool removing = false;
    std::vector<Callback> waiting;
    std::vector<Callback> removals;
  };
  using EntryPtr = std::shared_ptr<Entry>;

  static Error not_found(const Address& key) { return {errc::not_found, "no registration " + to_string(key)}; }

  Result<EntryPtr> insert(Registration registration) {
    if (registration.connector == nullptr) return Error(errc::invalid_argument, "registration has no connector");
    const Address key = registration.key();
    if (by_key_.contains(key)) return Error(errc::invalid_argument, "duplicate registration " + to_string(key));
    auto entry = std::make_shared<Entry>();
    entry->key = key;
    entry->registration = std::move(registration);
    by_key_.emplace(key, entries_.insert(entries_.end(), entry));
    return entry;
  }
  void forget(const Entry& entry) {
    if (entry.runner) metrics_.forget(entry.runner->uid());
    const auto found = by_key_.find(entry.key);
    const auto place = found->second;
    by_key_.erase(found);
    entries_.erase(place);
  }

  /// False when the connector threw: that registration has ended then, the others have not.
  bool make_runner(Entry& entry) {
    entry.ended.reset();
    if (entry.runner) metrics_.forget(entry.runner->uid());
    entry.runner.reset();
    std::string why = "something that is no std::exception";
    try {
      entry.runner = std::make_shared<RegistrationRunner>(strands_.next(), executor, bus_, timers_, dialer_,
                                                          entry.registration, options_);
    } catch (const std::exception& e) {
      why = e.what();
    } catch (...) {
    }
    if (entry.runner) {
      entry.active = true;
      metrics_.watch(entry.runner->uid());
    } else {
      entry.ended = Error(errc::handler_failed, "the connector failed to name its type: " + why);
      warn("registration " + to_string(entry.key) + ": " + entry.ended->message);
    }
    return entry.runner != nullptr;
  }

  void start(const EntryPtr& entry) {
    // Weak, because the runners belong to this: a run that is never finished must not keep itself alive.
    entry->runner->start([weak = weak_from_this(), of = std::weak_ptr(entry)](Error error) {
      auto self = weak.lock();
      const auto its_entry = of.lock();
      if (self && its_entry) ended(std::move(self), *its_entry, std::move(error));
    });
  }

  void post(Callback done, Error error) const {
    if (done) asio::post(executor, [done = std::move(done), error = std::move(error)] { done(error); });
  }

  static void ended(std::shared_ptr<State> self, Entry& entry, Error error) {
    Callback done;
    std::vector<Callback> waiting;
    std::vector<Callback> removals;
    {
      const std::scoped_lock lock(self->mutex_);
      entry.ended = error;
      entry.active = false;
      waiting.swap(entry.waiting);
      removals.swap(entry.removals);
      if (entry.removing) self->forget(entry);
      if (--self->left_ == 0) {
        self->running_ = false;
        done = std::exchange(self->done_, nullptr);
      }
    }
    if (waiting.empty() && removals.empty() && !done) return;
    const auto executor = self->executor;
    // Before `done`, after which there may be no bus any more.
    self.reset();
    // Posted, because this may be a thread of the transport's (`transport::Turn`), which the user's must not hold up.
    asio::post(executor, [waiting = std::move(waiting), removals = std::move(removals), done = std::move(done),
                          error = std::move(error)] {
      for (const Callback& each : waiting)
        each(error);
      for (const Callback& each : removals)
        each({});
      if (done) done({});
    });
  }

  void shutdown_all() {
    std::vector<std::shared_ptr<RegistrationRunner>> runners;
    {
      const std::scoped_lock lock(mutex_);
      if (!running_) return;
      for (const EntryPtr& entry : entries_) {
        if (entry->active) runners.push_back(entry->runner);
      }
    }
    for (const auto& runner : runners)
      runner->shutdown();
  }

  internal::StrandPool strands_;
  SharingBus& bus_;
  TimerService& timers_;
  transport::Dialer& dialer_;
  const RunnerOptions options_;
  RegistrationMetricsObserver metrics_;

  mutable std::mutex mutex_;
  /// In the order in which they were added.
  std::list<EntryPtr> entries_;
  std::map<Address, std::list<EntryPtr>::iterator> by_key_;
  bool running_ = false;
  std::size_t left_ = 0;
  Callback done_;
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

MultiConnectorRunner::~MultiConnectorRunner() {
  state_->abandon();
}

Result<> MultiConnectorRunner::add(Registration registration) {
  return state_->add(std::move(registration));
}

Result<> MultiConnectorRunner::add_running(Registration registration) {
  return state_->add_running(std::move(registration));
}

void MultiConnectorRunner::remove(const Address& key, std::function<void(Error)> done) {
  state_->remove(key, std::move(done));
}

void MultiConnectorRunner::wait(const Address& key, std::function<void(Error)> done) {
  state_->wait(key, std::move(done));
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
