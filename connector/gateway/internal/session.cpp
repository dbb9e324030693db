#include "connector/gateway/internal/session.hpp"

#include <algorithm>
#include <type_traits>
#include <variant>

#include <boost/asio/strand.hpp>

#include "connector/gateway/internal/gateway_core.hpp"
#include "connector/gateway/internal/invoke.hpp"
#include "connector/gateway/internal/session_token.hpp"
#include "transport/codec/connector_frame_decoder.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::messages;

/// Besides the credit: StreamWritable, StreamClosed, and room to spare.
constexpr std::size_t kQueueReserve = 8;
/// How often the registrations that share a stream are told that its peer is alive.
constexpr Duration kAliveEvery = std::chrono::seconds(1);

Error at_connector(const std::string& address, const Error& why) {
  Error error = why;
  error.message = "connector " + address + ": " + to_string(why);
  return error;
}

}  // namespace

template <class Input>
void Session::feed(Input&& input) {
  SessionFsm::Actions actions;
  input(fsm_, actions);
  for (SessionFsm::Action& action : actions) {
    std::visit([this](auto& held) { this->perform(held); }, action);
  }
}

Session::Session(std::shared_ptr<GatewayCore> core, Admission alive, std::shared_ptr<transport::Link> link,
                 std::string peer, std::uint64_t listener)
    : core_(std::move(core)),
      alive_(std::move(alive)),
      link_(std::move(link)),
      peer_(std::move(peer)),
      listener_(listener),
      shared_(core_->next_strand()),
      fsm_(core_->options(), make_session_token, peer_, core_->timers().now()),
      outbox_(*link_) {}

Session::~Session() {
  core_->timers().cancel(timer_);
}

void Session::start() {
  const transport::Credit window = core_->options().window;
  SubscriptionOptions options{.name = "gateway-session " + peer_,
                              .filter = Filter::connector_uid(uid()) && Filter::origin(EventOrigin::transport),
                              .capacity = std::size_t{window.requests} + window.controls + kQueueReserve};
  auto subscription = shared_.callbacks.subscribe(std::move(options), [weak = weak_from_this()](const Received& item) {
    if (const auto self = weak.lock()) self->received(item);
  });
  post([subscription = std::move(subscription), window](Session& self) mutable {
    if (self.gone_) return;
    self.subscription_ = std::move(subscription);
    // Until it is registered, its register request and nothing else.
    self.owed_ = {window.requests - 1, window.controls - 1};
    self.link_->grant({1, 1});
  });
}

void Session::closed_early(Error error) {
  if (heard_.load(std::memory_order_relaxed)) return;
  post([error = std::move(error)](Session& self) {
    if (self.heard_ || self.gone_) return;
    self.feed([&](SessionFsm& fsm, auto& actions) { fsm.stream_closed(error, actions); });
    self.depart();
  });
}

void Session::end(Error why, bool graceful) {
  post([why = std::move(why), graceful](Session& self) {
    const Moment at = self.core_->timers().moment();
    self.feed([&](SessionFsm& fsm, auto& actions) { fsm.end(why, graceful, at, actions); });
  });
}

void Session::supersede(Error why) {
  post([why = std::move(why)](Session& self) mutable {
    self.superseded_ = std::move(why);
    if (!self.fsm_.reconnect_asked()) self.end_superseded(false);
  });
}

void Session::ask_to_reconnect() {
  post([](Session& self) {
    const Moment at = self.core_->timers().moment();
    self.feed([&](SessionFsm& fsm, auto& actions) { fsm.ask_to_reconnect(at, actions); });
  });
}

SessionCounters Session::counters() const {
  return {reserved_.load(std::memory_order_relaxed), answered_.load(std::memory_order_relaxed),
          failed_.load(std::memory_order_relaxed), late_answers_.load(std::memory_order_relaxed)};
}

void Session::depart() {
  if (std::exchange(gone_, true)) return;
  if (lanes_) lanes_->close(Error(errc::stream_failed, peer_ + ": the stream of this registration ended"));
  subscription_ = {};
  core_->timers().cancel(std::exchange(timer_, 0));
  core_->remove(*this);
}

