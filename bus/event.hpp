#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "bus/base/timer.hpp"
#include "bus/base/uuid.hpp"
#include "bus/optional_text.hpp"

namespace sharingbus {

/// What an event is about; the coarsest thing to filter on.
enum class EventKind : std::uint8_t {
  system,
  session_lifecycle,
  connector_lifecycle,
  registration,
  request,
  response,
  stream,
  heartbeat,
  metrics,
  agent,
  service,
  custom,
};
inline constexpr std::size_t kEventKindCount = static_cast<std::size_t>(EventKind::custom) + 1;

/// Who made an event.
enum class EventOrigin : std::uint8_t { runtime, transport, connector, gateway, agent, service, user };

/// The enumerator's name, as in filter texts: `connector_lifecycle`.
[[nodiscard]] std::string_view to_string(EventKind kind) noexcept;
[[nodiscard]] std::string_view to_string(EventOrigin origin) noexcept;
/// The reverse; nothing for a name that is none.
[[nodiscard]] std::optional<EventKind> parse_event_kind(std::string_view name) noexcept;
[[nodiscard]] std::optional<EventOrigin> parse_event_origin(std::string_view name) noexcept;

/// Where an event belongs. A field that is not set never matches a filter on that field. (Spec 1, Model.)
struct Routing {
  std::optional<Uuid> scroll_id;
  std::optional<Uuid> connector_uid;
  EventKind kind = EventKind::custom;
  OptionalText connector_id;
  OptionalText native_session_id;
  /// `tenant.type.instance`
  OptionalText address;

  [[nodiscard]] bool holds_text() const noexcept {
    return OptionalText::any_of(connector_id, native_session_id, address);
  }
  bool operator==(const Routing&) const = default;
};

/// What the framework knows of a payload type. One object per type and process; compared by address.
struct EventType {
  std::string_view name;
  EventKind kind;
  /// Null when there is nothing to do.
  void (*destroy)(void* payload) noexcept;
};

namespace detail {

template <class T>
constexpr auto destroyer_of() -> void (*)(void*) noexcept {
  if constexpr (std::is_trivially_destructible_v<T>) return nullptr;
  return [](void* payload) noexcept { static_cast<T*>(payload)->~T(); };
}

template <class T>
concept NamedEvent = requires {
  {std::string_view{T::event_name}};
};
template <class T>
concept KindedEvent = requires {
  {EventKind{T::event_kind}};
};
template <class T>
constexpr EventKind kind_of() {
  if constexpr (KindedEvent<T>) return T::event_kind;
  return EventKind::custom;
}

}  // namespace detail

/// The registered name of a payload type: its own `event_name`. Specialise it for a type that you cannot edit.
template <class T>
struct EventName {
  static_assert(detail::NamedEvent<T>,
                "an event type needs `static constexpr std::string_view event_name`, or a specialisation of EventName");
  static constexpr std::string_view value = T::event_name;
};

/// The descriptor of payload type `T`. An optional `static constexpr EventKind event_kind` sets its default kind.
template <class T>
inline constexpr EventType kEventType{EventName<T>::value, detail::kind_of<T>(), detail::destroyer_of<T>()};

/// One event: routing, origin and an immutable payload of any type, built once and shared by every receiver.
/// Immutable once published; reached through `EventRef` (shared) or `EventDraft` (not published yet). Header and
/// payload are one allocation. Any thread may read a published event.
class BusEvent {
 public:
  BusEvent(const BusEvent&) = delete;
  BusEvent& operator=(const BusEvent&) = delete;

  [[nodiscard]] const Routing& routing() const noexcept { return routing_; }
  [[nodiscard]] EventKind kind() const noexcept { return routing_.kind; }
  [[nodiscard]] EventOrigin origin() const noexcept { return origin_; }
  /// Which adapter or component instance published it (`SharingBus::new_source`); 0 when nobody said.
  [[nodiscard]] std::uint64_t source() const noexcept { return source_; }
  /// Position in the bus's one order, from 1 without holes; 0 before it is published.
  [[nodiscard]] std::uint64_t sequence() const noexcept { return sequence_; }
  /// When it was dispatched; one clock read for a whole dispatch turn. Epoch when time stamps are off.
  [[nodiscard]] TimePoint published_at() const noexcept { return published_at_; }
  /// Bytes of this event: header, payload object, and what its maker declared beyond that.
  [[nodiscard]] std::size_t size_bytes() const noexcept { return size_bytes_; }

  [[nodiscard]] const EventType& type() const noexcept { return *type_; }
  [[nodiscard]] std::string_view type_name() const noexcept { return type_->name; }
  template <class T>
  [[nodiscard]] bool is() const noexcept {
    return type_ == &kEventType<T>;
  }
  /// The payload, or null when it is of another type.
  template <class T>
  [[nodiscard]] const T* get_if() const noexcept {
    return is<T>() ? static_cast<const T*>(payload()) : nullptr;
  }

 private:
  friend class EventDraft;
  friend class EventRef;
  friend class StagedEvent;
  friend struct EventAccess;

  BusEvent(const EventType& type, Routing&& routing, EventOrigin origin, std::uint64_t source) noexcept
      : origin_(origin), type_(&type), source_(source), routing_(std::move(routing)) {}
  BusEvent(const EventType& type, EventOrigin origin) noexcept : origin_(origin), type_(&type), source_(0) {
    routing_.kind = type.kind;
  }
  ~BusEvent() = default;
  void release(std::uint32_t count) const noexcept {
    // Whoever holds all that is left needs no read-modify-write. Both pair with the release half of the other holders'
    // fetch_sub: the last one sees all their reads done.
    if (references_.load(std::memory_order_acquire) == count ||
        references_.fetch_sub(count, std::memory_order_acq_rel) == count) {
      destroy();
    }
  }
  void destroy() const noexcept;
  /// Right behind the header, whatever its type.
  [[nodiscard]] const void* payload() const noexcept { return this + 1; }

