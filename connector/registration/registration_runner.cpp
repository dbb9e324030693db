#include "connector/registration/registration_runner.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <boost/asio/post.hpp>

#include "bus/async.hpp"
#include "bus/base/bounded.hpp"
#include "connector/internal/strand_pool.hpp"
#include "connector/registration/events.hpp"
#include "connector/registration/internal/registration_stream.hpp"
#include "transport/codec/connector_protobuf.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace messages = transport::messages;
using internal::RegistrationContext;
using internal::RegistrationStream;

std::uint64_t to_ms(Duration duration) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

RegistrationTimes times_of(const RunnerOptions& options) {
  RegistrationTimes times;
  times.register_timeout = std::max<Duration>(3 * bounded(options.connect_timeout), std::chrono::milliseconds(3));
  times.heartbeat_interval = bounded(options.heartbeat_interval);
  times.heartbeat_timeout = bounded(options.heartbeat_timeout);
  times.heartbeat_slack = options.heartbeat_slack;
  times.minimum_stream_life = bounded(options.minimum_stream_life);
  times.drain = bounded(options.drain);
  times.reconnect = options.reconnect;
  return times;
}

BackoffOptions backoff_of(const RunnerOptions& options) {
  return {to_ms(options.reconnect_delay), to_ms(options.max_backoff), to_ms(options.reconnect_jitter),
          options.jitter_mode};
}

ExecutePool::Limits limits_of(const Registration& registration, const RunnerOptions& options) {
  const std::size_t running = registration.config.max_concurrent_requests.value_or(options.max_concurrent_requests);
  return {std::clamp<std::size_t>(running, 1, kMostRequests),
          std::clamp<std::size_t>(options.max_waiting_requests, 1, kMostRequests), options.request_timeout};
}

}  // namespace

