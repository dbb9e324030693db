#include "connector/registration/registration_runner.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <algorithm>
#include <deque>
#include <utility>

#include "bus/async.hpp"
#include "connector/registration/events.hpp"
#include "connector/registration/execute_pool.hpp"
#include "connector/registration/register_message.hpp"
#include "connector/registration/registration_fsm.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/codec/connector_protobuf.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace messages = transport::messages;

/// Messages other than requests that may be on their way at once, and the stream's own events beside them.
constexpr std::uint32_t kControlWindow = 128;
constexpr std::size_t kStreamEventReserve = 8;

std::uint64_t to_ms(Duration duration) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

/// "Never" spelled as a huge duration must not overflow when it is added to a time.
Duration bounded(Duration duration) {
  return std::min<Duration>(duration, std::chrono::hours(24 * 365));
}

RegistrationTimes times_of(const RunnerOptions& options) {
  RegistrationTimes times;
  times.register_timeout = std::max<Duration>(3 * bounded(options.connect_timeout), std::chrono::milliseconds(3));
  times.heartbeat_interval = bounded(options.heartbeat_interval);
  times.heartbeat_timeout = bounded(options.heartbeat_timeout);
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
          std::clamp<std::size_t>(options.max_waiting_requests, 1, kMostRequests)};
}

}  // namespace

/// Carries out what the state machine decides. Everything happens on `strand_`.
class RegistrationRunner::Driver : public std::enable_shared_from_this<Driver> {
 public:
  Driver(asio::any_io_executor executor, SharingBus& bus, TimerService& timers, transport::Dialer& dialer,
         Registration registration, const RunnerOptions& options)
      : strand_(asio::make_strand(executor)),
        executor_(std::move(executor)),
        bus_(bus),
        publisher_(bus.publisher()),
        timers_(timers),
        dialer_(dialer),
        registration_(std::move(registration)),
        options_(options),
        endpoint_(options.endpoint().value()),
        address_(to_string(registration_.address())),
        source_(bus.new_source()),
        fsm_(address_, times_of(options), Backoff(backoff_of(options), seeded_random())) {}

  [[nodiscard]] const Uuid& uid() const noexcept { return uid_; }

  void start(std::function<void(Error)> ended) {
    asio::post(strand_,
               [self = shared_from_this(), ended = std::move(ended)]() mutable { self->begin(std::move(ended)); });
  }
  void shutdown() {
    asio::post(strand_, [self = shared_from_this()] {
      if (self->over_) return;
      self->step([&](auto& actions) { self->fsm_.shutdown(self->timers_.now(), actions); });
    });
  }

 private:
  using Fsm = RegistrationFsm;

  void begin(std::function<void(Error)> ended) {
    ended_ = std::move(ended);
    // Weak, because handlers keep the pool alive, and may outlive a runner that was let go before its end.
    ExecutePool::Hooks hooks;
    hooks.started = [weak = weak_from_this()](const std::string& id, std::size_t bytes) {
      if (const auto self = weak.lock()) self->publish(ExecuteStarted{id, bytes, self->timers_.unix_ms()});
    };
    hooks.finished = [weak = weak_from_this()](messages::ExecuteResponse response, Duration duration, bool answerable) {
      if (const auto self = weak.lock()) self->execute_finished(std::move(response), duration, answerable);
    };
    hooks.freed = [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->end_if_idle();
    };
    pool_ = std::make_shared<ExecutePool>(strand_, executor_, registration_.connector,
                                          limits_of(registration_, options_), timers_, std::move(hooks));
    SubscriptionOptions subscription;
    subscription.name = "registration " + address_;
    subscription.filter = Filter::connector_uid(uid_) && Filter::origin(EventOrigin::transport);
    subscription.capacity = pool_->room() + kControlWindow + kStreamEventReserve;
    subscription_ = subscribe_on(bus_, strand_, std::move(subscription), [weak = weak_from_this()](const Received& r) {
      if (const auto self = weak.lock()) self->receive(r);
    });
    step([&](auto& actions) { fsm_.start(timers_.now(), actions); });
  }

