#include "connector/gateway/internal/lanes.hpp"

#include <utility>
#include <variant>

#include <boost/asio/post.hpp>

#include "connector/gateway/internal/session_fsm.hpp"
#include "connector/identity.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/codec/connector_peek.hpp"
#include "transport/codec/connector_protobuf.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::messages;

bool asks_to_reconnect(std::string_view frame) {
  const auto message = transport::decode_connector_message(frame);
  const auto* response = message ? std::get_if<messages::HeartbeatResponse>(&*message) : nullptr;
  return response != nullptr && response->should_reconnect;
}

}  // namespace

void Lanes::on_strand(std::function<void()> fn) {
  boost::asio::post(context_.strand, [self = shared_from_this(), fn = std::move(fn)] { fn(); });
}

bool Lanes::passes(const std::shared_ptr<LaneLink>& lane, std::string_view frame) {
  // The stream has one heartbeat for all.
  if (transport::is_heartbeat_request(frame)) return false;
  if (transport::is_heartbeat_response(frame)) return asks_to_reconnect(frame);
  if (const auto request_id = transport::execute_request_id(frame); !request_id.empty()) note_request(request_id, lane);
  return true;
}

void Lanes::lane_ended(LaneLink& lane, const Error& /*why*/) {
  const auto found = lanes_.find(lane.arn());
  if (found == lanes_.end() || found->second.get() != &lane) return;
  lanes_.erase(found);
  if (lanes_.empty()) context_.emptied();
}

Lanes::Taken Lanes::take(const BusEvent& event, TimerAccess& timers) {
  if (closed_) return Taken::no;
  if (const auto* request = event.get_if<messages::RegisterRequest>()) return take_register(*request, event);
  std::shared_ptr<LaneLink> lane;
  if (const auto* response = event.get_if<messages::ExecuteResponse>()) {
    lane = take_request(response->request_id);
  } else if (const auto* invoke = event.get_if<messages::InvokeRequest>()) {
    if (const auto arn = invoke->context.find("connector_arn"); arn != invoke->context.end()) {
      lane = of_arn(arn->second);
    }
  } else if (const auto* report = event.get_if<messages::MetricsReport>()) {
    lane = of_arn(report->connector_arn);
  } else if (const auto* asked = event.get_if<messages::HeartbeatRequest>()) {
    tell_alive(asked->timestamp_ms, timers);
  } else if (const auto* answered = event.get_if<messages::HeartbeatResponse>()) {
    tell_alive(answered->timestamp_ms, timers);
  }
  if (!lane) return Taken::no;
  deliver(*lane, event);
  return Taken::yes;
}

/// The stream's own session asks and answers; the others only have to know that the peer is alive. Each is told in its
/// own name, so that it asks for itself alone should it be asked to reconnect.
void Lanes::tell_alive(std::int64_t timestamp_ms, TimerAccess& timers) {
  const TimePoint now = timers.now();
  if (alive_at_ && now - *alive_at_ < context_.alive_every) return;
  alive_at_ = now;
  const auto all = lanes_;
  for (const auto& [arn, lane] : all)
    deliver(*lane, transport::encode_connector_message(messages::HeartbeatRequest{lane->address(), timestamp_ms}));
}

Lanes::Taken Lanes::take_register(const messages::RegisterRequest& request, const BusEvent& event) {
  const std::string arn = to_arn(address_of(request));
  auto lane = of_arn(arn);
  if (!lane) {
    if (lanes_.size() >= context_.max_lanes) return Taken::full;
    lane = std::make_shared<LaneLink>(arn, weak_from_this(), context_.stream, context_.options);
    lanes_.emplace(arn, lane);
    lane->opened(context_.peer, context_.listener);
  }
  deliver(*lane, event);
  return Taken::yes;
}

std::shared_ptr<LaneLink> Lanes::of_arn(const std::string& arn) const {
  const auto found = lanes_.find(arn);
  return found != lanes_.end() ? found->second : nullptr;
}

void Lanes::deliver(LaneLink& lane, const BusEvent& event) {
  if (const auto message = transport::message_of(event)) deliver(lane, transport::encode_connector_message(*message));
}

void Lanes::deliver(LaneLink& lane, std::string frame) {
  if (lane.deliver(std::move(frame))) return;
  lane.end({errc::capacity_exceeded, lane.arn() + ": too many messages wait for this registration"});
}

void Lanes::writable() {
  const auto all = lanes_;
  for (const auto& [arn, lane] : all)
    lane->writable();
}

void Lanes::close(const Error& why) {
  if (std::exchange(closed_, true)) return;
  const auto all = std::exchange(lanes_, {});
  for (const auto& [arn, lane] : all)
    lane->close(why);
}

void Lanes::note_request(std::string_view request_id, const std::shared_ptr<LaneLink>& lane) {
  const std::scoped_lock lock(mutex_);
  const auto [asked, fresh] = requests_.try_emplace(std::string(request_id), Asked{lane, order_.end()});
  if (!fresh) return;
  asked->second.place = order_.insert(order_.end(), asked->first);
  while (order_.size() > context_.max_requests) {
    requests_.erase(order_.front());
    order_.pop_front();
  }
}

std::shared_ptr<LaneLink> Lanes::take_request(const std::string& request_id) {
  const std::scoped_lock lock(mutex_);
  const auto found = requests_.find(request_id);
  if (found == requests_.end()) return nullptr;
  auto lane = found->second.by.lock();
  order_.erase(found->second.place);
  requests_.erase(found);
  return lane;
}

}  // namespace sharingbus::connector::internal
