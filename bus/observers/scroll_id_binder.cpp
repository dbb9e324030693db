#include "bus/observers/scroll_id_binder.hpp"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <utility>

namespace sharingbus {

/// Bounded table of bindings, least recently used out first.
class ScrollIdBinder::Table {
 public:
  explicit Table(std::size_t max_bindings) : max_(std::max<std::size_t>(max_bindings, 1)) {}

  void bind(std::string_view connector_id, std::string_view session_id, const Uuid& scroll_id) {
    if (const auto found = entries_.find(Key{connector_id, session_id}); found != entries_.end()) {
      found->second->scroll_id = scroll_id;
      recent_.splice(recent_.begin(), recent_, found->second);
      return;
    }
    if (entries_.size() == max_) {
      erase(std::prev(recent_.end()));
      evicted.fetch_add(1, std::memory_order_relaxed);
    }
    recent_.push_front({std::string(connector_id), std::string(session_id), scroll_id});
    entries_.emplace(recent_.front().key(), recent_.begin());
    size.store(entries_.size(), std::memory_order_relaxed);
  }

  const Uuid* find(std::string_view connector_id, std::string_view session_id) {
    const auto found = entries_.find(Key{connector_id, session_id});
    if (found == entries_.end()) return nullptr;
    recent_.splice(recent_.begin(), recent_, found->second);
    return &found->second->scroll_id;
  }

  void release(std::string_view connector_id, std::string_view session_id) {
    const auto found = entries_.find(Key{connector_id, session_id});
    if (found != entries_.end()) erase(found->second);
  }

  std::atomic<std::uint64_t> size{0};
  std::atomic<std::uint64_t> evicted{0};
  std::atomic<std::uint64_t> unparseable{0};

 private:
  /// Views into the list's node, which does not move.
  using Key = std::pair<std::string_view, std::string_view>;
  struct Binding {
    std::string connector_id;
    std::string session_id;
    Uuid scroll_id;
    [[nodiscard]] Key key() const { return {connector_id, session_id}; }
  };

  void erase(std::list<Binding>::iterator binding) {
    entries_.erase(binding->key());
    recent_.erase(binding);
    size.store(entries_.size(), std::memory_order_relaxed);
  }

  const std::size_t max_;
  std::list<Binding> recent_;
  absl::flat_hash_map<Key, std::list<Binding>::iterator> entries_;
};

ScrollIdBinder::ScrollIdBinder(ScrollIdBinderOptions options)
    : log_(std::move(options.log)), table_(std::make_unique<Table>(options.max_bindings)) {}

ScrollIdBinder::~ScrollIdBinder() = default;

void ScrollIdBinder::on_event(StagedEvent& event) {
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