  // What comes in.

  void receive(const Received& received) {
    if (received.closed() != nullptr) {
      // The bus is gone: no event of the stream will come any more, so nobody can wait for its end.
      abandon_stream(Error(errc::closed, "the bus is closed"));
      return step([&](auto& actions) { fsm_.shutdown(timers_.now(), actions); });
    }
    if (received.gap() != nullptr) {
      // Never by credit, but a bus that gave events up under pressure may have given up any, the stream's end too.
      return abandon_stream(Error(errc::internal, "the bus lost events of the stream"));
    }
    const EventRef* event = received.event();
    if (event == nullptr || link_ == nullptr || (*event)->source() != link_->id()) return;
    if (const auto* closed = (*event)->get_if<transport::StreamClosed>()) return stream_closed(closed->error);
    if ((*event)->is<transport::StreamOpened>()) {
      return step([&](auto& actions) { fsm_.stream_opened(timers_.now(), actions); });
    }
    if ((*event)->is<transport::StreamWritable>()) {
      blocked_ = false;
      // The peer reads, so it lives, even if nothing can be read from it before it has taken what waits here.
      if (request_credit_ == 0) fsm_.reading_paused(true, timers_.now());
      flush();
      return watch_reading();
    }
    if (const auto message = transport::message_of(**event)) {
      message_received(*message, transport::frame_class_of(**event) == transport::FrameClass::request);
    }
  }

  void message_received(const messages::ConnectorMessage& message, bool request) {
    // These keep their place until they are answered; all others give it back.
    const bool starts_work = std::holds_alternative<messages::ExecuteRequest>(message) && driving();
    if (request) --request_credit_;
    step([&](auto& actions) { fsm_.message(message, timers_.now(), timers_.unix_ms(), actions); });
    if (!starts_work) return_credit(request ? transport::Credit{1, 0} : transport::Credit{0, 1});
    watch_reading();
  }

  /// Goes on without hearing the stream's own end.
  void abandon_stream(const Error& why) {
    if (link_) link_->cancel(why);
    stream_closed(why);
  }

  void stream_closed(const Error& error) {
    if (link_ == nullptr) return;
    link_.reset();
    outbox_.clear();
    blocked_ = false;
    heartbeat_waits_ = false;
    finishing_ = false;
    owed_ = {};
    step([&](auto& actions) { fsm_.stream_closed(error, timers_.now(), timers_.unix_ms(), actions); });
  }

  void execute_finished(messages::ExecuteResponse response, Duration duration, bool answerable) {
    const bool sent = answerable && link_ != nullptr;
    std::string frame = sent ? transport::encode_connector_message(response) : std::string();
    if (const std::size_t limit = options_.limits.max_outbound_bytes; sent && (frame.empty() || frame.size() > limit)) {
      const Error too_large(errc::message_too_large, "result of " + std::to_string(response.payload.size()) +
                                                         " bytes exceeds the limit of " + std::to_string(limit) +
                                                         " for a message");
      response = make_execute_response(std::move(response.request_id), too_large, duration);
      frame = transport::encode_connector_message(response);
    }
    ExecuteFinished finished;
    finished.request_id = response.request_id;
    finished.success = sent && response.success;
    finished.bytes_out = finished.success ? response.payload.size() : 0;
    finished.duration = duration;
    finished.error = sent ? response.error : "the stream ended before the answer";
    if (sent) send(std::move(frame));
    publish(std::move(finished));
    return_credit({1, 0});
    if (answerable) step([&](auto& actions) { fsm_.in_flight_changed(pool_->in_flight(), timers_.now(), actions); });
    end_if_idle();
  }

  /// While answers wait for room in the link, what they answer keeps its place, which bounds the outbox.
  void return_credit(transport::Credit credit) {
    if (link_ == nullptr) return;
    owed_.requests += credit.requests;
    owed_.controls += credit.controls;
    if (outbox_.empty() && owed_ != transport::Credit{}) {
      request_credit_ += owed_.requests;
      link_->grant(std::exchange(owed_, {}));
    }
    watch_reading();
  }

