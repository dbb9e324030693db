#include "connector/registration/internal/shared_stream.hpp"

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include <boost/asio/post.hpp>

#include "bus/base/uuid.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/codec/connector_peek.hpp"
#include "transport/codec/connector_protobuf.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::messages;

constexpr transport::Credit kWindow{.requests = 1024, .controls = 4096};
/// Besides the credit: what the stream itself publishes, and room to spare.
constexpr std::size_t kQueueReserve = 8;
/// An answer to a heartbeat stands for all registrations for this long.
constexpr auto kFresh = std::chrono::seconds(5);

}  // namespace

SharedStream::SharedStream(const boost::asio::any_io_executor& executor, TimerService& timers,
                           std::weak_ptr<SharedStreamOwner> owner, std::size_t max_registrations)
    : strand_(executor), timers_(timers), owner_(std::move(owner)), max_registrations_(max_registrations) {}

void SharedStream::dial(SharingBus& bus, transport::Dialer& streams, const transport::StreamOptions& options) {
  bus_ = &bus;
  streams_ = &streams;
  options_.publisher = options.publisher;
  options_.decoder = options.decoder;
  options_.id = options.id;
  options_.origin = options.origin;
  options_.connect_timeout = options.connect_timeout;
  options_.limits = options.limits;
  // All of them register at once, and each may have something to say besides.
  options_.limits.outbound_capacity += 2 * max_registrations_;
  open();
}

void SharedStream::open() {
  transport::StreamOptions stream = options_;
  stream.routing.connector_uid = random_uuid();
  SubscriptionOptions wanted{
      .name = "shared-stream",
      .filter = Filter::connector_uid(*stream.routing.connector_uid) && Filter::origin(stream.origin),
      .capacity = std::size_t{kWindow.requests} + kWindow.controls + kQueueReserve};
  auto subscription = subscribe_on(*bus_, strand_, std::move(wanted), [weak = weak_from_this()](const Received& item) {
    if (const auto self = weak.lock()) self->received(item);
  });
  auto opened = streams_->open(std::move(stream), {});
  bool cancelled = false;
  {
    const std::scoped_lock lock(mutex_);
    link_ = opened;
    cancelled = cancelled_;
  }
  if (cancelled) opened->cancel({errc::cancelled, "the dialer was closed"});
  // No message comes before there is credit, and so before this.
  boost::asio::post(strand_, [self = shared_from_this(), subscription = std::move(subscription)]() mutable {
    if (self->ended_) return;
    self->subscription_ = std::move(subscription);
    self->link()->grant(kWindow);
  });
}

std::shared_ptr<transport::Link> SharedStream::add(std::string arn, transport::StreamOptions options,
                                                   std::string first_frame) {
  auto lane = std::make_shared<LaneLink>(std::move(arn), weak_from_this(), link(), std::move(options));
  // Sent from there too: what the gateway answers could else be here before the lane is.
  boost::asio::post(strand_, [self = shared_from_this(), lane, frame = std::move(first_frame)]() mutable {
    self->begin(lane, std::move(frame));
  });
  return lane;
}

void SharedStream::begin(const std::shared_ptr<LaneLink>& lane, std::string first_frame) {
  if (ended_) {
    if (const auto owner = owner_.lock()) static_cast<void>(owner->registration_ended(*this, lane->arn()));
    return lane->close(*ended_);
  }
  lanes_[lane->arn()] = lane;
  unanswered_.erase(lane->arn());
  // The stream may be another one since it was made.
  lane->move_to(link());
  awaiting_.push_back({lane->arn(), lane, std::move(first_frame)});
  if (opened_) lane->opened(peer_, 0);
  // It was on its way when the others were told.
  if (going_away_) lane->going_away();
  ask();
}

void SharedStream::ask() {
  const bool one_by_one = cautious_ && !proven_;
  // Those that were sent are before the others.
  auto next = awaiting_.begin();
  if (!one_by_one) next = std::partition_point(next, awaiting_.end(), [](const Waiting& each) { return each.sent; });
  for (; next != awaiting_.end(); ++next) {
    if (!std::exchange(next->sent, true)) ask(*next);
    if (one_by_one && waits(*next)) return;
  }
}

bool SharedStream::waits(const Waiting& waiting) const {
  const auto lane = waiting.lane.lock();
  return lane && of_arn(lane->arn()) == lane;
}

void SharedStream::ask(Waiting& waiting) {
  const auto lane = waiting.lane.lock();
  if (!lane) return;
  switch (lane->send(waiting.frame)) {
    case transport::SendStatus::queued:
    case transport::SendStatus::closed:
      break;
    case transport::SendStatus::full:
      lane->cancel({errc::capacity_exceeded, "too many messages wait on the shared stream"});
      break;
    case transport::SendStatus::too_large:
      lane->cancel({errc::message_too_large, "the first message exceeds the outbound limit"});
      break;
  }
}

