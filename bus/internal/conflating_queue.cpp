#include "bus/internal/conflating_queue.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include <absl/container/flat_hash_map.h>

#include "bus/internal/event_access.hpp"

namespace sharingbus::internal {
namespace {

struct Node {
  EventRef event;
  /// What was lost between the event before and this one.
  Gap before;
  std::string key;
};

void merge(Gap& into, const Gap& gap) noexcept {
  if (gap.count == 0) return;
  into = into.count == 0 ? gap
                         : Gap{std::min(into.first, gap.first), std::max(into.last, gap.last), into.count + gap.count};
}

}  // namespace

struct ConflatingQueue::State {
  State(std::size_t events_max, std::size_t bytes_max, Key key_of)
      : capacity(events_max), capacity_bytes(bytes_max), key(std::move(key_of)) {}

  using Position = std::list<Node>::iterator;

  /// Takes a node out; what it stood for is lost, at its place.
  void displace(Position node, std::vector<EventRef>& lost) {
    Gap gap = node->before;
    const std::uint64_t sequence = node->event->sequence();
    merge(gap, {sequence, sequence, 1});
    const auto next = std::next(node);
    merge(next == nodes.end() ? after : next->before, gap);
    lost.push_back(take_out(node));
  }

  EventRef take_out(Position node) {
    if (key) by_key.erase(node->key);
    bytes -= node->event->size_bytes();
    EventRef event = std::move(node->event);
    spare.splice(spare.begin(), nodes, node);
    return event;
  }

  void append(const BusEvent& event, std::string event_key) {
    if (spare.empty()) spare.emplace_back();
    nodes.splice(nodes.end(), spare, spare.begin());
    Node& node = nodes.back();
    node.event = EventAccess::adopt(&event);
    node.before = std::exchange(after, Gap{});
    node.key = std::move(event_key);
    if (key) by_key.emplace(node.key, std::prev(nodes.end()));
    bytes += event.size_bytes();
    high_water = std::max<std::uint64_t>(high_water, nodes.size());
  }

  const std::size_t capacity;
  const std::size_t capacity_bytes;
  const Key key;

  mutable std::mutex mutex;
  std::list<Node> nodes;
  std::list<Node> spare;
  std::optional<Gap> begin;
  /// Lost after the last node.
  Gap after;
  absl::flat_hash_map<std::string_view, Position> by_key;
  std::uint64_t bytes = 0;
  std::uint64_t high_water = 0;
  std::uint64_t unreceived = 0;

  /// Consumer-confined.
  std::vector<EventRef> lent;
};

ConflatingQueue::ConflatingQueue(std::size_t capacity, std::size_t capacity_bytes, Key key)
    : state_(std::make_unique<State>(capacity, capacity_bytes, std::move(key))) {}

ConflatingQueue::~ConflatingQueue() = default;

bool ConflatingQueue::push(const BusEvent& event, std::vector<EventRef>& lost) {
  State& state = *state_;
  const std::size_t size = event.size_bytes();
  if (state.capacity_bytes != 0 && size > state.capacity_bytes) return false;
  std::string key = state.key ? state.key(event) : std::string();
  const std::scoped_lock lock(state.mutex);
  if (state.key) {
    if (const auto same = state.by_key.find(key); same != state.by_key.end()) state.displace(same->second, lost);
  }
  while (state.nodes.size() >= state.capacity ||
         (state.capacity_bytes != 0 && state.bytes + size > state.capacity_bytes)) {
    state.displace(state.nodes.begin(), lost);
  }
  state.append(event, std::move(key));
  return true;
}

void ConflatingQueue::lose(Gap gap) {
  const std::scoped_lock lock(state_->mutex);
  merge(state_->after, gap);
}

void ConflatingQueue::begin_with(Gap gap) {
  const std::scoped_lock lock(state_->mutex);
  state_->begin = gap;
}

Lent ConflatingQueue::lend(std::size_t limit) {
  State& state = *state_;
  state.lent.clear();
  const std::scoped_lock lock(state.mutex);
  if (state.begin) return Lent(*std::exchange(state.begin, std::nullopt));
  Gap& gap = state.nodes.empty() ? state.after : state.nodes.front().before;
  if (gap.count != 0) return Lent(std::exchange(gap, Gap{}));
  while (!state.nodes.empty() && state.lent.size() < limit && state.nodes.front().before.count == 0) {
    state.lent.push_back(state.take_out(state.nodes.begin()));
  }
  return state.lent.empty() ? Lent() : Lent(std::span<const EventRef>(state.lent));
}

Received ConflatingQueue::pop() {
  const Lent next = lend(1);
  if (const Gap* gap = next.gap()) return Received(*gap);
  return next.events().empty() ? Received() : Received(std::move(state_->lent.front()));
}

void ConflatingQueue::unreceive(std::size_t count) noexcept {
  const std::scoped_lock lock(state_->mutex);
  state_->unreceived += count;
}

bool ConflatingQueue::readable() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->begin || !state_->nodes.empty() || state_->after.count != 0;
}

std::uint64_t ConflatingQueue::depth() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->nodes.size() + state_->unreceived;
}

std::uint64_t ConflatingQueue::bytes() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->bytes;
}

std::uint64_t ConflatingQueue::high_water() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->high_water;
}

std::uint64_t ConflatingQueue::discard() noexcept {
  std::list<Node> gone;
  const std::scoped_lock lock(state_->mutex);
  const std::uint64_t count = state_->nodes.size() + std::exchange(state_->unreceived, 0);
  state_->by_key.clear();
  gone.swap(state_->nodes);
  state_->bytes = 0;
  return count;
}

}  // namespace sharingbus::internal
