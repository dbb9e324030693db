#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "bus/observers/scroll_id_binder.hpp"
#include "bus/sharing_bus.hpp"
#include "tests/support/bus_harness.hpp"
#include "tests/support/dispatch_model.hpp"

namespace sharingbus::test {

/// A SharingBus beside a model of it in plain single-threaded queues. Each step does one operation, chosen by
/// `choose(bound)` (a value below `bound`), to both, and compares what the bus answers; every counter is compared every
/// `compare_every` steps. Under engines other than the manual one each step ends with a flush.
class BusModel {
 public:
  using Choose = test::Choose;

  explicit BusModel(Choose choose, Engine engine = Engine::manual, std::uint64_t compare_every = 1)
      : choose_(std::move(choose)), manual_(engine == Engine::manual), compare_every_(compare_every) {
    BusOptions options;
    options.ingress_capacity = choose_(6) == 0 ? 100 + choose_(200) : 1 + choose_(6);
    if (choose_(4) == 0) options.ingress_capacity_bytes = kSizeMax + choose_(1000);
    if (choose_(3) != 0) options.history_events = 1 + choose_(10);
    if (choose_(4) == 0 && options.history_events != 0) options.history_bytes = 200 + choose_(2000);
    if (manual_) {
      model_.ingress_capacity = options.ingress_capacity;
      model_.ingress_bytes = options.ingress_capacity_bytes;
    }
    model_.history_events = options.history_events;
    model_.history_bytes = options.history_bytes;
    options.log = nullptr;
    bus_.emplace(engine, std::move(options));
    letters_ = (*bus_)->subscribe_dead_letters(letters_options());
    if (!manual_) (*bus_)->flush();
  }

  /// Empty while bus and model agree, else what differs.
  [[nodiscard]] std::string step() {
    constexpr std::uint32_t kMaxSubscribers = 8;
    switch (choose_(20)) {
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
        publish_batch(choose_(8) == 0 ? choose_(200) : choose_(6));
        break;
      case 8:
      case 9:
        if (manual_) poll(choose_(2) == 0 ? 1 + choose_(3) : 1000);
        break;
      case 10:
        if (live_.size() < kMaxSubscribers) subscribe();
        break;
      case 11:
        if (auto* subscriber = pick()) unsubscribe(*subscriber);
        break;
      case 12:
        if (!live_.empty()) let_go(choose_(static_cast<std::uint32_t>(live_.size())));
        break;
      case 13:
        if (auto* subscriber = pick()) receive_batch(*subscriber, choose_(5));
        break;
      case 14:
      case 15:
        if (auto* subscriber = pick()) lend(*subscriber, 1 + choose_(6));
        break;
      default:
        if (auto* subscriber = pick()) receive(*subscriber);
        break;
    }
    settle();
    compare_losses();
    if (++steps_ % compare_every_ == 0) compare();
    return std::exchange(error_, {});
  }

