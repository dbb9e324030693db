#include "connector/registration/internal/registration_stream.hpp"

#include <algorithm>
#include <iterator>
#include <variant>

#include "connector/registration/events.hpp"
#include "connector/registration/register_message.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/codec/connector_protobuf.hpp"

namespace sharingbus::connector::internal {

namespace messages = transport::messages;

RegistrationContext::RegistrationContext(SharingBus& on, TimerService& time, transport::Dialer& through,
                                         Registration what, const RunnerOptions& how)
    : bus(on),
      publisher(on.publisher()),
      timers(time),
      dialer(through),
      registration(std::move(what)),
      options(how),
      endpoint(how.endpoint().value()),
      address(to_string(registration.address())),
      source(on.new_source()),
      decoder(std::make_shared<transport::ConnectorFrameDecoder>()) {}

RegistrationStream::RegistrationStream(const RegistrationContext& context, Owner& owner, RegistrationFsm fsm)
    : context_(context), owner_(owner), fsm_(std::move(fsm)) {}

void RegistrationStream::start() {
  step([&](auto& actions) { fsm_.start(context_.timers.now(), actions); });
}

void RegistrationStream::shutdown() {
  const bool all_sent = link_ != nullptr && outbox_.empty() && link_->stats().frames_sent >= frames_queued_;
  step([&](auto& actions) { fsm_.shutdown(context_.timers.now(), actions, all_sent); });
}

void RegistrationStream::retire() {
  step([&](auto& actions) { fsm_.retire(context_.timers.now(), context_.timers.unix_ms(), actions); });
}

void RegistrationStream::tick() {
  const auto deadline = fsm_.next_deadline();
  if (!deadline || context_.timers.now() < *deadline) return;
  step([&](auto& actions) { fsm_.tick(context_.timers.now(), context_.timers.unix_ms(), actions); });
}

std::unique_ptr<RegistrationStream> RegistrationStream::replacement() {
  Fsm::Actions actions;
  auto next = std::make_unique<RegistrationStream>(context_, owner_, fsm_.replacement(context_.timers.now(), actions));
  next->step([&](auto& to) { to = std::move(actions); });
  return next;
}

// What comes in.

void RegistrationStream::event(const BusEvent& event) {
  if (const auto* closed = event.get_if<transport::StreamClosed>()) {
    return stream_closed(closed->error, closed->retry_after);
  }
  if (event.is<transport::StreamOpened>()) {
    return step([&](auto& actions) { fsm_.stream_opened(context_.timers.now(), actions); });
  }
  if (event.is<transport::StreamGoingAway>()) {
    return step([&](auto& actions) { fsm_.stream_going_away(actions); });
  }
  if (event.is<transport::StreamWritable>()) {
    blocked_ = false;
    // The peer reads, so it lives, even if nothing can be read from it before it has taken what waits here.
    if (request_credit_ == 0) {
      fsm_.reading_paused(true, context_.timers.now());
      reading_paused_ = true;
    }
    flush();
    return watch_reading();
  }
  if (const auto* request = event.get_if<messages::ExecuteRequest>()) return requested(*request);
  if (auto message = transport::message_of(event)) {
    received(std::move(*message), transport::frame_class_of(event) == transport::FrameClass::request);
  }
}

void RegistrationStream::received(messages::ConnectorMessage message, bool request) {
  if (request) {
    --request_credit_;
  } else {
    ++owed_controls_;
  }
  step([&](auto& actions) {
    fsm_.message(std::move(message), context_.timers.now(), context_.timers.unix_ms(), actions);
  });
  return_credit();
}

/// As `received`, without the way through the state machine, which has nothing to decide here.
void RegistrationStream::requested(const messages::ExecuteRequest& request) {
  --request_credit_;
  if (fsm_.takes_requests()) {
    const bool within = std::exchange(stepping_, true);
    perform(Fsm::Execute{request});
    stepping_ = within;
    if (!within) carry_out(std::exchange(pending_, {}));
  }
  return_credit();
}

void RegistrationStream::abandon(const Error& why) {
  if (link_) link_->cancel(why);
  stream_closed(why);
}

void RegistrationStream::stream_closed(const Error& error, Duration retry_after) {
  if (link_ == nullptr) return;
  link_.reset();
  outbox_.clear();
  blocked_ = false;
  heartbeat_waits_ = false;
  finishing_ = false;
  step([&](auto& actions) {
    fsm_.stream_closed(error, context_.timers.now(), context_.timers.unix_ms(), actions, retry_after);
  });
}

void RegistrationStream::answer(std::string frame) {
  send(std::move(frame));
}

void RegistrationStream::room_changed() {
  return_credit();
  report_in_flight();
}

void RegistrationStream::report_in_flight() {
  const std::size_t count = context_.pool->in_flight(id_);
  if (!fsm_.waits_for_requests()) return fsm_.note_in_flight(count);
  step([&](auto& actions) { fsm_.in_flight_changed(count, context_.timers.now(), actions); });
}

/// A place for each request that the stream may have in the pool, less those that handlers of the past still hold.
std::size_t RegistrationStream::request_room() const {
  const std::size_t used = context_.pool->in_flight(id_) + context_.pool->lingering() + request_credit_;
  const std::size_t capacity = context_.pool->capacity();
  return capacity - std::min(capacity, used);
}

/// While answers wait for room in the link, what they answer keeps its place, which bounds the outbox.
void RegistrationStream::return_credit() {
  if (link_ == nullptr) return;
  if (outbox_.empty()) {
    const auto room = static_cast<std::uint32_t>(request_room());
    if (room != 0 || owed_controls_ != 0) {
      request_credit_ += room;
      link_->grant({room, std::exchange(owed_controls_, 0)});
    }
  }
  watch_reading();
}

/// The watchdog rests while reading is paused for want of room, but not while it is the peer who reads nothing.
void RegistrationStream::watch_reading() {
  const bool paused = request_credit_ == 0 && request_room() == 0;
  if (!paused && !reading_paused_) return;
  reading_paused_ = paused;
  fsm_.reading_paused(paused, context_.timers.now());
  if (!stepping_) owner_.settled();
}

// What the state machine wants.

/// Runs one input of the state machine and carries out its actions. Inputs that come while actions are carried out are
/// taken as they come: the actions already decided go first.
template <class Input>
void RegistrationStream::step(Input&& input) {
  Fsm::Actions actions;
  input(actions);
  if (stepping_) {
    std::move(actions.begin(), actions.end(), std::back_inserter(pending_));
    return;
  }
  carry_out(std::move(actions));
}

void RegistrationStream::carry_out(Fsm::Actions actions) {
  stepping_ = true;
  while (!actions.empty()) {
    for (Fsm::Action& action : actions)
      std::visit([this](auto&& a) { this->perform(std::forward<decltype(a)>(a)); }, std::move(action));
    actions = std::exchange(pending_, {});
  }
  stepping_ = false;
  owner_.settled();
}

void RegistrationStream::perform(Fsm::OpenStream&& open) {
  auto hello = register_frame(open.session_token);
  if (!hello) {
    return step([&](auto& actions) {
      fsm_.stream_closed(hello.error(), context_.timers.now(), context_.timers.unix_ms(), actions);
    });
  }
  id_ = context_.bus.new_source();
  request_credit_ = 0;
  request_credit_ = request_room();
  owed_controls_ = 0;
  frames_queued_ = 1;
  transport::StreamOptions stream;
  stream.publisher = context_.publisher;
  stream.decoder = context_.decoder;
  stream.id = id_;
  stream.routing.connector_uid = context_.uid;
  stream.routing.connector_id = context_.address;
  stream.routing.address = context_.address;
  stream.initial_credit = {static_cast<std::uint32_t>(request_credit_), kControlWindow};
  stream.limits = context_.options.limits;
  stream.connect_timeout = context_.options.connect_timeout;
  link_ = context_.dialer.open(std::move(stream), std::move(*hello));
}

/// The connector is the user's code and may throw when it is asked what it is.
Result<std::string> RegistrationStream::register_frame(const std::string& session_token) const {
  const std::string what = "the connector failed to describe itself: ";
  try {
    return transport::encode_connector_message(
        make_register_request(context_.registration, session_token, context_.endpoint));
  } catch (const std::exception& e) {
    return Error(errc::handler_failed, what + e.what());
  } catch (...) {
    return Error(errc::handler_failed, what + "something that is no std::exception");
  }
}

void RegistrationStream::perform(Fsm::Send&& send_action) {
  // One heartbeat that waits for the peer to read says all that more of them would.
  const bool heartbeat = std::holds_alternative<messages::HeartbeatRequest>(send_action.message);
  if (heartbeat && std::exchange(heartbeat_waits_, true)) return;
  send(transport::encode_connector_message(send_action.message));
}

void RegistrationStream::perform(Fsm::Execute&& execute) {
  context_.pool->submit(std::move(execute.request), id_);
  report_in_flight();
}

void RegistrationStream::perform(Fsm::DrainExecutes&&) {
  context_.pool->drain(id_);
  report_in_flight();
}

void RegistrationStream::perform(Fsm::CancelExecutes&& cancel) {
  context_.pool->cancel(id_, cancel.answer);
}

void RegistrationStream::perform(Fsm::FinishStream&&) {
  finishing_ = true;
  flush();
}

void RegistrationStream::perform(Fsm::CancelStream&& cancel) {
  outbox_.clear();
  if (link_) link_->cancel(std::move(cancel.why));
}

void RegistrationStream::perform(Fsm::ReplaceStream&&) {
  owner_.replace_wanted(*this);
}

void RegistrationStream::perform(Fsm::End&& end) {
  end_ = std::move(end.error);
}

void RegistrationStream::perform(Registered&& event) {
  context_.publish(std::move(event));
  owner_.registered(*this);
}

void RegistrationStream::perform(RegistrationFailed&& event) {
  const bool refused = event.error.is(errc::rejected);
  context_.publish(std::move(event));
  if (refused) owner_.refused(*this);
}

template <class Event>
void RegistrationStream::perform(Event&& event) {
  context_.publish(std::forward<Event>(event));
}

// Sending.

void RegistrationStream::send(std::string frame) {
  if (link_ == nullptr) return;
  if (blocked_ || !outbox_.empty()) {
    outbox_.push_back(std::move(frame));
    return flush();
  }
  switch (offer(frame)) {
    case transport::SendStatus::full:
      outbox_.push_back(std::move(frame));
      return;
    case transport::SendStatus::closed:
      return;
    default:
      everything_sent();
  }
}

transport::SendStatus RegistrationStream::offer(const std::string& frame) {
  const transport::SendStatus status = link_->send(frame);
  switch (status) {
    case transport::SendStatus::queued:
      ++frames_queued_;
      break;
    case transport::SendStatus::full:
      blocked_ = true;
      break;
    case transport::SendStatus::too_large:
      context_.publish(RegistrationNotice{context_.address, "message of " + std::to_string(frame.size()) +
                                                                " bytes exceeds the outbound limit and was not sent"});
      break;
    case transport::SendStatus::closed:
      outbox_.clear();
      step([&](auto& actions) { fsm_.send_failed(context_.timers.now(), actions); });
      break;
  }
  return status;
}

void RegistrationStream::flush() {
  while (!blocked_ && !outbox_.empty() && link_) {
    // Out of the list first: what comes of it may add to that, or clear it.
    std::string frame = std::move(outbox_.front());
    outbox_.pop_front();
    const transport::SendStatus status = offer(frame);
    if (status == transport::SendStatus::closed) return;
    if (status == transport::SendStatus::full) outbox_.push_front(std::move(frame));
  }
  if (outbox_.empty()) everything_sent();
}

void RegistrationStream::everything_sent() {
  heartbeat_waits_ = false;
  return_credit();
  if (finishing_ && link_) {
    finishing_ = false;
    link_->finish();
  }
}

}  // namespace sharingbus::connector::internal
