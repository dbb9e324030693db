#include "bus/event.hpp"

#include <array>

#include "bus/internal/event_pool.hpp"
#include "bus/internal/text_hash.hpp"

namespace sharingbus {
namespace {

constexpr std::array<std::string_view, kEventKindCount> kKindNames{
    "system",       "session_lifecycle", "connector_lifecycle",
    "registration", "request",           "response",
    "stream",       "heartbeat",         "metrics",
    "agent",        "service",           "custom"};
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

void* detail::allocate_event(std::size_t bytes) {
  return internal::pool_allocate(bytes);
}

OptionalText::Text* OptionalText::Text::make(std::string_view view) {
  const std::size_t size = view.size();
  auto* text = ::new (internal::pool_allocate(sizeof(Text) + size)) Text{1, static_cast<std::uint32_t>(size)};
  internal::copy_text(view, reinterpret_cast<char*>(text + 1));
  return text;
}

void detail::free_event(void* memory) noexcept {
  internal::pool_free(memory);
}

void BusEvent::destroy() const noexcept {
  auto* self = const_cast<BusEvent*>(this);
  if (type_->destroy != nullptr || routing_.holds_text()) {
    if (complete_ && type_->destroy != nullptr) type_->destroy(const_cast<void*>(payload()));
    self->~BusEvent();
  }
  internal::pool_free(self);
}

}  // namespace sharingbus
