#include "connector/lifecycle/internal/service_session.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include "transport/codec/json_rpc_frame_decoder.hpp"

namespace sharingbus::connector::internal {

using namespace transport::messages;

ServiceSession::ServiceSession(std::shared_ptr<transport::Link> link, const std::vector<GreetingMessage>& greeting)
    : link_(std::move(link)), greeting_(greeting) {}

ServiceSession::Heard ServiceSession::receive(const BusEvent& event) {
  Heard heard = Heard::nothing;
  std::vector<JsonRpcCall> answers;
  if (event.is<transport::StreamOpened>()) return greet();
  if (event.is<transport::StreamWritable>()) {
    flush();
    return heard;
  }
  if (const auto* response = event.get_if<JsonRpcResponse>()) {
    heard = answered(response->id);
  } else if (const auto* batch = event.get_if<JsonRpcBatch>()) {
    heard = take_batch(*batch);
  } else if (const auto* request = event.get_if<JsonRpcRequest>()) {
    send(JsonRpcResponse{request->id, json_rpc_error(kJsonRpcMethodNotFound)});
  } else if (const auto* invalid = event.get_if<JsonRpcInvalid>()) {
    send(*invalid);
  }
  give_back(event);
  return heard;
}

ServiceSession::Heard ServiceSession::take(const JsonRpcCall& call, std::vector<JsonRpcCall>& answers) {
  if (const auto* response = std::get_if<JsonRpcResponse>(&call)) return answered(response->id);
  if (const auto* request = std::get_if<JsonRpcRequest>(&call)) {
    answers.emplace_back(JsonRpcResponse{request->id, json_rpc_error(kJsonRpcMethodNotFound)});
  } else if (const auto* invalid = std::get_if<JsonRpcInvalid>(&call)) {
    answers.emplace_back(*invalid);
  }
  return Heard::nothing;
}

ServiceSession::Heard ServiceSession::take_batch(const JsonRpcBatch& batch) {
  Heard heard = Heard::nothing;
  JsonRpcBatch answers;
  for (const JsonRpcCall& call : batch.calls)
    heard = std::max(heard, take(call, answers.calls));
  if (!answers.calls.empty()) send(answers);
  return heard;
}

/// Sends up to the next request, whose answer is waited for.
ServiceSession::Heard ServiceSession::greet() {
  greeting_id_ = 0;
  while (greeted_ < greeting_.size() && greeting_id_ == 0) {
    const GreetingMessage& next = greeting_[greeted_++];
    if (next.notification) {
      send(JsonRpcNotification{next.method, next.params});
    } else {
      greeting_id_ = ++last_id_;
      send(JsonRpcRequest{greeting_id_, next.method, next.params});
    }
  }
  if (greeting_id_ != 0 || ready_) return Heard::nothing;
  ready_ = true;
  first_probe_ = last_id_ + 1;
  return Heard::ready;
}

ServiceSession::Heard ServiceSession::answered(const JsonRpcId& id) {
  const auto* number = std::get_if<std::int64_t>(&id);
  if (number == nullptr) return Heard::nothing;
  if (greeting_id_ != 0 && *number == greeting_id_) return greet();
  return ready_ && *number >= first_probe_ && *number <= last_id_ ? Heard::alive : Heard::nothing;
}

void ServiceSession::probe() {
  if (!outbox_.empty()) return;
  send(JsonRpcRequest{++last_id_, "ping", std::nullopt});
}

template <class Message>
void ServiceSession::send(const Message& message) {
  auto frame = transport::encode_json_rpc(JsonRpcMessage(message));
  // Only a greeting can have what JSON has not.
  if (!frame) return link_->cancel(std::move(frame).error());
  outbox_.push_back(std::move(*frame));
  flush();
}

void ServiceSession::flush() {
  while (!outbox_.empty()) {
    const auto status = link_->send(outbox_.front());
    if (status == transport::SendStatus::full) return;
    if (status == transport::SendStatus::too_large) {
      link_->cancel(Error(errc::message_too_large, "a message of " + std::to_string(outbox_.front().size()) +
                                                       " bytes to the service exceeds the limit"));
    }
    outbox_.pop_front();
  }
  if (owed_ != transport::Credit{}) link_->grant(std::exchange(owed_, {}));
}

void ServiceSession::give_back(const BusEvent& event) {
  const auto cost = transport::json_rpc_class_of(event);
  if (!cost) return;
  ++(*cost == transport::FrameClass::request ? owed_.requests : owed_.controls);
  flush();
}

}  // namespace sharingbus::connector::internal