std::shared_ptr<transport::Link> SharedStream::link() const {
  const std::scoped_lock lock(mutex_);
  return link_;
}

void SharedStream::cancel(Error why) {
  {
    const std::scoped_lock lock(mutex_);
    cancelled_ = true;
  }
  link()->cancel(std::move(why));
}

void SharedStream::on_strand(std::function<void()> fn) {
  boost::asio::post(strand_, [self = shared_from_this(), fn = std::move(fn)] { fn(); });
}

bool SharedStream::passes(const std::shared_ptr<LaneLink>& lane, std::string_view frame) {
  if (!transport::is_heartbeat_request(frame)) return true;
  const TimePoint now = timers_.now();
  {
    const std::scoped_lock lock(mutex_);
    // Whoever is to leave asks the gateway itself, as nothing can come for it behind the answer.
    if (lane->leaving()) {
      heartbeat_sent_ = now;
      return true;
    }
    const bool answered = heartbeat_answered_ && now - *heartbeat_answered_ < kFresh;
    if (!answered) {
      // Its answer is for all.
      if (heartbeat_sent_ && now - *heartbeat_sent_ < kFresh) return false;
      heartbeat_sent_ = now;
      return true;
    }
  }
  const auto message = transport::decode_connector_message(frame);
  const auto* request = message ? std::get_if<messages::HeartbeatRequest>(&*message) : nullptr;
  const std::int64_t sent_at = request != nullptr ? request->timestamp_ms : 0;
  on_strand([lane, sent_at] {
    static_cast<void>(
        lane->deliver(transport::encode_connector_message(messages::HeartbeatResponse{"", sent_at, false})));
  });
  return false;
}

void SharedStream::lane_ended(LaneLink& lane, const Error& why) {
  const auto found = lanes_.find(lane.arn());
  if (found == lanes_.end() || found->second.get() != &lane) return;
  const auto kept = std::move(found->second);
  lanes_.erase(found);
  const auto owner = owner_.lock();
  // It may have been the one whose answer others wait for.
  if (owner && !owner->registration_ended(*this, lane.arn())) return ask();
  if (why) {
    link()->cancel(why);
  } else {
    link()->finish();
  }
}

void SharedStream::received(const Received& item) {
  if (ended_) return;
  if (const EventRef* ref = item.event()) return event(**ref);
  if (const Gap* gap = item.gap()) {
    // Cannot be while the credit is kept.
    return link()->cancel({errc::internal, "lost " + std::to_string(gap->count) + " inbound messages"});
  }
  if (item.closed() == nullptr) return;
  // Maybe before there is a link.
  const Error why(errc::closed, "the bus was closed");
  if (const auto below = link()) below->cancel(why);
  shut(why, {});
}

/// Of a copy, as whoever hears of it may end its lane.
template <class Fn>
void SharedStream::each_lane(Fn fn) const {
  const auto all = lanes_;
  for (const auto& [arn, lane] : all)
    fn(*lane);
}

void SharedStream::event(const BusEvent& event) {
  if (const auto* closed = event.get_if<transport::StreamClosed>()) {
    if (!open_again()) shut(closed->error, closed->retry_after);
    return;
  }
  if (const auto* opened = event.get_if<transport::StreamOpened>()) {
    opened_ = true;
    peer_ = opened->peer;
    return each_lane([this](LaneLink& lane) { lane.opened(peer_, 0); });
  }
  if (event.is<transport::StreamWritable>()) return each_lane([](LaneLink& lane) { lane.writable(); });
  if (event.is<transport::StreamGoingAway>()) {
    going_away_ = true;
    leave();
    return each_lane([](LaneLink& lane) { lane.going_away(); });
  }
  ++(transport::frame_class_of(event) == transport::FrameClass::request ? owed_.requests : owed_.controls);
  route(event);
  if (owed_.requests >= kWindow.requests / 4 || owed_.controls >= kWindow.controls / 4) {
    link()->grant(std::exchange(owed_, {}));
  }
}

void SharedStream::forget_ended() {
  for (const Waiting& each : awaiting_) {
    if (each.sent && !waits(each)) unanswered_.insert(each.arn);
  }
  std::erase_if(awaiting_, [this](const Waiting& each) { return !waits(each); });
}

bool SharedStream::open_again() {
  forget_ended();
  if (!refused_ || proven_ || awaiting_.empty()) return false;
  {
    const std::scoped_lock lock(mutex_);
    if (cancelled_) return false;
    heartbeat_sent_.reset();
    heartbeat_answered_.reset();
  }
  subscription_ = {};
  owed_ = {};
  unanswered_.clear();
  opened_ = going_away_ = refused_ = false;
  cautious_ = true;
  open();
  for (Waiting& each : awaiting_) {
    each.sent = false;
    each.lane.lock()->move_to(link());
  }
  ask();
  return true;
}

