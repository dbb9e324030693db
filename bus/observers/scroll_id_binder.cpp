#include "bus/observers/scroll_id_binder.hpp"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_set.h>
#include <absl/hash/hash.h>

namespace sharingbus {

/// Bounded table of bindings, least recently used out first. Bindings stand in one array and link to each other by
/// position, so that a look-up touches few cache lines.
class ScrollIdBinder::Table {
 public:
  explicit Table(std::size_t max_bindings)
      : max_(std::clamp<std::size_t>(max_bindings, 1, kNone)), positions_(0, Hash{this}, Equal{this}) {}

  void bind(std::string_view connector_id, std::string_view session_id, const Uuid& scroll_id) {
    if (const auto found = positions_.find(Key{connector_id, session_id}); found != positions_.end()) {
      bindings_[*found].scroll_id = scroll_id;
      move_to_front(*found);
      return;
    }
    if (positions_.size() == max_) {
      erase(last_);
      evicted.fetch_add(1, std::memory_order_relaxed);
    }
    if (free_.empty()) {
      free_.push_back(static_cast<std::uint32_t>(bindings_.size()));
      bindings_.emplace_back();
    }
    const std::uint32_t at = free_.back();
    free_.pop_back();
    bindings_[at] = {connector_id, session_id, scroll_id, kNone, kNone};
    link_front(at);
    positions_.insert(at);
    size.store(positions_.size(), std::memory_order_relaxed);
  }

  const Uuid* find(std::string_view connector_id, std::string_view session_id) {
    const auto found = positions_.find(Key{connector_id, session_id});
    if (found == positions_.end()) return nullptr;
    move_to_front(*found);
    return &bindings_[*found].scroll_id;
  }

  void release(std::string_view connector_id, std::string_view session_id) {
    const auto found = positions_.find(Key{connector_id, session_id});
    if (found != positions_.end()) erase(*found);
  }

  std::atomic<std::uint64_t> size{0};
  std::atomic<std::uint64_t> evicted{0};
  std::atomic<std::uint64_t> unparseable{0};

 private:
  using Key = std::pair<std::string_view, std::string_view>;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Binding {
    OptionalText connector_id;
    OptionalText session_id;
    Uuid scroll_id;
    std::uint32_t newer = kNone;
    std::uint32_t older = kNone;
    [[nodiscard]] Key key() const { return {*connector_id, *session_id}; }
  };
  struct Hash {
    using is_transparent = void;
    const Table* table;
    std::size_t operator()(const Key& key) const { return absl::HashOf(key.first, key.second); }
    std::size_t operator()(std::uint32_t at) const { return (*this)(table->bindings_[at].key()); }
  };
  struct Equal {
    using is_transparent = void;
    const Table* table;
    bool operator()(std::uint32_t left, std::uint32_t right) const { return left == right; }
    bool operator()(std::uint32_t at, const Key& key) const { return table->bindings_[at].key() == key; }
  };

  void link_front(std::uint32_t at) {
    bindings_[at].older = first_;
    bindings_[at].newer = kNone;
    (first_ == kNone ? last_ : bindings_[first_].newer) = at;
    first_ = at;
  }
  void unlink(std::uint32_t at) {
    const Binding& binding = bindings_[at];
    (binding.newer == kNone ? first_ : bindings_[binding.newer].older) = binding.older;
    (binding.older == kNone ? last_ : bindings_[binding.older].newer) = binding.newer;
  }
  void move_to_front(std::uint32_t at) {
    if (at == first_) return;
    unlink(at);
    link_front(at);
  }
  void erase(std::uint32_t at) {
    positions_.erase(at);
    unlink(at);
    bindings_[at] = {};
    free_.push_back(at);
    size.store(positions_.size(), std::memory_order_relaxed);
  }

  const std::size_t max_;
  std::vector<Binding> bindings_;
  std::vector<std::uint32_t> free_;
  absl::flat_hash_set<std::uint32_t, Hash, Equal> positions_;
  std::uint32_t first_ = kNone;
  std::uint32_t last_ = kNone;
};

ScrollIdBinder::ScrollIdBinder(ScrollIdBinderOptions options)
    : log_(std::move(options.log)), table_(std::make_unique<Table>(options.max_bindings)) {}

ScrollIdBinder::~ScrollIdBinder() = default;

void ScrollIdBinder::on_event(StagedEvent& event) {
  Routing& routing = event.routing();
  const BusEvent& seen = event.event();
  const bool bindable = !routing.scroll_id && routing.connector_id && routing.native_session_id;
  if (bindable || seen.is<SessionRegistered>() || seen.is<SessionClosed>()) bind(event);
}

void ScrollIdBinder::bind(StagedEvent& event) {
  Routing& routing = event.routing();
  if (const auto* registered = event.event().get_if<SessionRegistered>()) {
    if (const auto scroll_id = parse_uuid(registered->scroll_id)) {
      table_->bind(registered->connector_id, registered->session_id, *scroll_id);
      routing.scroll_id = *scroll_id;
      return;
    }
    table_->unparseable.fetch_add(1, std::memory_order_relaxed);
    if (log_) {
      log_(LogLevel::warn, "scroll id does not parse connector_id=" + registered->connector_id +
                               " session_id=" + registered->session_id + " scroll_id=" + registered->scroll_id);
    }
  }
  if (!routing.scroll_id && routing.connector_id && routing.native_session_id) {
    if (const Uuid* bound = table_->find(*routing.connector_id, *routing.native_session_id)) routing.scroll_id = *bound;
  }
  if (const auto* closed = event.event().get_if<SessionClosed>()) {
    if (!routing.scroll_id) {
      if (const Uuid* bound = table_->find(closed->connector_id, closed->session_id)) routing.scroll_id = *bound;
    }
    table_->release(closed->connector_id, closed->session_id);
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
