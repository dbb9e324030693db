#include "bus/observers/scroll_id_binder.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include <boost/container/static_vector.hpp>

#include "bus/internal/text_hash.hpp"

namespace sharingbus {

namespace {

/// (connector_id, session_id)
using Key = std::pair<std::string_view, std::string_view>;

}  // namespace

/// Bounded table of bindings, least recently used out first. Bindings stand in one array and link to each other by
/// position. They are found by open addressing with linear probing over tags, so that which one it is likely to be can
/// be told, and fetched, without looking at it.
class ScrollIdBinder::Table {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  explicit Table(std::size_t max_bindings) : max_(std::clamp<std::size_t>(max_bindings, 1, kNone)), slots_(kFewest) {}

  void bind(const Key& key, const Uuid& scroll_id) {
    const std::uint64_t hash = hash_(key.first, key.second);
    if (const std::uint32_t found = position_of(key, hash); found != kNone) {
      bindings_[found].scroll_id = scroll_id;
      move_to_front(found);
      return;
    }
    ++generation_;
    if (count_ == max_) {
      erase(last_);
      evicted.fetch_add(1, std::memory_order_relaxed);
    }
    if (free_.empty()) {
      free_.push_back(static_cast<std::uint32_t>(bindings_.size()));
      bindings_.emplace_back();
    }
    const std::uint32_t at = free_.back();
    free_.pop_back();
    bindings_[at] = {key.first, key.second, scroll_id, hash, kNone, kNone};
    link_front(at);
    insert(at);
    size.store(++count_, std::memory_order_relaxed);
  }

  const Uuid* find(const Key& key) { return use(position_of(key, hash_(key.first, key.second))); }

  void release(const Key& key) {
    const std::uint32_t found = position_of(key, hash_(key.first, key.second));
    if (found == kNone) return;
    ++generation_;
    erase(found);
  }

  // A look-up in steps, each when what the one before asked for is likely to be there, as long as the generation is the
  // same.
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] std::uint64_t prefetch(const Key& key) const noexcept {
    const std::uint64_t hash = hash_(key.first, key.second);
    __builtin_prefetch(&slots_[hash & mask_]);
    return hash;
  }
  /// The first one with the same tag.
  [[nodiscard]] std::uint32_t prefetch_binding(std::uint64_t hash) const noexcept {
    const std::uint32_t at = likely_position(hash);
    if (at != kNone) __builtin_prefetch(&bindings_[at], 1);
    return at;
  }
  void prefetch_texts(std::uint32_t at) const noexcept {
    __builtin_prefetch((*bindings_[at].connector_id).data());
    __builtin_prefetch((*bindings_[at].session_id).data());
  }
  const Uuid* find_likely(std::uint32_t at, const Key& key, std::uint64_t hash) {
    if (at != kNone && !bindings_[at].is_of(key)) [[unlikely]]
      at = position_of(key, hash);
    return use(at);
  }

  std::atomic<std::uint64_t> size{0};
  std::atomic<std::uint64_t> evicted{0};
  std::atomic<std::uint64_t> unparseable{0};

 private:
  static constexpr std::size_t kFewest = 16;
  struct Slot {
    /// The upper half of the hash.
    std::uint32_t tag = 0;
    std::uint32_t at = kNone;
  };
  struct alignas(64) Binding {
    OptionalText connector_id;
    OptionalText session_id;
    Uuid scroll_id;
    std::uint64_t hash = 0;
    std::uint32_t newer = kNone;
    std::uint32_t older = kNone;
    [[nodiscard]] bool is_of(const Key& key) const noexcept {
      return internal::same_text(*session_id, key.second) && internal::same_text(*connector_id, key.first);
    }
  };

  static std::uint32_t tag_of(std::uint64_t hash) noexcept { return static_cast<std::uint32_t>(hash >> 32); }
  [[nodiscard]] std::uint32_t likely_position(std::uint64_t hash) const noexcept {
    for (std::size_t i = hash & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].at == kNone || slots_[i].tag == tag_of(hash)) return slots_[i].at;
    }
  }
  [[nodiscard]] std::uint32_t position_of(const Key& key, std::uint64_t hash) const noexcept {
    for (std::size_t i = hash & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].at == kNone || (slots_[i].tag == tag_of(hash) && bindings_[slots_[i].at].is_of(key)))
        return slots_[i].at;
    }
  }
  const Uuid* use(std::uint32_t at) noexcept {
    if (at == kNone) return nullptr;
    move_to_front(at);
    return &bindings_[at].scroll_id;
  }

  /// At most three quarters of the slots are in use.
  void insert(std::uint32_t at) {
    if ((count_ + 1) * 4 > slots_.size() * 3) {
      const auto old = std::exchange(slots_, std::vector<Slot>(slots_.size() * 2));
      mask_ = slots_.size() - 1;
      for (const Slot& slot : old) {
        if (slot.at != kNone) put(slot.at);
      }
    }
    put(at);
  }
  void put(std::uint32_t at) noexcept {
    std::size_t i = bindings_[at].hash & mask_;
    while (slots_[i].at != kNone)
      i = (i + 1) & mask_;
    slots_[i] = {tag_of(bindings_[at].hash), at};
  }
  void take_out(std::uint32_t at) noexcept {
    std::size_t hole = bindings_[at].hash & mask_;
    while (slots_[hole].at != at)
      hole = (hole + 1) & mask_;
    // Moves up whatever would not be found past the hole.
    for (std::size_t i = (hole + 1) & mask_; slots_[i].at != kNone; i = (i + 1) & mask_) {
      if (((i - bindings_[slots_[i].at].hash) & mask_) < ((i - hole) & mask_)) continue;
      slots_[std::exchange(hole, i)] = slots_[i];
    }
    slots_[hole] = {};
  }

  void link_front(std::uint32_t at) noexcept {
    bindings_[at].older = first_;
    bindings_[at].newer = kNone;
    (first_ == kNone ? last_ : bindings_[first_].newer) = at;
    first_ = at;
  }
  void unlink(std::uint32_t at) noexcept {
    const Binding& binding = bindings_[at];
    (binding.newer == kNone ? first_ : bindings_[binding.newer].older) = binding.older;
    (binding.older == kNone ? last_ : bindings_[binding.older].newer) = binding.newer;
  }
  void move_to_front(std::uint32_t at) noexcept {
    if (at == first_) return;
    unlink(at);
    link_front(at);
  }
  void erase(std::uint32_t at) {
    take_out(at);
    unlink(at);
    bindings_[at] = {};
    free_.push_back(at);
    size.store(--count_, std::memory_order_relaxed);
  }

  const std::size_t max_;
  const internal::TextHash hash_;
  std::size_t count_ = 0;
  std::uint64_t generation_ = 0;
  std::vector<Slot> slots_;
  std::size_t mask_ = kFewest - 1;
  std::vector<Binding> bindings_;
  std::vector<std::uint32_t> free_;
  std::uint32_t first_ = kNone;
  std::uint32_t last_ = kNone;
};

