#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "bus/observers/scroll_id_binder.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::test {

/// A SharingBus under the manual engine beside a model of it in plain single-threaded deques. Each step does one
/// operation, chosen by `choose(bound)` (a value below `bound`), to both, and compares every answer and every counter.
class BusModel {
 public:
  using Choose = std::function<std::uint32_t(std::uint32_t bound)>;

  explicit BusModel(Choose choose) : choose_(std::move(choose)) {
    BusOptions options;
    options.engine = Engine::manual;
    options.ingress_capacity = ingress_capacity_ = 1 + choose_(6);
    options.log = nullptr;
    bus_.emplace(std::move(options));
  }

  /// Empty while bus and model agree, else what differs.
  [[nodiscard]] std::string step() {
    constexpr std::uint32_t kMaxSubscribers = 8;
    switch (choose_(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        publish(false);
        break;
      case 5:
      case 6:
        publish(true);
        break;
      case 7:
      case 8:
        poll(choose_(2) == 0 ? 1 + choose_(3) : 1000);
        break;
      case 9:
        if (live_.size() < kMaxSubscribers) subscribe();
        break;
      case 10:
        if (auto* subscriber = pick()) unsubscribe(*subscriber);
        break;
      case 11:
        if (!live_.empty()) let_go(choose_(static_cast<std::uint32_t>(live_.size())));
        break;
      case 12:
        if (auto* subscriber = pick()) receive_batch(*subscriber, choose_(5));
        break;
      default:
        if (auto* subscriber = pick()) receive(*subscriber);
        break;
    }
    compare();
    return std::exchange(error_, {});
  }

  /// Closes the bus, reads every subscriber to its end, and compares once more.
  [[nodiscard]] std::string finish() {
    bus_->close();
    poll_model(~std::size_t{0});
    closed_ = true;
    for (const auto& subscriber : table_)
      subscriber->ended = true;
    table_.clear();
    if (bus_->publish(Note{}, Routing{}).accepted()) error_ += "a closed bus accepted an event; ";
    compare();
    for (auto& subscriber : live_) {
      for (int i = 0; i < 1000 && error_.empty(); ++i) {
        const bool end = subscriber->stream.empty();
        receive(*subscriber);
        if (end) break;
      }
    }
    while (!live_.empty() && error_.empty())
      let_go(0);
    compare();
    return std::exchange(error_, {});
  }

 private:
  struct Note {
    static constexpr std::string_view event_name = "model_note";
    std::uint64_t sequence = 0;
  };

  /// What waits in the ingress, in the bus's order; commands stand between events.
  struct Subscriber;
  using SubscriberPtr = std::shared_ptr<Subscriber>;
  struct Item {
    enum class Kind : std::uint8_t { event, lost, add, end, collect };
    Kind kind;
    std::uint64_t sequence = 0;
    Routing routing{};
    /// A SessionRegistered or SessionClosed of `session`.
    int binds = 0;
    std::string session{};
    std::optional<Uuid> scroll{};
    SubscriberPtr subscriber{};
  };
  /// What a subscriber has to receive: an event, or a gap when count is not 0.
  struct Element {
    std::uint64_t first;
    std::uint64_t last;
    std::uint64_t count;
  };
  struct Subscriber {
    Subscription handle;
    SubscriptionId id = 0;
    std::size_t capacity = 0;
    std::optional<Uuid> uid;
    std::optional<Uuid> scroll;
    std::optional<EventKind> kind;
    std::deque<Element> stream;
    std::uint64_t matched = 0, received = 0, lagged = 0, queued = 0, high_water = 0, last_received = 0;
    bool registered = true, in_table = false, ended = false, handle_gone = false, retired = false;
  };

  template <class A, class B>
  void expect_equal(const char* what, const A& actual, const B& expected, std::uint64_t id = 0) {
    if (actual == expected) return;
    std::ostringstream text;
    text << what << " of " << id << ": bus says " << actual << ", model says " << expected << "; ";
    error_ += text.str();
  }

  static Uuid uuid(std::uint32_t n) {
    Uuid result;
    result.bytes[0] = static_cast<std::uint8_t>(n + 1);
    return result;
  }
  Subscriber* pick() {
    return live_.empty() ? nullptr : live_[choose_(static_cast<std::uint32_t>(live_.size()))].get();
  }

  void publish(bool try_only) {
    Item item{Item::Kind::event};
    Routing& routing = item.routing;
    const std::uint32_t what = choose_(12);
    routing.kind = what % 2 == 0 ? EventKind::request : EventKind::custom;
    if (choose_(2) == 0) routing.connector_uid = uuid(choose_(3));
    if (choose_(2) == 0) {
      routing.connector_id = "c";
      routing.native_session_id = std::to_string(choose_(2));
    }
    if (choose_(8) == 0) routing.scroll_id = uuid(choose_(2));
    EventDraft draft;
    if (what < 10) {
      draft = make_event(Note{next_sequence_ + 1}, routing);
    } else {
      item.binds = what == 10 ? 1 : -1;
      item.session = std::to_string(choose_(2));
      if (item.binds < 0) {
        draft = make_event(SessionClosed{"c", item.session}, routing);
      } else {
        item.scroll = uuid(choose_(2));
        draft = make_event(SessionRegistered{"c", item.session, to_string(*item.scroll)}, routing);
      }
    }
    const bool full = depth_ >= ingress_capacity_;
    const PublishResult result = try_only ? bus_->try_publish(std::move(draft)) : bus_->publish(std::move(draft));
    if (full && try_only) {
      ++refused_;
      if (result.status != PublishStatus::refused_full) error_ += "try_publish on a full ingress was not refused; ";
      return;
    }
    if (!result.accepted()) error_ += "publish was refused; ";
    item.sequence = ++next_sequence_;
    expect_equal("sequence", result.sequence, item.sequence);
    if (full) {
      const auto oldest =
          std::find_if(line_.begin(), line_.end(), [](const Item& i) { return i.kind == Item::Kind::event; });
      oldest->kind = Item::Kind::lost;
      --depth_;
      // The bus keeps as many losses for the next poll as the ingress has places.
      if (lost_waiting() > ingress_capacity_) poll_model(0);
    }
    line_.push_back(std::move(item));
    ++depth_;
  }

  void poll(std::size_t limit) {
    const std::size_t dispatched = bus_->poll(limit);
    expect_equal("poll", dispatched, poll_model(limit));
  }
  std::size_t poll_model(std::size_t limit) {
    std::size_t count = 0;
    while (!line_.empty() && !(line_.front().kind == Item::Kind::event && count == limit)) {
      Item item = std::move(line_.front());
      line_.pop_front();
      if (item.kind == Item::Kind::event) {
        ++count;
        --depth_;
      }
      apply(item);
    }
    dispatched_ += count;
    return count;
  }

  void apply(Item& item) {
    switch (item.kind) {
      case Item::Kind::add:
        item.subscriber->in_table = true;
        table_.push_back(item.subscriber);
        return;
      case Item::Kind::end:
      case Item::Kind::collect:
        if (item.kind == Item::Kind::end) item.subscriber->ended = true;
        if (item.kind == Item::Kind::collect) item.subscriber->registered = false;
        item.subscriber->in_table = false;
        table_.erase(std::remove(table_.begin(), table_.end(), item.subscriber), table_.end());
        retire(*item.subscriber);
        return;
      case Item::Kind::lost:
        ++lost_;
        break;
      case Item::Kind::event:
        break;
    }
    bind(item);
    for (const auto& subscriber : table_) {
      if (!matches(*subscriber, item.routing)) continue;
      ++subscriber->matched;
      auto& stream = subscriber->stream;
      if (item.kind == Item::Kind::event && subscriber->queued < subscriber->capacity) {
        stream.push_back({item.sequence, item.sequence, 0});
        subscriber->high_water = std::max(subscriber->high_water, ++subscriber->queued);
        continue;
      }
      ++subscriber->lagged;
      if (!stream.empty() && stream.back().count != 0) {
        stream.back().last = item.sequence;
        ++stream.back().count;
      } else {
        stream.push_back({item.sequence, item.sequence, 1});
      }
    }
  }

  void bind(Item& item) {
    Routing& routing = item.routing;
    if (item.binds > 0) {
      bindings_[item.session] = *item.scroll;
      routing.scroll_id = item.scroll;
      return;
    }
    if (!routing.scroll_id && routing.connector_id) {
      if (const auto found = bindings_.find(*routing.native_session_id); found != bindings_.end()) {
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

  static bool matches(const Subscriber& subscriber, const Routing& routing) {
    return (!subscriber.uid || routing.connector_uid == subscriber.uid) &&
           (!subscriber.scroll || routing.scroll_id == subscriber.scroll) &&
           (!subscriber.kind || routing.kind == *subscriber.kind);
  }

  void subscribe() {
    auto subscriber = std::make_shared<Subscriber>();
    Filter filter = Filter::all();
    if (choose_(2) == 0) filter = filter && Filter::connector_uid(*(subscriber->uid = uuid(choose_(3))));
    if (choose_(3) == 0) filter = filter && Filter::scroll_id(*(subscriber->scroll = uuid(choose_(2))));
    if (choose_(3) == 0) filter = filter && Filter::kind(*(subscriber->kind = EventKind::request));
    subscriber->capacity = 1 + choose_(5);
    subscriber->handle = bus_->subscribe(filter, subscriber->capacity);
    subscriber->id = subscriber->handle.id();
    line_.push_back({Item::Kind::add, 0, {}, 0, {}, {}, subscriber});
    live_.push_back(std::move(subscriber));
  }

  void unsubscribe(Subscriber& subscriber) {
    if (choose_(2) == 0) {
      subscriber.handle.unsubscribe();
    } else {
      bus_->unsubscribe(subscriber.id);
    }
    if (!std::exchange(subscriber.registered, false) || closed_) return;
    line_.push_back({Item::Kind::end, 0, {}, 0, {}, {}, shared(subscriber)});
  }

  void let_go(std::size_t index) {
    const SubscriberPtr subscriber = live_[index];
    live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(index));
    subscriber->handle = {};
    subscriber->handle_gone = true;
    if (subscriber->registered && !closed_) {
      line_.push_back({Item::Kind::collect, 0, {}, 0, {}, {}, subscriber});
      let_go_.push_back(subscriber);
    } else {
      subscriber->registered = false;
      subscriber->in_table = subscriber->in_table && !closed_;
      retire(*subscriber);
    }
  }

  /// Gone for good when neither the handle nor the bus knows it any more.
  void retire(Subscriber& subscriber) {
    const bool pending =
        std::any_of(line_.begin(), line_.end(), [&](const Item& i) { return i.subscriber.get() == &subscriber; });
    if (!subscriber.handle_gone || subscriber.in_table || subscriber.registered || pending || subscriber.retired)
      return;
    subscriber.retired = true;
    ++retired_.subscriptions;
    retired_.matched += subscriber.matched;
    retired_.received += subscriber.received;
    retired_.lagged += subscriber.lagged;
    retired_.discarded += subscriber.queued;
  }

  [[nodiscard]] std::size_t lost_waiting() const {
    return static_cast<std::size_t>(
        std::count_if(line_.begin(), line_.end(), [](const Item& i) { return i.kind == Item::Kind::lost; }));
  }

  SubscriberPtr shared(const Subscriber& subscriber) const {
    return *std::find_if(live_.begin(), live_.end(), [&](const auto& s) { return s.get() == &subscriber; });
  }

  void receive(Subscriber& subscriber) { check(subscriber, subscriber.handle.try_receive()); }

  void receive_batch(Subscriber& subscriber, std::size_t room) {
    std::array<Received, 5> batch;
    const std::size_t count = subscriber.handle.receive_batch(std::span(batch).first(room));
    const std::size_t there = subscriber.stream.size() + (subscriber.ended ? 1 : 0);
    expect_equal("receive_batch", count, std::min(room, there), subscriber.id);
    for (std::size_t i = 0; i < count; ++i)
      check(subscriber, batch[i]);
  }

  void check(Subscriber& subscriber, const Received& actual) {
    auto& stream = subscriber.stream;
    if (stream.empty()) {
      expect_equal("end of stream", actual.closed() != nullptr, subscriber.ended, subscriber.id);
      expect_equal("nothing there", actual.empty(), !subscriber.ended, subscriber.id);
      return;
    }
    const Element expected = stream.front();
    stream.pop_front();
    if (expected.count != 0) {
      const bool same = actual.gap() != nullptr && *actual.gap() == Gap{expected.first, expected.last, expected.count};
      expect_equal("gap", same, true, subscriber.id);
      return;
    }
    --subscriber.queued;
    ++subscriber.received;
    subscriber.last_received = expected.first;
    expect_equal("event", actual.event() != nullptr ? (*actual.event())->sequence() : 0, expected.first, subscriber.id);
  }

  void compare() {
    const BusSnapshot snapshot = bus_->snapshot();
    expect_equal("published", snapshot.published, next_sequence_);
    expect_equal("dispatched", snapshot.dispatched, dispatched_);
    expect_equal("refused", snapshot.ingress_refused, refused_);
    expect_equal("lost", snapshot.ingress_lost, lost_);
    // A loss that is not settled yet still counts as waiting.
    expect_equal("depth", snapshot.ingress_depth, depth_ + lost_waiting());
    expect_equal("retired", snapshot.retired.subscriptions, retired_.subscriptions);
    expect_equal("retired matched", snapshot.retired.matched, retired_.matched);
    expect_equal("retired received", snapshot.retired.received, retired_.received);
    expect_equal("retired lagged", snapshot.retired.lagged, retired_.lagged);
    expect_equal("retired discarded", snapshot.retired.discarded, retired_.discarded);
    for (const auto& subscriber : live_) {
      const SubscriptionStats stats = subscriber->handle.stats();
      const std::uint64_t id = subscriber->id;
      expect_equal("matched", stats.matched, subscriber->matched, id);
      expect_equal("received", stats.received, subscriber->received, id);
      expect_equal("lagged", stats.lagged, subscriber->lagged, id);
      expect_equal("queued", stats.queued, subscriber->queued, id);
      expect_equal("high water", stats.high_water, subscriber->high_water, id);
      expect_equal("last received", stats.last_received_sequence, subscriber->last_received, id);
      expect_equal("closed", stats.closed, subscriber->ended, id);
    }
    const auto registered = static_cast<std::size_t>(
        std::count_if(live_.begin(), live_.end(), [](const auto& s) { return s->registered; }) +
        std::count_if(let_go_.begin(), let_go_.end(), [](const auto& s) { return s->registered; }));
    expect_equal("subscriber_count", bus_->subscriber_count(), registered);
  }

  const Choose choose_;
  std::size_t ingress_capacity_ = 0;
  std::optional<SharingBus> bus_;
  std::deque<Item> line_;
  std::size_t depth_ = 0;
  std::uint64_t next_sequence_ = 0, dispatched_ = 0, lost_ = 0, refused_ = 0;
  bool closed_ = false;
  std::map<std::string, Uuid> bindings_;
  std::vector<SubscriberPtr> live_, let_go_, table_;
  RetiredTotals retired_;
  std::string error_;
};

}  // namespace sharingbus::test
