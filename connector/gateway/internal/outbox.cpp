#include "connector/gateway/internal/outbox.hpp"

#include <utility>

#include "transport/codec/connector_protobuf.hpp"

namespace sharingbus::connector::internal {

Outbox::Push Outbox::send(const Item& item) {
  std::string frame = transport::encode_connector_message(item.message);
  // What the gateway sends is never empty, so this is a message beyond what Protobuf can represent.
  if (frame.empty()) return Push::too_large;
  switch (link_.send(std::move(frame))) {
    case transport::SendStatus::queued:
      return Push::sent;
    case transport::SendStatus::full:
      full_ = true;
      return Push::waiting;
    case transport::SendStatus::too_large:
      return Push::too_large;
    case transport::SendStatus::closed:
      break;
  }
  return Push::closed;
}

Outbox::Push Outbox::push(Item& item) {
  const Push result = full_ || !waiting_.empty() ? Push::waiting : send(item);
  if (result == Push::waiting) {
    if (item.request_id() == nullptr) ++replies_;
    waiting_.push_back(std::move(item));
  }
  return result;
}

std::vector<Outbox::Item> Outbox::flush() {
  std::vector<Item> too_large;
  full_ = false;
  while (!waiting_.empty()) {
    const Push result = send(waiting_.front());
    if (result == Push::waiting) break;
    if (waiting_.front().request_id() == nullptr) --replies_;
    if (result == Push::too_large) too_large.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  return too_large;
}

void Outbox::forget_requests(const std::function<bool(const std::string&)>& keep) {
  std::erase_if(waiting_, [&](const Item& item) {
    const std::string* const id = item.request_id();
    return id != nullptr && !keep(*id);
  });
}

}  // namespace sharingbus::connector::internal