namespace {

[[nodiscard]] bool to_be_stamped(const Routing& routing) noexcept {
  return !routing.scroll_id && routing.connector_id && routing.native_session_id;
}
[[nodiscard]] Key key_of(const Routing& routing) noexcept {
  return {*routing.connector_id, *routing.native_session_id};
}
[[nodiscard]] bool is_of_session(const BusEvent& event) noexcept {
  return event.is<SessionRegistered>() || event.is<SessionClosed>();
}

}  // namespace

ScrollIdBinder::ScrollIdBinder(ScrollIdBinderOptions options)
    : log_(std::move(options.log)), table_(std::make_unique<Table>(options.max_bindings)) {}

ScrollIdBinder::~ScrollIdBinder() = default;

void ScrollIdBinder::on_event(StagedEvent& event) {
  if (is_of_session(event.event())) return follow_session(event);
  Routing& routing = event.routing();
  if (!to_be_stamped(routing)) return;
  if (const Uuid* bound = table_->find(key_of(routing))) routing.scroll_id = *bound;
}

std::size_t ScrollIdBinder::on_turn(const StagedTurn& turn) {
  struct Due {
    StagedEvent event;
    std::uint64_t hash;
    std::uint32_t likely;
    bool of_session;
  };
  boost::container::static_vector<Due, 128> due;
  std::size_t failed = 0;
  const auto settle = [&] {
    const std::uint64_t generation = table_->generation();
    for (Due& one : due) {
      if (!one.of_session) one.likely = table_->prefetch_binding(one.hash);
    }
    for (const Due& one : due) {
      if (one.likely != Table::kNone) table_->prefetch_texts(one.likely);
    }
    for (Due& one : due) {
      try {
        if (one.of_session || table_->generation() != generation) {
          on_event(one.event);
        } else if (const Uuid* bound = table_->find_likely(one.likely, key_of(one.event.routing()), one.hash)) {
          one.event.routing().scroll_id = *bound;
        }
      } catch (...) {
        ++failed;
      }
    }
    due.clear();
  };
  for (std::size_t i = 0; i < turn.size(); ++i) {
    StagedEvent event = turn[i];
    const bool of_session = is_of_session(event.event());
    if (!of_session && !to_be_stamped(event.routing())) [[likely]]
      continue;
    if (due.size() == due.capacity()) settle();
    due.push_back({event, of_session ? 0 : table_->prefetch(key_of(event.routing())), Table::kNone, of_session});
  }
  if (!due.empty()) settle();
  return failed;
}

void ScrollIdBinder::follow_session(StagedEvent& event) {
  Routing& routing = event.routing();
  if (const auto* registered = event.event().get_if<SessionRegistered>()) {
    if (const auto scroll_id = parse_uuid(registered->scroll_id)) {
      table_->bind({registered->connector_id, registered->session_id}, *scroll_id);
      routing.scroll_id = *scroll_id;
      return;
    }
    table_->unparseable.fetch_add(1, std::memory_order_relaxed);
    if (log_) {
      log_(LogLevel::warn, "scroll id does not parse connector_id=" + registered->connector_id +
                               " session_id=" + registered->session_id + " scroll_id=" + registered->scroll_id);
    }
  }
  if (to_be_stamped(routing)) {
    if (const Uuid* bound = table_->find(key_of(routing))) routing.scroll_id = *bound;
  }
  if (const auto* closed = event.event().get_if<SessionClosed>()) {
    const Key key(closed->connector_id, closed->session_id);
    if (!routing.scroll_id) {
      if (const Uuid* bound = table_->find(key)) routing.scroll_id = *bound;
    }
    table_->release(key);
  }
}

ScrollIdBinder::Stats ScrollIdBinder::stats() const {
  return {table_->size.load(std::memory_order_relaxed), table_->evicted.load(std::memory_order_relaxed),
          table_->unparseable.load(std::memory_order_relaxed)};
}

std::vector<std::shared_ptr<Stage>> default_stages() {
  return {std::make_shared<ScrollIdBinder>()};
}

}  // namespace sharingbus