  /// The watchdog rests while reading is paused for want of room, but not while it is the peer who reads nothing.
  void watch_reading() {
    fsm_.reading_paused(request_credit_ == 0 && owed_.requests == 0, timers_.now());
    if (!stepping_) arm_timer();
  }

  [[nodiscard]] bool driving() const {
    return fsm_.state() == Fsm::State::driving || fsm_.state() == Fsm::State::draining;
  }

  // What the state machine wants.

  /// Runs one input of the state machine and carries out its actions. Inputs that come while actions are carried out
  /// are taken as they come: the actions already decided go first.
  template <class Input>
  void step(Input&& input) {
    Fsm::Actions actions;
    input(actions);
    for (auto& action : actions) pending_.push_back(std::move(action));
    if (std::exchange(stepping_, true)) return;
    while (!pending_.empty()) {
      Fsm::Action action = std::move(pending_.front());
      pending_.pop_front();
      std::visit([this](auto&& a) { this->perform(std::forward<decltype(a)>(a)); }, std::move(action));
    }
    stepping_ = false;
    arm_timer();
    end_if_idle();
  }

  void perform(Fsm::OpenStream&& open) {
    pool_->reopen();
    transport::StreamOptions stream;
    stream.publisher = publisher_;
    stream.decoder = decoder_;
    stream.id = bus_.new_source();
    stream.routing.connector_uid = uid_;
    stream.routing.connector_id = address_;
    stream.routing.address = address_;
    stream.initial_credit = {static_cast<std::uint32_t>(pool_->room()), kControlWindow};
    stream.limits = options_.limits;
    stream.connect_timeout = options_.connect_timeout;
    request_credit_ = pool_->room();
    auto hello = register_frame(open.session_token);
    if (!hello) {
      return step([&](auto& actions) {
        fsm_.stream_closed(hello.error(), timers_.now(), timers_.unix_ms(), actions);
      });
    }
    link_ = dialer_.open(std::move(stream), std::move(*hello));
  }

  /// The connector is the user's code and may throw when it is asked what it is.
  Result<std::string> register_frame(const std::string& session_token) const {
    const std::string what = "the connector failed to describe itself: ";
    try {
      return transport::encode_connector_message(make_register_request(registration_, session_token, endpoint_));
    } catch (const std::exception& e) {
      return Error(errc::handler_failed, what + e.what());
    } catch (...) {
      return Error(errc::handler_failed, what + "something that is no std::exception");
    }
  }

  void perform(Fsm::Send&& send_action) {
    // One heartbeat that waits for the peer to read says all that more of them would.
    const bool heartbeat = std::holds_alternative<messages::HeartbeatRequest>(send_action.message);
    if (heartbeat && std::exchange(heartbeat_waits_, true)) return;
    send(transport::encode_connector_message(send_action.message));
  }
  void perform(Fsm::Execute&& execute) {
    pool_->submit(std::move(execute.request));
    step([&](auto& actions) { fsm_.in_flight_changed(pool_->in_flight(), timers_.now(), actions); });
  }
  void perform(Fsm::DrainExecutes&&) {
    pool_->drain();
    step([&](auto& actions) { fsm_.in_flight_changed(pool_->in_flight(), timers_.now(), actions); });
  }
  void perform(Fsm::CancelExecutes&& cancel) { pool_->cancel_all(cancel.answer); }
  void perform(Fsm::FinishStream&&) {
    finishing_ = true;
    flush();
  }
  void perform(Fsm::CancelStream&& cancel) {
    outbox_.clear();
    if (link_) link_->cancel(std::move(cancel.why));
  }
  void perform(Fsm::End&& end) { end_error_ = std::move(end.error); }
  template <class Event>
  void perform(Event&& event) {
    publish(std::forward<Event>(event));
  }

  // Sending.

  void send(std::string frame) {
    if (link_ == nullptr) return;
    outbox_.push_back(std::move(frame));
    flush();
  }