void SharedStream::shut(const Error& why, Duration retry_after) {
  ended_ = why;
  subscription_ = {};
  const auto all = std::exchange(lanes_, {});
  for (const auto& [arn, lane] : all)
    lane->close(why, retry_after);
  if (const auto owner = owner_.lock()) owner->stream_ended(*this);
}

void SharedStream::route(const BusEvent& event) {
  if (const auto* response = event.get_if<messages::RegisterResponse>()) return registered(*response, event);
  if (const auto* request = event.get_if<messages::ExecuteRequest>()) {
    return requested(request->request_id, request->context, event);
  }
  if (const auto* response = event.get_if<messages::HeartbeatResponse>()) return heartbeat(*response, event);
  if (const auto* request = event.get_if<messages::HeartbeatRequest>()) {
    return answer(messages::HeartbeatResponse{request->gateway_id, request->timestamp_ms, false});
  }
  std::shared_ptr<LaneLink> lane;
  if (const auto* notice = event.get_if<messages::ApprovalNotification>()) {
    lane = of_address(notice->gateway_id);
  } else if (const auto* issued = event.get_if<messages::CredentialsIssued>()) {
    lane = of_address(issued->gateway_id);
  } else if (const auto* invoke = event.get_if<messages::InvokeRequest>()) {
    if (const auto arn = invoke->context.find("connector_arn"); arn != invoke->context.end())
      lane = of_arn(arn->second);
  } else {
    lane = only_one();
  }
  if (lane) static_cast<void>(deliver(*lane, event));
}

void SharedStream::registered(const messages::RegisterResponse& response, const BusEvent& event) {
  forget_ended();
  auto lane = of_arn(response.connector_arn);
  const bool of_ended = !lane && unanswered_.erase(response.connector_arn) != 0;
  // Gateways answer in order; some do not say whom they refuse.
  if (!lane && !of_ended && !awaiting_.empty() && awaiting_.front().sent) lane = awaiting_.front().lane.lock();
  if (lane) std::erase_if(awaiting_, [&](const Waiting& each) { return each.lane.lock() == lane; });
  if (response.success) {
    proven_ = true;
    ask();
  } else if (!proven_) {
    refused_ = true;
    // The others take another stream, whether or not the gateway would have kept this one.
    if (cautious_) link()->finish();
  }
  if (lane) static_cast<void>(deliver(*lane, event));
}

void SharedStream::requested(const std::string& request_id, const messages::StringMap& context, const BusEvent& event) {
  const auto arn = context.find("connector_arn");
  const auto lane = arn != context.end() ? of_arn(arn->second) : only_one();
  if (!lane) return refuse(request_id, "no such connector is registered on this stream");
  if (!deliver(*lane, event)) refuse(request_id, "too many requests wait for this connector");
}

void SharedStream::heartbeat(const messages::HeartbeatResponse& response, const BusEvent& event) {
  {
    const std::scoped_lock lock(mutex_);
    heartbeat_answered_ = timers_.now();
    heartbeat_sent_.reset();
  }
  if (const auto lane = response.gateway_id.empty() ? nullptr : of_address(response.gateway_id)) {
    if (response.should_reconnect) lane->set_leaving();
    static_cast<void>(deliver(*lane, event));
    return;
  }
  if (response.should_reconnect) leave();
  each_lane([&](LaneLink& lane) {
    if (response.should_reconnect) lane.set_leaving();
    static_cast<void>(deliver(lane, event));
  });
}

void SharedStream::leave() {
  if (const auto owner = owner_.lock()) owner->stream_leaving(*this);
}

void SharedStream::refuse(const std::string& request_id, const std::string& why) {
  answer(messages::ExecuteResponse{request_id, false, R"({"success":false})", messages::PayloadEncoding::json, why, 0});
}

/// What finds no room is lost: whoever waits for it has a deadline.
void SharedStream::answer(const messages::ConnectorMessage& message) {
  static_cast<void>(link()->send(transport::encode_connector_message(message)));
}

std::shared_ptr<LaneLink> SharedStream::of_arn(const std::string& arn) const {
  const auto found = lanes_.find(arn);
  return found != lanes_.end() ? found->second : nullptr;
}

std::shared_ptr<LaneLink> SharedStream::of_address(const std::string& address) const {
  if (address.empty()) return only_one();
  for (const auto& [arn, lane] : lanes_) {
    if (lane->address() == address) return lane;
  }
  return nullptr;
}

std::shared_ptr<LaneLink> SharedStream::only_one() const {
  return lanes_.size() == 1 ? lanes_.begin()->second : nullptr;
}

bool SharedStream::deliver(LaneLink& lane, const BusEvent& event) {
  const auto message = transport::message_of(event);
  return !message || lane.deliver(transport::encode_connector_message(*message));
}

}  // namespace sharingbus::connector::internal