  /// Closes the bus, reads every subscriber to its end, and compares once more.
  [[nodiscard]] std::string finish() {
    (*bus_)->close();
    model_.close();
    closed_ = true;
    if ((*bus_)->publish(Note{}, Routing{}).accepted()) error_ += "a closed bus accepted an event; ";
    compare_losses();
    compare();
    for (auto& subscriber : live_) {
      for (int i = 0; i < 1000 && error_.empty(); ++i) {
        const bool end = subscriber->queue.drained();
        receive(*subscriber);
        if (end) break;
      }
    }
    compare();
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
  static constexpr std::size_t kExtraBytes = 100;
  /// No event of the model is larger.
  static constexpr std::size_t kSizeMax = 1000;

  using Subscriber = ModelSubscriber;
  using SubscriberPtr = DispatchModel::SubscriberPtr;
  using Item = ModelItem;

  template <class A, class B>
  void expect_equal(const char* what, const A& actual, const B& expected, std::uint64_t id = 0) {
    if (actual == expected) return;
    std::ostringstream text;
    text << what << " of " << id << ": bus says " << actual << ", model says " << expected << "; ";
    error_ += text.str();
  }
  void note_error(const Subscriber& subscriber, const std::string& differs) {
    if (differs.empty()) return;
    error_ +=
        std::to_string(subscriber.id) + " (" + std::string(to_string(subscriber.queue.overflow())) + "): " + differs;
  }
  Subscriber* pick() {
    return live_.empty() ? nullptr : live_[choose_(static_cast<std::uint32_t>(live_.size()))].get();
  }
  static SubscriptionOptions letters_options() {
    SubscriptionOptions options;
    options.name = "letters";
    options.capacity = 100'000;
    return options;
  }

  // --- publishing

  EventDraft draft(Item& item) {
    Routing& routing = item.routing;
    const std::uint32_t what = choose_(12);
    routing.kind = what % 2 == 0 ? EventKind::request : EventKind::custom;
    if (choose_(2) == 0) routing.connector_uid = model_uuid(choose_(3));
    if (choose_(2) == 0) {
      routing.connector_id = "c";
      routing.native_session_id = std::to_string(choose_(2));
    }
    if (choose_(8) == 0) routing.scroll_id = model_uuid(choose_(2));
    EventDraft draft;
    if (what < 10) {
      const std::size_t extra = choose_(4) == 0 ? kExtraBytes : 0;
      draft = make_event(Note{model_.next_sequence + 1}, routing, EventOrigin::user, 0, extra);
    } else {
      item.binds = what == 10 ? 1 : -1;
      item.session = std::to_string(choose_(2));
      if (item.binds < 0) {
        draft = make_event(SessionClosed{"c", item.session}, routing);
      } else {
        item.scroll = model_uuid(choose_(2));
        draft = make_event(SessionRegistered{"c", item.session, to_string(*item.scroll)}, routing);
      }
    }
    item.bytes = draft->size_bytes();
    if (item.bytes > kSizeMax) error_ += "an event is larger than the model thinks; ";
    return draft;
  }

  void publish(bool try_only) {
    Item item;
    EventDraft event = draft(item);
    item.careful = try_only;
    const bool full = model_.is_full(item.bytes);
    if (!try_only) {
      const PublishResult result = (*bus_)->publish(std::move(event));
      if (!result.accepted()) error_ += "publish was refused; ";
      expect_equal("sequence", result.sequence, model_.next_sequence + 1);
      return model_.enqueue(std::move(item));
    }
    // Every one that has not ended at its place in the order yet.
    const bool may_refuse = std::any_of(all_.begin(), all_.end(), [this](const auto& s) {
      return s->queue.overflow() == Overflow::backpressure && (s->registered || s->in_table || model_.is_pending(*s));
    });
    const bool has_credit = model_.depth == 0 && model_.line.empty() &&
                            std::all_of(model_.table.begin(), model_.table.end(), [](const auto& s) {
                              return s->queue.overflow() != Overflow::backpressure || s->queue.has_room();
                            });
    const PublishResult result = (*bus_)->try_publish(std::move(event));
    if (result.accepted()) {
      if (full) error_ += "try_publish on a full ingress was accepted; ";
      expect_equal("sequence", result.sequence, model_.next_sequence + 1);
      return model_.enqueue(std::move(item));
    }
    ++refused_;
    if (result.status != PublishStatus::refused_full) error_ += "try_publish was refused for the wrong reason; ";
    if (!event) error_ += "a refused draft is gone; ";
    if (!full && (!may_refuse || has_credit)) error_ += "try_publish was refused although there is room; ";
  }

  void publish_batch(std::uint32_t count) {
    std::vector<Item> items(count);
    std::vector<EventDraft> drafts;
    for (Item& item : items)
      drafts.push_back(draft(item));
    const PublishBatchResult result = (*bus_)->publish_batch(drafts);
    expect_equal("batch", result.accepted, count);
    expect_equal("last of batch", result.last_sequence, count == 0 ? 0 : model_.next_sequence + count);
    for (Item& item : items)
      model_.enqueue(std::move(item));
  }

  // --- dispatching

  void settle() {
    if (manual_) return;
    (*bus_)->flush();
    model_.poll(~std::size_t{0});
  }
  void poll(std::size_t limit) {
    const std::size_t dispatched = (*bus_)->poll(limit);
    expect_equal("poll", dispatched, model_.poll(limit));
  }
  // --- subscribing

  void subscribe() {
    constexpr Overflow kPolicies[] = {Overflow::drop_newest, Overflow::drop_oldest, Overflow::latest_per_key,
                                      Overflow::backpressure, Overflow::close_subscriber};
    SubscriptionOptions options;
    options.overflow = kPolicies[choose_(5)];
    options.capacity = 1 + (choose_(6) == 0 ? choose_(200) : choose_(6));
    // A bound that the larger events exceed; not for backpressure, whose credit is in events.
    if (choose_(4) == 0 && options.overflow != Overflow::backpressure) options.capacity_bytes = 150 + choose_(1000);
    ModelFilter filter = choose_filter<Note>(choose_);
    options.filter = filter.filter;
    QueueModel queue(options.overflow, options.capacity, options.capacity_bytes);
    auto subscriber = std::make_shared<Subscriber>(std::move(filter), std::move(queue));
    if (choose_(2) == 0 && options.overflow == Overflow::latest_per_key) {
      subscriber->own_key = true;
      options.key = [](const BusEvent& event) {
        return event.routing().connector_uid ? to_string(*event.routing().connector_uid) : std::string();
      };
    }
    switch (choose_(3)) {
      case 0:
        options.start = Start::last(choose_(8));
        break;
      case 1:
        options.start =
            Start::sequence(model_.next_sequence + 3 - std::min<std::uint64_t>(model_.next_sequence + 2, choose_(12)));
        break;
      default:
        break;
    }
    subscriber->start = options.start;
    options.on_drop = [raw = subscriber.get()](const EventRef& event) { raw->told.push_back(event->sequence()); };
    subscriber->handle = (*bus_)->subscribe(std::move(options));
    subscriber->id = subscriber->handle.id();
    model_.post(Item::Kind::add, subscriber);
    live_.push_back(subscriber);
    all_.push_back(std::move(subscriber));
  }
  void unsubscribe(Subscriber& subscriber) {
    if (choose_(2) == 0) {
      subscriber.handle.unsubscribe();
    } else {
      (*bus_)->unsubscribe(subscriber.id);
    }
    if (!std::exchange(subscriber.registered, false) || closed_) return;
    model_.post(Item::Kind::end, shared(subscriber));
  }

  void let_go(std::size_t index) {
    const SubscriberPtr subscriber = live_[index];
    live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(index));
    subscriber->lent = {};
    subscriber->handle = {};
    subscriber->handle_gone = true;
    if (subscriber->registered && !closed_) {
      model_.post(Item::Kind::collect, subscriber);
    } else {
      subscriber->registered = false;
      subscriber->in_table = subscriber->in_table && !closed_;
      model_.retire(*subscriber);
    }
  }