void Session::end_superseded(bool graceful) {
  if (lanes_ && !lanes_->empty()) {
    return feed([&](SessionFsm& fsm, auto& actions) { fsm.host(*superseded_, actions); });
  }
  const Moment at = core_->timers().moment();
  feed([&](SessionFsm& fsm, auto& actions) { fsm.end(*superseded_, graceful, at, actions); });
}

/// After every turn on the strand.
void Session::settle() {
  if (gone_) return;
  if (superseded_ && pending_.size() == 0 && fsm_.registered()) end_superseded(true);
  if (fsm_.hosting() && lanes_->empty()) {
    const Moment at = core_->timers().moment();
    feed([&](SessionFsm& fsm, auto& actions) { fsm.end(*superseded_, true, at, actions); });
  }
  return_credit();
  arm_timer();
}

// One timer for the state machine and for the earliest request. It is only moved forward: when it fires too early it is
// set anew, so that an answered request costs no timer operation.
void Session::arm_timer() {
  std::optional<TimePoint> next = fsm_.next_deadline();
  if (const auto request = pending_.next_deadline()) next = next ? std::min(*next, *request) : *request;
  if (timer_ != 0 && (!next || timer_at_ <= *next)) return;
  if (!next) return;
  core_->timers().cancel(timer_);
  timer_at_ = *next;
  timer_ = core_->timers().schedule_at(*next, [weak = weak_from_this(), round = ++timer_round_] {
    if (const auto self = weak.lock()) self->post([round](Session& session) { session.timer_fired(round); });
  });
}

void Session::timer_fired(std::uint64_t round) {
  // One that was replaced after it had fired does not count.
  if (gone_ || round != timer_round_) return;
  core_->timers().fired(std::exchange(timer_, 0));
  expire();
  const Moment at = core_->timers().moment();
  feed([&](SessionFsm& fsm, auto& actions) { fsm.tick(at, actions); });
}

void Session::received(const Received& item) {
  if (gone_) return;
  heard_.store(true, std::memory_order_relaxed);
  if (const EventRef* ref = item.event()) {
    event(**ref);
  } else if (const Gap* gap = item.gap()) {
    // Cannot be while the credit is kept; without what was lost the session would be wrong.
    const Error why(errc::internal, "lost " + std::to_string(gap->count) + " inbound messages");
    const Moment at = core_->timers().moment();
    feed([&](SessionFsm& fsm, auto& actions) { fsm.end(why, false, at, actions); });
  } else if (item.closed() != nullptr) {
    const Error why(errc::closed, "the bus was closed");
    link_->cancel(why);
    feed([&](SessionFsm& fsm, auto& actions) { fsm.stream_closed(why, actions); });
    depart();
  }
  settle();
}

void Session::event(const BusEvent& event) {
  if (const auto* closed = event.get_if<transport::StreamClosed>()) {
    if (lanes_) lanes_->close(closed->error);
    feed([&](SessionFsm& fsm, auto& actions) { fsm.stream_closed(closed->error, actions); });
    return depart();
  }
  if (event.is<transport::StreamWritable>()) {
    for (Outbox::Item& item : outbox_.flush())
      refuse_too_large(std::move(item));
    if (finish_wanted_ && outbox_.empty()) link_->finish();
    if (lanes_) lanes_->writable();
    return;
  }
  if (event.is<transport::StreamOpened>()) return;
  if (transport::frame_class_of(event) == transport::FrameClass::request) {
    ++owed_.requests;
  } else {
    ++owed_.controls;
  }
  if ((fsm_.registered() || fsm_.hosting()) && for_a_lane(event)) return;
  if (const auto* response = event.get_if<messages::ExecuteResponse>(); response != nullptr && fsm_.registered()) {
    const TimePoint now = core_->timers().now();
    fsm_.heard(now);
    return answered(*response, now);
  }
  const Moment at = core_->timers().moment();
  feed([&](SessionFsm& fsm, auto& actions) {
    if (const auto* request = event.get_if<messages::RegisterRequest>()) {
      return fsm.message(*request, link_->stats().bytes_received, at, actions);
    }
    if (const auto* heartbeat = event.get_if<messages::HeartbeatRequest>()) return fsm.message(*heartbeat, at, actions);
    if (const auto* unknown = event.get_if<messages::UnknownMessage>()) return fsm.message(*unknown, at, actions);
    fsm.other_message(event.type_name(), at, actions);
  });
  if (!fsm_.registered()) return;
  if (const auto* invoke = event.get_if<messages::InvokeRequest>()) return invoked(*invoke);
}

