#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/sharing_bus.hpp"
#include "tests/support/filter_model.hpp"
#include "tests/support/queue_model.hpp"

namespace sharingbus::test {

/// One subscription of the model, and the handle on the real one beside it.
struct ModelSubscriber {
  ModelSubscriber(ModelFilter f, QueueModel q) : filter(std::move(f)), queue(std::move(q)) {}

  Subscription handle;
  SubscriptionId id = 0;
  ModelFilter filter;
  bool own_key = false;
  Start start{};
  QueueModel queue;
  /// Borrowed right now, and what they should say.
  Lent lent;
  std::uint64_t lent_first = 0;
  /// As `on_drop` was told since the last look, and as it should have been.
  std::vector<std::uint64_t> told, to_tell;
  /// The next sequence when it came into the table.
  std::uint64_t in_table_since = 0;
  bool registered = true, in_table = false, handle_gone = false, retired = false;
};

/// What waits in the ingress, in the bus's order; commands stand between events.
struct ModelItem : ModelFields {
  enum class Kind : std::uint8_t { event, lost, add, end, collect };
  Kind kind = Kind::event;
  std::uint64_t sequence = 0;
  std::size_t bytes = 0;
  /// By try_publish, which must not lose it to backpressure.
  bool careful = false;
  std::string session{};
  std::optional<Uuid> scroll{};
  std::shared_ptr<ModelSubscriber> subscriber{};
};

/// The whole bus in plain single-threaded queues: what waits in the ingress, the one order, who is in the table,
/// history.
class DispatchModel {
 public:
  using Subscriber = ModelSubscriber;
  using SubscriberPtr = std::shared_ptr<Subscriber>;
  using Item = ModelItem;

  /// The manual engine's ingress is bounded; 0: no bound in bytes.
  std::size_t ingress_capacity = ~std::size_t{0}, ingress_bytes = 0, history_events = 0, history_bytes = 0;

  std::deque<Item> line, history;
  std::vector<SubscriberPtr> table;
  std::size_t depth = 0;
  std::uint64_t next_sequence = 0, dispatched = 0, lost = 0;
  /// As dead letters have to say: who lost what.
  std::vector<std::pair<SubscriptionId, std::uint64_t>> letters;
  RetiredTotals retired;
  /// What must not be, whatever the bus does.
  std::string error;

  [[nodiscard]] bool is_full(std::size_t bytes) const {
    return depth >= ingress_capacity || (ingress_bytes != 0 && waiting_bytes_ + bytes > ingress_bytes);
  }
  void enqueue(Item item) {
    item.sequence = ++next_sequence;
    while (is_full(item.bytes)) {
      const auto oldest =
          std::find_if(line.begin(), line.end(), [](const Item& i) { return i.kind == Item::Kind::event; });
      oldest->kind = Item::Kind::lost;
      --depth;
      waiting_bytes_ -= oldest->bytes;
      // The bus keeps as many losses for the next poll as the ingress has places.
      if (lost_waiting() > ingress_capacity) poll(0);
    }
    ++depth;
    waiting_bytes_ += item.bytes;
    line.push_back(std::move(item));
  }

  std::size_t poll(std::size_t limit) {
    std::size_t count = 0;
    while (!line.empty() && !(line.front().kind == Item::Kind::event && count == limit)) {
      Item item = std::move(line.front());
      line.pop_front();
      if (item.kind == Item::Kind::event) {
        ++count;
        --depth;
        waiting_bytes_ -= item.bytes;
      }
      apply(item);
    }
    dispatched += count;
    return count;
  }

  /// Something about it waits for its place.
  [[nodiscard]] bool is_pending(const Subscriber& subscriber) const {
    return std::any_of(line.begin(), line.end(), [&](const Item& i) { return i.subscriber.get() == &subscriber; });
  }
  /// Gone for good when neither the handle nor the bus knows it any more.
  void retire(Subscriber& subscriber) {
    if (!subscriber.handle_gone || subscriber.in_table || subscriber.registered || is_pending(subscriber) ||
        subscriber.retired)
      return;
    subscriber.retired = true;
    ++retired.subscriptions;
    retired.matched += subscriber.queue.matched;
    retired.received += subscriber.queue.received;
    retired.lagged += subscriber.queue.lagged;
    retired.discarded += subscriber.queue.queued;
  }

  [[nodiscard]] std::size_t lost_waiting() const {
    return static_cast<std::size_t>(
        std::count_if(line.begin(), line.end(), [](const Item& i) { return i.kind == Item::Kind::lost; }));
  }

  void post(Item::Kind kind, SubscriberPtr subscriber) {
    Item command;
    command.kind = kind;
    command.subscriber = std::move(subscriber);
    line.push_back(std::move(command));
  }
  void close() {
    poll(~std::size_t{0});
    for (const auto& subscriber : table)
      subscriber->queue.end(CloseReason::bus_closed);
    table.clear();
  }

