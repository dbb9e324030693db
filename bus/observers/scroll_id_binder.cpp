#include "bus/observers/scroll_id_binder.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "bus/base/printable.hpp"
#include "bus/internal/text_hash.hpp"

namespace sharingbus {

namespace {

/// (connector_id, session_id)
using Key = std::pair<std::string_view, std::string_view>;

}  // namespace

/// Bounded table of bindings, least recently used out first. They are found by open addressing with linear probing over
/// tags, so that which one it is likely to be can be told, and fetched, without looking at it. Of a binding with short
/// texts a look-up reads one cache line; sizes, and what comes before and after it in use, stand in a row of their own.
class ScrollIdBinder::Table {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  explicit Table(std::size_t max_bindings) : max_(std::clamp<std::size_t>(max_bindings, 1, kNone)), slots_(kFewest) {}

  void bind(const Key& key, const Uuid& scroll_id) {
    const std::uint32_t tag = tag_of(key);
    if (const std::uint32_t found = position_of(key, tag); found != kNone) {
      bindings_[found].scroll_id = scroll_id;
      move_to_front(found);
      return;
    }
    ++generation_;
    if (count_ == max_) {
      erase(last_);
      evicted.fetch_add(1, std::memory_order_relaxed);
    }
    make_room();
    const std::uint32_t at = free_.empty() ? static_cast<std::uint32_t>(bindings_.size() - 1) : free_.back();
    write(at, key);
    bindings_[at].scroll_id = scroll_id;
    if (!free_.empty()) free_.pop_back();
    link_front(at);
    put({tag, at});
    size.store(++count_, std::memory_order_relaxed);
  }

  const Uuid* find(const Key& key) { return use(position_of(key, tag_of(key))); }

  void release(const Key& key) {
    const std::uint32_t found = position_of(key, tag_of(key));
    if (found == kNone) return;
    ++generation_;
    erase(found);
  }

  // A look-up in steps, each when what the one before asked for is likely to be there, as long as the generation is the
  // same.
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] std::uint32_t prefetch(const Key& key) const noexcept {
    const std::uint32_t tag = tag_of(key);
    __builtin_prefetch(&slots_[tag & mask_]);
    return tag;
  }
  /// The first one with the same tag.
  [[nodiscard]] std::uint32_t prefetch_binding(std::uint32_t tag) const noexcept {
    std::size_t i = tag & mask_;
    while (slots_[i].at != kNone && slots_[i].tag != tag)
      i = (i + 1) & mask_;
    const std::uint32_t at = slots_[i].at;
    if (at != kNone) {
      __builtin_prefetch(&bindings_[at]);
      __builtin_prefetch(&entries_[at], 1);
    }
    return at;
  }
  [[nodiscard]] bool has_long_texts() const noexcept { return long_count_ != 0; }
  void prefetch_texts(std::uint32_t at) const noexcept {
    if (at == kNone) return;
    __builtin_prefetch(texts_of(at, std::size_t{entries_[at].connector_size} + entries_[at].session_size));
  }

  [[nodiscard]] bool is_of(std::uint32_t at, const Key& key) const noexcept {
    const std::size_t connector_size = key.first.size();
    const std::size_t session_size = key.second.size();
    const Entry& entry = entries_[at];
    if (entry.connector_size != connector_size || entry.session_size != session_size) return false;
    const char* const texts = texts_of(at, connector_size + session_size);
    return internal::same_text({texts + connector_size, session_size}, key.second) &&
           internal::same_text({texts, connector_size}, key.first);
  }
  /// The scroll id of one that is there.
  const Uuid& used(std::uint32_t at) noexcept {
    move_to_front(at);
    return bindings_[at].scroll_id;
  }

  std::atomic<std::uint64_t> size{0};
  std::atomic<std::uint64_t> evicted{0};
  std::atomic<std::uint64_t> unparseable{0};

 private:
  static constexpr std::size_t kFewest = 16;
  static constexpr std::size_t kShort = 48;
  struct Slot {
    /// The lower half of the hash, whose lowest bits say where the search begins.
    std::uint32_t tag = 0;
    std::uint32_t at = kNone;
  };
  struct alignas(64) Binding {
    Uuid scroll_id;
    /// Connector id and session id, one behind the other; where they are if they are longer.
    std::array<char, kShort> texts;
  };
  struct Entry {
    std::uint32_t newer = kNone;
    std::uint32_t older = kNone;
    std::uint32_t connector_size = 0;
    std::uint32_t session_size = 0;
  };
  static_assert(sizeof(Binding) == 64);

  [[nodiscard]] const char* texts_of(std::uint32_t at, std::size_t bytes) const noexcept {
    const auto& texts = bindings_[at].texts;
    if (bytes <= kShort) return texts.data();
    const char* elsewhere = nullptr;
    std::memcpy(&elsewhere, texts.data(), sizeof elsewhere);
    return elsewhere;
  }
  [[nodiscard]] Key key_at(std::uint32_t at) const noexcept {
    const Entry& entry = entries_[at];
    const char* const texts = texts_of(at, std::size_t{entry.connector_size} + entry.session_size);
    return {{texts, entry.connector_size}, {texts + entry.connector_size, entry.session_size}};
  }
  void write(std::uint32_t at, const Key& key) {
    Binding& binding = bindings_[at];
    char* to = binding.texts.data();
    const std::size_t bytes = key.first.size() + key.second.size();
    if (bytes > kShort) {
      long_texts_[at] = std::make_unique<char[]>(bytes);
      ++long_count_;
      to = long_texts_[at].get();
      std::memcpy(binding.texts.data(), &to, sizeof to);
    }
    std::copy(key.second.begin(), key.second.end(), std::copy(key.first.begin(), key.first.end(), to));
    entries_[at].connector_size = static_cast<std::uint32_t>(key.first.size());
    entries_[at].session_size = static_cast<std::uint32_t>(key.second.size());
  }

