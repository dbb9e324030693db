#include "bus/event.hpp"

#include <array>

namespace sharingbus {
namespace {

constexpr std::array<std::string_view, kEventKindCount> kKindNames{
    "system", "session_lifecycle", "connector_lifecycle", "registration", "request", "response",
    "stream", "heartbeat",         "metrics",             "agent",        "service", "custom"};
constexpr std::array<std::string_view, 7> kOriginNames{"runtime", "transport", "connector", "gateway",
                                                       "agent",   "service",   "user"};

template <class Enum, std::size_t N>
std::optional<Enum> parse_name(const std::array<std::string_view, N>& names, std::string_view name) noexcept {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string_view to_string(EventKind kind) noexcept {
  const auto index = static_cast<std::size_t>(kind);
  return index < kKindNames.size() ? kKindNames[index] : "unknown";
}

std::string_view to_string(EventOrigin origin) noexcept {
  const auto index = static_cast<std::size_t>(origin);
  return index < kOriginNames.size() ? kOriginNames[index] : "unknown";
}

std::optional<EventKind> parse_event_kind(std::string_view name) noexcept {
  return parse_name<EventKind>(kKindNames, name);
}

std::optional<EventOrigin> parse_event_origin(std::string_view name) noexcept {
  return parse_name<EventOrigin>(kOriginNames, name);
}

void BusEvent::release(std::uint32_t count) const noexcept {
  // Pairs with the release half of every other holder's fetch_sub: the last one sees all their reads done.
  if (references_.fetch_sub(count, std::memory_order_acq_rel) != count) return;
  auto* self = const_cast<BusEvent*>(this);
  if (payload_ != nullptr) type_->destroy(self->payload_);
  self->~BusEvent();
  ::operator delete(self);
}

}  // namespace sharingbus
