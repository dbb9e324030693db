#include "connector/agent/internal/pool_connection.hpp"

#include <algorithm>

namespace sharingbus::connector::internal {

PoolConnection::~PoolConnection() {
  forget_order();
}

void PoolConnection::mark_sent(Call& call) {
  call.state = Call::State::sent;
  call.next_of_id = nullptr;
  sent.push_back(call);
  intrusive_ptr_add_ref(&call);
  const auto [at, first] = by_id_.try_emplace(call.correlation_id, &call);
  if (first) return;
  Call* last = at->second;
  while (last->next_of_id != nullptr)
    last = last->next_of_id;
  last->next_of_id = &call;
}

/// `before`: the one before it of its id; null when it is the first.
void PoolConnection::unchain(Call& call, Call* before) {
  Call* next = std::exchange(call.next_of_id, nullptr);
  if (before != nullptr) {
    before->next_of_id = next;
  } else {
    // The key is the first call's own text.
    by_id_.erase(std::string_view(call.correlation_id));
    if (next != nullptr) by_id_.emplace(next->correlation_id, next);
  }
  intrusive_ptr_release(&call);
}

void PoolConnection::unmark_sent(Call& call) {
  const CallPtr keep(&call);
  const auto at = by_id_.find(std::string_view(call.correlation_id));
  if (at == by_id_.end()) return;
  Call* before = nullptr;
  for (Call* each = at->second; each != nullptr; each = each->next_of_id) {
    if (each == &call) return unchain(call, before);
    before = each;
  }
}

CallPtr PoolConnection::take_answered(std::string_view correlation_id) {
  const auto at = by_id_.find(correlation_id);
  if (at == by_id_.end()) return nullptr;
  CallPtr call(at->second);
  unchain(*call, nullptr);
  if (call->abandoned) {
    const auto kept = std::find(abandoned_.begin(), abandoned_.end(), call);
    if (kept != abandoned_.end()) abandoned_.erase(kept);
  }
  return call;
}

void PoolConnection::abandon(Call& call) {
  call.abandoned = true;
  abandoned_.emplace_back(&call);
  if (abandoned_.size() <= kAbandonedMax) return;
  const CallPtr oldest = std::move(abandoned_.front());
  abandoned_.pop_front();
  unmark_sent(*oldest);
}

void PoolConnection::forget_order() {
  auto by_id = std::move(by_id_);
  by_id_.clear();
  for (const auto& [id, first] : by_id) {
    for (Call* call = first; call != nullptr;) {
      Call* next = std::exchange(call->next_of_id, nullptr);
      intrusive_ptr_release(call);
      call = next;
    }
  }
  abandoned_.clear();
}

bool PoolConnection::holds(std::string_view correlation_id) const {
  const auto at = by_id_.find(correlation_id);
  if (at == by_id_.end()) return false;
  for (const Call* call = at->second; call != nullptr; call = call->next_of_id) {
    if (!call->abandoned) return true;
  }
  return false;
}

std::size_t PoolConnection::room(std::size_t capacity) {
  if (room_ == 0 && link) {
    const std::uint64_t there = frames_queued_ - std::min(link->stats().frames_sent, frames_queued_);
    room_ = capacity - std::min<std::size_t>(capacity, there);
  }
  return room_;
}

}  // namespace sharingbus::connector::internal