  SubscriberPtr shared(const Subscriber& subscriber) const {
    return *std::find_if(live_.begin(), live_.end(), [&](const auto& s) { return s.get() == &subscriber; });
  }

  // --- receiving

  void receive(Subscriber& subscriber) {
    subscriber.lent = {};
    note_error(subscriber, subscriber.queue.check(subscriber.handle.try_receive()));
  }
  void receive_batch(Subscriber& subscriber, std::size_t room) {
    subscriber.lent = {};
    std::array<Received, 5> batch;
    const std::size_t count = subscriber.handle.receive_batch(std::span(batch).first(room));
    for (std::size_t i = 0; i < count; ++i) {
      note_error(subscriber, subscriber.queue.check(batch[i]));
      if (batch[i].empty() || (batch[i].closed() != nullptr && i + 1 != count)) {
        note_error(subscriber, "a batch with something after its end; ");
      }
    }
    const bool ended = count != 0 && batch[count - 1].closed() != nullptr;
    if (count < room && !ended) note_error(subscriber, subscriber.queue.check_nothing());
  }
  void lend(Subscriber& subscriber, std::size_t limit) {
    subscriber.lent = subscriber.handle.lend(limit);
    if (!subscriber.lent.events().empty()) subscriber.lent_first = subscriber.lent.events().front()->sequence();
    note_error(subscriber, subscriber.queue.check(subscriber.lent, limit));
  }