bool Session::for_a_lane(const BusEvent& event) {
  const auto* request = event.get_if<messages::RegisterRequest>();
  // Should it come back to a stream that it has left, then as one of many.
  const bool mine = request != nullptr && to_string(address_of(*request)) == address_;
  if (mine && !fsm_.hosting()) return false;
  if (!lanes_) {
    // An identity that is none is answered as such.
    if (request == nullptr || check_identity(*request)) return false;
    const GatewayOptions& options = core_->options();
    lanes_ = std::make_shared<Lanes>(
        Lanes::Context{shared_.strand, link_, core_->lane_options(link_->id()), listener_, peer_,
                       options.max_registrations_per_stream - 1, options.max_pending,
                       std::min(kAliveEvery, options.session_timeout / 4), [weak = weak_from_this()] {
                         if (const auto self = weak.lock()) self->post([](Session&) {});
                       }});
    feed([](SessionFsm& fsm, auto&) { fsm.share(); });
  }
  switch (lanes_->take(event, core_->timers())) {
    case Lanes::Taken::no:
      return false;
    case Lanes::Taken::yes:
      return true;
    case Lanes::Taken::full:
      break;
  }
  messages::RegisterResponse response;
  response.address = to_string(address_of(*request));
  response.connector_arn = to_arn(address_of(*request));
  response.error =
      "the stream has " + std::to_string(core_->options().max_registrations_per_stream) + " registrations already";
  reply(std::move(response));
  return true;
}

// A peer that asks and does not read the replies is read no further, so that they cannot pile up; if that lasts, the
// state machine ends it for its silence. Requests that wait for room do not count: their answers must come in.
void Session::return_credit() {
  if (outbox_.replies() >= kRepliesMax) return;
  if (!fsm_.registered() && !fsm_.hosting()) return;
  const transport::Credit window = core_->options().window;
  const bool due =
      owed_.requests >= std::max(window.requests / 4, 1U) || owed_.controls >= std::max(window.controls / 4, 1U);
  if (due) link_->grant(std::exchange(owed_, {}));
}

void Session::perform(SessionFsm::Send& action) {
  // A peer that does not read what is queued for it gains nothing by one more heartbeat.
  if (std::holds_alternative<messages::HeartbeatRequest>(action.message) && !outbox_.empty()) return;
  reply(std::move(action.message));
}

void Session::perform(SessionFsm::Claim& action) {
  const Moment at = core_->timers().moment();
  const auto claim = core_->claim(shared_from_this(), action.identity, at.unix_ms);
  if (!claim.refused) address_ = action.identity.address;
  feed([&](SessionFsm& fsm, auto& actions) {
    if (claim.refused) return fsm.claim_refused(claim.refused, at, actions);
    fsm.claimed(claim.replaced, at, actions);
  });
}

void Session::perform(SessionFsm::Release& action) {
  core_->release(*this, address_);
  const Error why = at_connector(address_, action.why);
  const TimePoint now = core_->timers().now();
  for (RequestPtr& request : pending_.take_all())
    complete(std::move(request), why, {}, now);
  outbox_.forget_requests([](const std::string&) { return false; });
}

void Session::perform(SessionFsm::FinishStream&) {
  finish_wanted_ = true;
  if (outbox_.empty()) link_->finish();
}

void Session::perform(SessionFsm::CancelStream& action) {
  link_->cancel(action.why);
}

template <class Event>
void Session::perform(Event& action) {
  core_->log(action);
  Routing routing = core_->routing(uid(), action.address, kEventType<Event>.kind);
  core_->publish(std::move(action), std::move(routing));
}

}  // namespace sharingbus::connector::internal