/// Owns the registration's streams: the one that serves, and for a while one that is to replace it, or that was
/// replaced. Everything happens on the shared strand.
class RegistrationRunner::Driver final : public std::enable_shared_from_this<Driver>,
                                         private RegistrationStream::Owner {
 public:
  Driver(const internal::SharedStrand& shared, asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
         transport::Dialer& dialer, Registration registration, const RunnerOptions& options)
      : shared_(shared),
        executor_(std::move(executor)),
        context_(bus, timers, dialer, std::move(registration), options) {}

  [[nodiscard]] const Uuid& uid() const noexcept { return context_.uid; }

  void start(std::function<void(Error)> ended) {
    asio::post(shared_.strand,
               [self = shared_from_this(), ended = std::move(ended)]() mutable { self->begin(std::move(ended)); });
  }
  void shutdown() {
    asio::post(shared_.strand, [self = shared_from_this()] {
      if (self->over_) return;
      self->shutdown_ = true;
      self->for_each_stream([](RegistrationStream& stream) { stream.shutdown(); });
    });
  }

 private:
  void begin(std::function<void(Error)> ended) {
    ended_ = std::move(ended);
    make_pool();
    SubscriptionOptions subscription;
    subscription.name = "registration " + context_.address;
    subscription.filter = Filter::connector_uid(context_.uid) && Filter::origin(EventOrigin::transport);
    // Never more than two streams have credit.
    subscription.capacity = 2 * (context_.pool->capacity() + internal::kControlWindow + internal::kStreamEventReserve);
    subscription_ = shared_.callbacks.subscribe(std::move(subscription), [weak = weak_from_this()](const Received& r) {
      if (const auto self = weak.lock()) self->receive(r);
    });
    RegistrationStream::Owner& self = *this;
    serving_ = std::make_unique<RegistrationStream>(
        context_, self,
        RegistrationFsm(context_.address, times_of(context_.options),
                        Backoff(backoff_of(context_.options), seeded_random()), shared_.rounds.get()));
    if (shutdown_) serving_->shutdown();
    serving_->start();
  }

  void make_pool() {
    // Weak, because handlers keep the pool alive, and may outlive a runner that was let go before its end.
    ExecutePool::Hooks hooks;
    hooks.started = [weak = weak_from_this()](const std::string& id, std::size_t bytes) {
      if (const auto self = weak.lock()) {
        self->context_.publish(ExecuteStarted{id, bytes, self->context_.timers.unix_ms()});
      }
    };
    hooks.finished = [weak = weak_from_this()](ExecutePool::StreamId stream, messages::ExecuteResponse response,
                                               Duration duration, bool answerable) {
      if (const auto self = weak.lock()) self->finished(stream, std::move(response), duration, answerable);
    };
    hooks.late = [weak = weak_from_this()](const std::string& id, Duration duration) {
      if (const auto self = weak.lock()) {
        self->context_.publish(ExecuteLate{id, duration});
        self->room_changed();
      }
    };
    context_.pool = std::make_shared<ExecutePool>(shared_.strand, executor_, context_.registration.connector,
                                                  limits_of(context_.registration, context_.options), context_.timers,
                                                  std::move(hooks));
  }

  template <class Fn>
  void for_each_stream(Fn fn) {
    // None is destroyed before `sweep`, but they may change places.
    const std::array<RegistrationStream*, 3> streams{retiring_.get(), serving_.get(), next_.get()};
    for (RegistrationStream* stream : streams) {
      if (stream != nullptr) fn(*stream);
    }
  }

  void receive(const Received& received) {
    if (received.closed() != nullptr) {
      // The bus is gone: no event of a stream will come any more, so nobody can wait for its end.
      shutdown_ = true;
      return for_each_stream([](RegistrationStream& stream) {
        stream.abandon(Error(errc::closed, "the bus is closed"));
        stream.shutdown();
      });
    }
    if (received.gap() != nullptr) {
      // Never by credit, but a bus that gave events up under pressure may have given up any, a stream's end too.
      return for_each_stream([](RegistrationStream& stream) {
        stream.abandon(Error(errc::internal, "the bus lost events of the stream"));
      });
    }
    const EventRef* event = received.event();
    if (event == nullptr) return;
    RegistrationStream* owner = nullptr;
    for_each_stream([&](RegistrationStream& stream) {
      if (stream.owns(**event)) owner = &stream;
    });
    if (owner != nullptr) owner->event(**event);
  }

  // The pool.

  void finished(ExecutePool::StreamId id, messages::ExecuteResponse response, Duration duration, bool answerable) {
    RegistrationStream* stream = nullptr;
    for_each_stream([&](RegistrationStream& each) {
      if (each.open() && each.id() == id) stream = &each;
    });
    const bool sent = answerable && stream != nullptr;
    std::string frame = sent ? transport::encode_connector_message(response) : std::string();
    const std::size_t limit = context_.options.limits.max_outbound_bytes;
    if (sent && (frame.empty() || frame.size() > limit)) {
      const Error too_large(errc::message_too_large, "result of " + std::to_string(response.payload.size()) +
                                                         " bytes exceeds the limit of " + std::to_string(limit) +
                                                         " for a message");
      response = make_execute_response(std::move(response.request_id), too_large, duration);
      frame = transport::encode_connector_message(response);
    }
    ExecuteFinished finished;
    finished.success = sent && response.success;
    finished.bytes_out = finished.success ? response.payload.size() : 0;
    finished.duration = duration;
    finished.error = sent ? std::move(response.error) : "the stream ended before the answer";
    finished.request_id = std::move(response.request_id);
    if (sent) stream->answer(std::move(frame));
    context_.publish(std::move(finished));
    room_changed();
  }

  void room_changed() {
    for_each_stream([](RegistrationStream& stream) { stream.room_changed(); });
    settled();
  }

  // The streams.

  void replace_wanted(RegistrationStream& stream) override {
    if (&stream != serving_.get() || shutdown_) return;
    // One at a time: the last replacement is not complete yet.
    replace_later_ = next_ != nullptr || retiring_ != nullptr;
    if (replace_later_) return;
    next_ = stream.replacement();
    settled();
  }

  void registered(RegistrationStream& stream) override {
    if (&stream != next_.get()) return;
    retiring_ = std::exchange(serving_, std::move(next_));
    retiring_->retire();
  }

  void refused(RegistrationStream& stream) override {
    // A gateway that takes no second stream of one identity: the first must go before the next can come.
    if (&stream == next_.get()) serving_->retire();
  }

  void settled() override {
    arm_timer();
    bool some_over = false;
    for_each_stream([&](RegistrationStream& stream) { some_over = some_over || stream.end().has_value(); });
    if (!some_over) return;
    if ((retiring_ || next_) && !std::exchange(sweeping_, true)) {
      asio::post(shared_.strand, [self = shared_from_this()] { self->sweep(); });
    }
    end_if_idle();
  }

  void sweep() {
    sweeping_ = false;
    if (over_) return;
    if (retiring_ && retiring_->end()) retiring_.reset();
    if (next_ && serving_->end()) serving_ = std::move(next_);
    if (!retiring_ && !next_ && std::exchange(replace_later_, false) &&
        serving_->fsm().state() == RegistrationFsm::State::driving) {
      replace_wanted(*serving_);
    }
    settled();
  }

  // Time and the end.

  void arm_timer() {
    std::optional<TimePoint> deadline = context_.pool->next_deadline();
    for_each_stream([&](RegistrationStream& stream) {
      const auto next = stream.fsm().next_deadline();
      if (next) deadline = deadline ? std::min(*deadline, *next) : *next;
    });
    // A timer that is armed for earlier serves too: it looks again when it fires.
    if (!deadline || over_ || (timer_ && armed_for_ <= *deadline)) return;
    if (timer_) context_.timers.cancel(*timer_);
    armed_for_ = *deadline;
    timer_ = context_.timers.schedule_at(*deadline, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) asio::post(self->shared_.strand, [self] { self->timer_fired(); });
    });
  }

  void timer_fired() {
    if (over_ || (timer_ && context_.timers.now() < armed_for_)) return;
    timer_.reset();
    for_each_stream([](RegistrationStream& stream) { stream.tick(); });
    context_.pool->expire();
    settled();
  }

  /// Nothing is left once every stream is closed and every handler has returned.
  void end_if_idle() {
    bool idle = ended_ != nullptr && context_.pool->running() == 0;
    for_each_stream([&](RegistrationStream& stream) { idle = idle && stream.end() && !stream.open(); });
    if (!idle || over_) return;
    over_ = true;
    const Error error = next_ ? *next_->end() : *serving_->end();
    if (timer_) context_.timers.cancel(*timer_);
    subscription_ = {};
    context_.publish(RegistrationEnded{context_.address, error});
    // Posted, because the callback may let this go while its frames are still on the stack.
    asio::post(shared_.strand,
               [self = shared_from_this(), error, ended = std::exchange(ended_, nullptr)] { ended(error); });
  }

  internal::SharedStrand shared_;
  const asio::any_io_executor executor_;
  RegistrationContext context_;

  std::unique_ptr<RegistrationStream> serving_;
  /// Is to replace `serving_` once it is registered.
  std::unique_ptr<RegistrationStream> next_;
  /// Was replaced and answers what is in flight.
  std::unique_ptr<RegistrationStream> retiring_;
  bool replace_later_ = false;
  bool sweeping_ = false;
  bool shutdown_ = false;
  std::optional<TimerId> timer_;
  TimePoint armed_for_{};
  /// Set before `ended` is called, after which timers, bus and dialer may be gone.
  bool over_ = false;
  std::function<void(Error)> ended_;
  CallbackSubscription subscription_;
};

RegistrationRunner::RegistrationRunner(asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                                       transport::Dialer& dialer, Registration registration,
                                       const RunnerOptions& options)
    : RegistrationRunner(internal::SharedStrand(bus, executor), executor, bus, timers, dialer, std::move(registration),
                         options) {}

RegistrationRunner::RegistrationRunner(const internal::SharedStrand& shared, asio::any_io_executor executor,
                                       SharingBus& bus, TimerService& timers, transport::Dialer& dialer,
                                       Registration registration, const RunnerOptions& options)
    : driver_(std::make_shared<Driver>(shared, std::move(executor), bus, timers, dialer, std::move(registration),
                                       options)) {}

RegistrationRunner::~RegistrationRunner() = default;

const Uuid& RegistrationRunner::uid() const noexcept {
  return driver_->uid();
}

void RegistrationRunner::start(std::function<void(Error)> ended) {
  driver_->start(std::move(ended));
}

void RegistrationRunner::shutdown() {
  driver_->shutdown();
}

}  // namespace sharingbus::connector