  // --- comparing

  void compare_losses() {
    error_ += std::exchange(model_.error, {});
    for (const auto& subscriber : all_) {
      if (!same_elements(subscriber->told, subscriber->to_tell))
        note_error(*subscriber, "on_drop was told other events; ");
      // What is lent stays as it is until the next receive.
      const auto lent = subscriber->lent.events();
      if (!lent.empty() && lent.front()->sequence() != subscriber->lent_first)
        note_error(*subscriber, "lent event changed; ");
    }
    std::vector<std::pair<SubscriptionId, std::uint64_t>> letters;
    for (Received next = letters_.try_receive(); !next.empty() && next.closed() == nullptr;
         next = letters_.try_receive()) {
      const DeadLetter* const letter = next.get_if<DeadLetter>();
      if (letter == nullptr || (*next.event())->sequence() != letter->event->sequence()) {
        error_ += "not a proper dead letter; ";
        continue;
      }
      letters.emplace_back(letter->subscription, letter->event->sequence());
    }
    letters_made_ += model_.letters.size();
    if (!same_elements(letters, model_.letters)) error_ += "other dead letters than the model's; ";
    std::erase_if(all_, [](const auto& s) { return s->retired; });
  }
  template <class T>
  static bool same_elements(std::vector<T>& left, std::vector<T>& right) {
    std::sort(left.begin(), left.end());
    std::sort(right.begin(), right.end());
    const bool same = left == right;
    left.clear();
    right.clear();
    return same;
  }

  void compare() {
    const BusSnapshot snapshot = (*bus_)->snapshot();
    expect_equal("published", snapshot.published, model_.next_sequence);
    expect_equal("dispatched", snapshot.dispatched, model_.dispatched);
    expect_equal("refused", snapshot.ingress_refused, refused_);
    expect_equal("lost", snapshot.ingress_lost, model_.lost);
    // A loss that is not settled yet still counts as waiting.
    expect_equal("depth", snapshot.ingress_depth, model_.depth + model_.lost_waiting());
    expect_equal("history", snapshot.history_depth, model_.history.size());
    expect_equal("dead letters", snapshot.dead_letters, letters_made_);
    expect_equal("retired", snapshot.retired.subscriptions, model_.retired.subscriptions);
    expect_equal("retired matched", snapshot.retired.matched, model_.retired.matched);
    expect_equal("retired received", snapshot.retired.received, model_.retired.received);
    expect_equal("retired lagged", snapshot.retired.lagged, model_.retired.lagged);
    expect_equal("retired discarded", snapshot.retired.discarded, model_.retired.discarded);
    for (const auto& subscriber : live_) {
      const SubscriptionStats stats = subscriber->handle.stats();
      const QueueModel& queue = subscriber->queue;
      const std::uint64_t id = subscriber->id;
      expect_equal("matched", stats.matched, queue.matched, id);
      expect_equal("received", stats.received, queue.received, id);
      expect_equal("lagged", stats.lagged, queue.lagged, id);
      expect_equal("queued", stats.queued, queue.queued, id);
      expect_equal("queued bytes", stats.queued_bytes, queue.counted_bytes(), id);
      expect_equal("high water", stats.high_water, queue.high_water, id);
      expect_equal("last received", stats.last_received_sequence, queue.last_received, id);
      expect_equal("closed", stats.closed, queue.ended(), id);
    }
    const auto registered = std::count_if(all_.begin(), all_.end(), [](const auto& s) { return s->registered; });
    // And the dead-letter subscription.
    expect_equal("subscriber_count", (*bus_)->subscriber_count(), static_cast<std::size_t>(registered) + 1);
  }

  const Choose choose_;
  const bool manual_;
  const std::uint64_t compare_every_;
  DispatchModel model_;
  std::vector<SubscriberPtr> live_;
  /// All that are not retired.
  std::vector<SubscriberPtr> all_;
  std::optional<BusHarness> bus_;
  Subscription letters_;
  std::uint64_t steps_ = 0, refused_ = 0, letters_made_ = 0;
  bool closed_ = false;
  std::string error_;
};

}  // namespace sharingbus::test