  mutable std::atomic<std::uint32_t> references_{1};
  EventOrigin origin_;
  /// The payload is built.
  bool complete_ = false;
  const EventType* type_;
  std::uint64_t sequence_ = 0;
  TimePoint published_at_{};
  std::size_t size_bytes_ = 0;
  std::uint64_t source_;
  Routing routing_;
};
// With what the pool puts in front of it, a header is two cache lines, of which routing is the second.
static_assert(sizeof(void*) != 8 || (sizeof(Routing) == 64 && sizeof(BusEvent) == 112));

/// A shared, read-only reference to a published event: 8 bytes, one atomic count. Copy it to keep the event alive
/// beyond the callback that lent it.
class EventRef {
 public:
  EventRef() noexcept = default;
  EventRef(const EventRef& other) noexcept : event_(other.event_) {
    if (event_ != nullptr) event_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  EventRef(EventRef&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  EventRef& operator=(EventRef other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~EventRef() {
    if (event_ != nullptr) event_->release(1);
  }

  explicit operator bool() const noexcept { return event_ != nullptr; }
  const BusEvent& operator*() const noexcept { return *event_; }
  const BusEvent* operator->() const noexcept { return event_; }
  [[nodiscard]] const BusEvent* get() const noexcept { return event_; }

 private:
  friend struct EventAccess;
  const BusEvent* event_ = nullptr;
};

/// An event that is not published yet. Move-only; destroying it unpublished destroys the payload.
class EventDraft {
 public:
  EventDraft() noexcept = default;
  EventDraft(EventDraft&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  EventDraft& operator=(EventDraft&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~EventDraft() {
    if (event_ != nullptr) event_->release(1);
  }

  explicit operator bool() const noexcept { return event_ != nullptr; }
  const BusEvent& operator*() const noexcept { return *event_; }
  const BusEvent* operator->() const noexcept { return event_; }
  [[nodiscard]] Routing& routing() noexcept { return event_->routing_; }
  /// See `make_event`.
  template <class T>
  [[nodiscard]] static EventDraft make(T&& payload, Routing&& routing, EventOrigin origin, std::uint64_t source,
                                       std::size_t extra_bytes) {
    static_assert(!std::is_reference_v<T>, "hand the payload over");
    void* memory = detail::allocate_event(sizeof(BusEvent) + sizeof(T));
    return finish<T>(::new (memory) BusEvent(kEventType<T>, std::move(routing), origin, source), extra_bytes,
                     std::move(payload));
  }
  /// See `emplace_event`.
  template <class T, class... Args>
  [[nodiscard]] static EventDraft emplace(EventOrigin origin, Args&&... args) {
    void* memory = detail::allocate_event(sizeof(BusEvent) + sizeof(T));
    return finish<T>(::new (memory) BusEvent(kEventType<T>, origin), 0, std::forward<Args>(args)...);
  }

 private:
  /// Builds the payload behind the header: they are one allocation.
  template <class T, class... Args>
  [[nodiscard]] static EventDraft finish(BusEvent* event, std::size_t extra_bytes, Args&&... args) {
    static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__, "over-aligned payloads are not supported");
    static_assert(sizeof(BusEvent) % __STDCPP_DEFAULT_NEW_ALIGNMENT__ == 0);
    static_assert(std::is_nothrow_move_constructible_v<T>, "an event payload must be nothrow move constructible");
    EventDraft draft(event);
    ::new (const_cast<void*>(event->payload())) T{std::forward<Args>(args)...};
    event->complete_ = true;
    event->size_bytes_ = sizeof(BusEvent) + sizeof(T) + extra_bytes;
    return draft;
  }

  friend struct EventAccess;
  friend class Publisher;
  friend class SharingBus;
  explicit EventDraft(BusEvent* event) noexcept : event_(event) {}
  /// Leaves the draft empty; the event is the caller's to hand on.
  [[nodiscard]] BusEvent* give_up() noexcept { return std::exchange(event_, nullptr); }

  BusEvent* event_ = nullptr;
};

/// Builds an event around `payload`. The kind in `routing` is taken as given; use `routing_for<T>()` for the type's
/// own. `extra_bytes`: what the payload holds beyond its own object (heap), for bounds in bytes. Throws
/// `std::bad_alloc`. Any thread.
template <class T>
[[nodiscard]] EventDraft make_event(T payload, Routing routing, EventOrigin origin = EventOrigin::user,
                                    std::uint64_t source = 0, std::size_t extra_bytes = 0) {
  return EventDraft::make(std::move(payload), std::move(routing), origin, source, extra_bytes);
}

/// Builds the payload in place, with the kind of `T` and nothing else in the routing; fill in the rest through
/// `EventDraft::routing()`. The cheapest way, because nothing is moved. Throws `std::bad_alloc` and what `T{args…}`
/// throws.
template <class T, class... Args>
[[nodiscard]] EventDraft emplace_event(EventOrigin origin, Args&&... args) {
  return EventDraft::emplace<T>(origin, std::forward<Args>(args)...);
}

/// A routing with the default kind of `T` and nothing else.
template <class T>
[[nodiscard]] Routing routing_for() {
  Routing routing;
  routing.kind = kEventType<T>.kind;
  return routing;
}

}  // namespace sharingbus