  /// The outbox holds what the link had no room for: answers, each of which holds back credit, and one heartbeat.
  void flush() {
    while (!blocked_ && !outbox_.empty() && link_) {
      switch (link_->send(outbox_.front())) {
        case transport::SendStatus::queued: outbox_.pop_front(); break;
        case transport::SendStatus::full: blocked_ = true; return;
        case transport::SendStatus::too_large:
          publish(RegistrationNotice{address_, "message of " + std::to_string(outbox_.front().size()) +
                                                   " bytes exceeds the outbound limit and was not sent"});
          outbox_.pop_front();
          break;
        case transport::SendStatus::closed:
          outbox_.clear();
          step([&](auto& actions) { fsm_.send_failed(timers_.now(), actions); });
          return;
      }
    }
    if (outbox_.empty()) {
      heartbeat_waits_ = false;
      return_credit({});
    }
    if (finishing_ && outbox_.empty() && link_) {
      finishing_ = false;
      link_->finish();
    }
  }

  template <class Event>
  void publish(Event event) {
    Routing routing = routing_for<Event>();
    routing.connector_uid = uid_;
    routing.connector_id = address_;
    routing.address = address_;
    publisher_.publish(std::move(event), std::move(routing), EventOrigin::connector, source_);
  }

  // Time and the end.

  void arm_timer() {
    const auto deadline = fsm_.next_deadline();
    // A timer that is armed for earlier serves too: it looks again when it fires.
    if (!deadline || (timer_ && armed_for_ <= *deadline)) return;
    if (timer_) timers_.cancel(*timer_);
    armed_for_ = *deadline;
    timer_ = timers_.schedule_at(*deadline, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) asio::post(self->strand_, [self] { self->timer_fired(); });
    });
  }

  void timer_fired() {
    if (over_ || (timer_ && timers_.now() < armed_for_)) return;
    timer_.reset();
    step([&](auto& actions) { fsm_.tick(timers_.now(), timers_.unix_ms(), actions); });
  }

  /// Nothing is left once the stream is closed and every handler has returned.
  void end_if_idle() {
    if (!end_error_ || stepping_ || link_ != nullptr || pool_->running() != 0 || !ended_) return;
    if (timer_) timers_.cancel(*timer_);
    subscription_ = {};
    publish(RegistrationEnded{address_, *end_error_});
    over_ = true;
    // Posted, because the callback may let this go while its frames are still on the stack.
    asio::post(strand_,
               [self = shared_from_this(), ended = std::exchange(ended_, nullptr)] { ended(*self->end_error_); });
  }

  const asio::strand<asio::any_io_executor> strand_;
  const asio::any_io_executor executor_;
  SharingBus& bus_;
  const Publisher publisher_;
  TimerService& timers_;
  transport::Dialer& dialer_;
  const Registration registration_;
  const RunnerOptions options_;
  const transport::Endpoint endpoint_;
  const std::string address_;
  const Uuid uid_ = random_uuid();
  const std::uint64_t source_;
  const std::shared_ptr<const transport::FrameDecoder> decoder_ = std::make_shared<transport::ConnectorFrameDecoder>();

  RegistrationFsm fsm_;
  std::deque<Fsm::Action> pending_;
  bool stepping_ = false;
  std::shared_ptr<ExecutePool> pool_;
  std::shared_ptr<transport::Link> link_;
  std::size_t request_credit_ = 0;
  transport::Credit owed_;
  std::deque<std::string> outbox_;
  bool blocked_ = false;
  bool heartbeat_waits_ = false;
  bool finishing_ = false;
  std::optional<TimerId> timer_;
  TimePoint armed_for_{};
  std::optional<Error> end_error_;
  /// Set before `ended` is called, after which timers, bus and dialer may be gone.
  bool over_ = false;
  std::function<void(Error)> ended_;
  CallbackSubscription subscription_;
};

RegistrationRunner::RegistrationRunner(asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                                       transport::Dialer& dialer, Registration registration,
                                       const RunnerOptions& options)
    : driver_(std::make_shared<Driver>(std::move(executor), bus, timers, dialer, std::move(registration), options)) {}

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