  [[nodiscard]] std::uint32_t tag_of(const Key& key) const noexcept {
    return static_cast<std::uint32_t>(hash_(key.first, key.second));
  }
  [[nodiscard]] std::uint32_t position_of(const Key& key, std::uint32_t tag) const noexcept {
    for (std::size_t i = tag & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].at == kNone || (slots_[i].tag == tag && is_of(slots_[i].at, key))) return slots_[i].at;
    }
  }
  const Uuid* use(std::uint32_t at) noexcept { return at == kNone ? nullptr : &used(at); }

  /// For one more. At most three quarters of the slots are in use.
  void make_room() {
    if ((count_ + 1) * 4 > slots_.size() * 3) {
      const auto old = std::exchange(slots_, std::vector<Slot>(slots_.size() * 2));
      mask_ = slots_.size() - 1;
      for (const Slot& slot : old) {
        if (slot.at != kNone) put(slot);
      }
    }
    // Past those in use and those that are free: one that a failure left over.
    if (!free_.empty() || bindings_.size() > count_) return;
    entries_.resize(bindings_.size() + 1);
    long_texts_.resize(bindings_.size() + 1);
    bindings_.emplace_back();
  }
  void put(Slot slot) noexcept {
    std::size_t i = slot.tag & mask_;
    while (slots_[i].at != kNone)
      i = (i + 1) & mask_;
    slots_[i] = slot;
  }
  void take_out(std::uint32_t at) noexcept {
    std::size_t hole = tag_of(key_at(at)) & mask_;
    while (slots_[hole].at != at)
      hole = (hole + 1) & mask_;
    // Moves up whatever would not be found past the hole.
    for (std::size_t i = (hole + 1) & mask_; slots_[i].at != kNone; i = (i + 1) & mask_) {
      if (((i - slots_[i].tag) & mask_) < ((i - hole) & mask_)) continue;
      slots_[std::exchange(hole, i)] = slots_[i];
    }
    slots_[hole] = {};
  }

  void link_front(std::uint32_t at) noexcept {
    entries_[at].older = first_;
    entries_[at].newer = kNone;
    (first_ == kNone ? last_ : entries_[first_].newer) = at;
    first_ = at;
  }
  void unlink(std::uint32_t at) noexcept {
    const Entry& entry = entries_[at];
    (entry.newer == kNone ? first_ : entries_[entry.newer].older) = entry.older;
    (entry.older == kNone ? last_ : entries_[entry.older].newer) = entry.newer;
  }
  void move_to_front(std::uint32_t at) noexcept {
    if (at == first_) return;
    unlink(at);
    link_front(at);
  }
  void erase(std::uint32_t at) {
    free_.push_back(at);
    take_out(at);
    unlink(at);
    if (std::exchange(long_texts_[at], nullptr) != nullptr) --long_count_;
    size.store(--count_, std::memory_order_relaxed);
  }

  const std::size_t max_;
  const internal::TextHash hash_;
  std::size_t count_ = 0;
  std::size_t long_count_ = 0;
  std::uint64_t generation_ = 0;
  std::vector<Slot> slots_;
  std::size_t mask_ = kFewest - 1;
  std::vector<Binding> bindings_;
  std::vector<Entry> entries_;
  std::vector<std::unique_ptr<char[]>> long_texts_;
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
  static constexpr std::size_t kMost = 128;
  struct Due {
    /// First what to look for, then where it is likely to be.
    std::uint32_t tag_or_place;
    std::uint8_t event;
    bool of_session;
  };
  assert(turn.size() <= kMost);
  Table& table = *table_;
  // In the order of the turn, at the end of the array. Events are looked at from the back, for what was published last
  // is in the nearest cache, and after it what comes first again.
  std::array<Due, kMost> room;
  Due* first = room.data() + kMost;
  for (std::size_t i = turn.size(); i-- > 0;) {
    StagedEvent event = turn[i];
    const bool of_session = is_of_session(event.event());
    if (!of_session && !to_be_stamped(event.routing())) [[likely]]
      continue;
    *--first = {of_session ? 0 : table.prefetch(key_of(event.routing())), static_cast<std::uint8_t>(i), of_session};
  }
  const std::span<Due> due(first, room.data() + kMost);
  for (Due& one : due) {
    if (!one.of_session) one.tag_or_place = table.prefetch_binding(one.tag_or_place);
  }
  if (table.has_long_texts()) {
    for (const Due& one : due) {
      if (!one.of_session) table.prefetch_texts(one.tag_or_place);
    }
  }
  const std::uint64_t generation = table.generation();
  bool as_looked_up = true;
  std::size_t failed = 0;
  // Not inline: what looking ahead keeps in registers would not find room.
  const auto bind_alone = [ this, &failed ](StagedEvent event) __attribute__((noinline)) {
    try {
      on_event(event);
    } catch (...) {
      ++failed;
    }
  };
  for (const Due& one : due) {
    StagedEvent event = turn[one.event];
    if (!one.of_session && as_looked_up) [[likely]] {
      const std::uint32_t at = one.tag_or_place;
      if (at == Table::kNone) continue;
      Routing& routing = event.routing();
      if (table.is_of(at, key_of(routing))) [[likely]] {
        routing.scroll_id.emplace(table.used(at));
        continue;
      }
    }
    bind_alone(event);
    as_looked_up = table.generation() == generation;
  }
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
      log_(LogLevel::warn, "scroll id does not parse connector_id=" + printable(registered->connector_id) +
                               " session_id=" + printable(registered->session_id) +
                               " scroll_id=" + printable(registered->scroll_id));
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