 private:
  void apply(Item& item) {
    switch (item.kind) {
      case Item::Kind::add:
        return join(item.subscriber);
      case Item::Kind::end:
        item.subscriber->queue.end(CloseReason::unsubscribed);
        return leave(item.subscriber);
      case Item::Kind::collect:
        item.subscriber->registered = false;
        return leave(item.subscriber);
      case Item::Kind::lost:
        ++lost;
        break;
      case Item::Kind::event:
        break;
    }
    bind(item);
    if (item.kind == Item::Kind::event) remember(item);
    for (std::size_t i = 0; i < table.size();) {
      const SubscriberPtr subscriber = table[i];
      if (subscriber->filter.matches(item)) give(*subscriber, item);
      if (subscriber->queue.ended()) {
        leave(subscriber);
      } else {
        ++i;
      }
    }
    last_applied_ = item.sequence;
  }
  void give(Subscriber& subscriber, const Item& item) {
    if (item.kind == Item::Kind::lost) {
      subscriber.queue.lose(item.sequence);
      return tell(subscriber, item.sequence);
    }
    for (const std::uint64_t gone : subscriber.queue.offer({item.sequence, item.bytes, key_of(subscriber, item)})) {
      tell(subscriber, gone);
      if (item.careful && gone == item.sequence && subscriber.queue.overflow() == Overflow::backpressure &&
          item.sequence > subscriber.in_table_since) {
        error +=
            std::to_string(subscriber.id) + ": lost " + std::to_string(gone) + ", which try_publish had accepted; ";
      }
    }
  }
  void tell(Subscriber& subscriber, std::uint64_t gone) {
    subscriber.to_tell.push_back(gone);
    letters.emplace_back(subscriber.id, gone);
  }
  static std::string key_of(const Subscriber& subscriber, const Item& item) {
    const Routing& routing = item.routing;
    std::string uid = routing.connector_uid ? to_string(*routing.connector_uid) : "";
    if (subscriber.own_key) return uid;
    return std::to_string(item.binds) + uid + "/" + routing.connector_id.value_or("-") + "/" +
           routing.native_session_id.value_or("-");
  }

  void remember(const Item& item) {
    if (history_events == 0) return;
    history.push_back(item);
    const auto bytes = [this] {
      std::size_t sum = 0;
      for (const Item& each : history)
        sum += each.bytes;
      return sum;
    };
    while (history.size() > history_events || (history_bytes != 0 && bytes() > history_bytes))
      history.pop_front();
  }
  void join(const SubscriberPtr& subscriber) {
    subscriber->in_table = true;
    subscriber->in_table_since = next_sequence;
    table.push_back(subscriber);
    const Start& start = subscriber->start;
    if (start.from == Start::From::live) return;
    const std::uint64_t oldest = history.empty() ? last_applied_ + 1 : history.front().sequence;
    if (start.from == Start::From::sequence && start.value < oldest)
      subscriber->queue.announce(start.value, oldest - 1);
    std::vector<const Item*> wanted;
    for (const Item& item : history) {
      if (start.from == Start::From::sequence && item.sequence < start.value) continue;
      if (subscriber->filter.matches(item)) wanted.push_back(&item);
    }
    std::size_t from = 0;
    if (start.from == Start::From::last && wanted.size() > start.value) from = wanted.size() - start.value;
    for (; from < wanted.size() && !subscriber->queue.ended(); ++from)
      give(*subscriber, *wanted[from]);
    if (subscriber->queue.ended()) leave(subscriber);
  }
  void leave(const SubscriberPtr& subscriber) {
    subscriber->in_table = false;
    table.erase(std::remove(table.begin(), table.end(), subscriber), table.end());
    retire(*subscriber);
  }

  void bind(Item& item) {
    Routing& routing = item.routing;
    if (item.binds > 0) {
      bindings_[item.session] = *item.scroll;
      routing.scroll_id = item.scroll;
      return;
    }
    if (!routing.scroll_id && routing.connector_id) {
      if (const auto found = bindings_.find(std::string(*routing.native_session_id)); found != bindings_.end()) {
        routing.scroll_id = found->second;
      }
    }
    if (item.binds < 0) {
      if (const auto found = bindings_.find(item.session); found != bindings_.end() && !routing.scroll_id) {
        routing.scroll_id = found->second;
      }
      bindings_.erase(item.session);
    }
  }

  std::size_t waiting_bytes_ = 0;
  std::uint64_t last_applied_ = 0;
  std::map<std::string, Uuid> bindings_;
};

}  // namespace sharingbus::test
