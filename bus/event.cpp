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

template <class Text>
Text* write_text(void* memory, std::string_view view) noexcept {
  auto* const text = ::new (memory) Text{1, static_cast<std::uint32_t>(view.size())};
  internal::copy_text(view, reinterpret_cast<char*>(text + 1));
  return text;
}

/// Apart, so that the usual way needs no registers that a call would leave alone.
template <class Text>
[[gnu::noinline]] Text* make_elsewhere(std::string_view view) {
  return write_text<Text>(internal::pool_allocate(sizeof(Text) + view.size()), view);
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
  if (void* const memory = internal::pool_allocate_at_once(sizeof(Text) + view.size())) [[likely]]
    return write_text<Text>(memory, view);
  return make_elsewhere<Text>(view);
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
