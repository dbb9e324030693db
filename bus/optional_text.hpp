#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sharingbus {

namespace detail {

/// Memory of events and their parts, from a pool that keeps its high-water mark. Any thread; throws `std::bad_alloc`.
[[nodiscard]] void* allocate_event(std::size_t bytes);
void free_event(void* memory) noexcept;

}  // namespace detail

/// An immutable text or nothing, in 8 bytes: what the identifiers of a `Routing` are. Copying shares the text and
/// neither copies nor allocates, so an adapter that stamps every event with the same id pays for it once. Used like a
/// `std::optional<std::string>` whose value reads as a `std::string_view`, valid as long as any copy. Copies may be
/// used from different threads.
class OptionalText {
 public:
  OptionalText() noexcept = default;
  OptionalText(std::nullopt_t) noexcept {}
  OptionalText(std::string_view text) : text_(Text::make(text)) {}
  OptionalText(const std::string& text) : OptionalText(std::string_view(text)) {}
  OptionalText(const char* text) : OptionalText(std::string_view(text)) {}
  OptionalText(const std::optional<std::string>& text) : text_(text ? Text::make(*text) : nullptr) {}
  OptionalText(const OptionalText& other) noexcept : text_(other.text_) {
    if (text_ != nullptr) text_->holders.fetch_add(1, std::memory_order_relaxed);
  }
  OptionalText(OptionalText&& other) noexcept : text_(std::exchange(other.text_, nullptr)) {}
  OptionalText& operator=(OptionalText other) noexcept {
    std::swap(text_, other.text_);
    return *this;
  }
  ~OptionalText() {
    if (text_ != nullptr) text_->release();
  }

  void reset() noexcept { *this = OptionalText(); }
  [[nodiscard]] bool has_value() const noexcept { return text_ != nullptr; }
  explicit operator bool() const noexcept { return has_value(); }
  /// Only when there is a value.
  [[nodiscard]] std::string_view operator*() const noexcept { return text_->view(); }
  [[nodiscard]] std::string value_or(std::string_view otherwise) const {
    return std::string(text_ != nullptr ? **this : otherwise);
  }

  /// Whether any of them has a value; without a branch for each.
  template <class... Texts>
  [[nodiscard]] static bool any_of(const Texts&... texts) noexcept {
    return (reinterpret_cast<std::uintptr_t>(texts.text_) | ...) != 0;
  }

  friend bool operator==(const OptionalText& left, const OptionalText& right) noexcept {
    if (left.text_ == right.text_) return true;
    return left.text_ != nullptr && right.text_ != nullptr && *left == *right;
  }
  friend bool operator==(const OptionalText& left, std::string_view right) noexcept {
    return left.text_ != nullptr && *left == right;
  }
  friend bool operator==(const OptionalText& left, const std::string& right) noexcept {
    return left == std::string_view(right);
  }
  friend bool operator==(const OptionalText& left, const char* right) noexcept {
    return left == std::string_view(right);
  }
  friend bool operator==(const OptionalText& left, std::nullopt_t) noexcept { return left.text_ == nullptr; }

 private:
  struct Text {
    std::atomic<std::uint32_t> holders;
    std::uint32_t size;

    static Text* make(std::string_view view);
    [[nodiscard]] std::string_view view() const noexcept { return {reinterpret_cast<const char*>(this + 1), size}; }
    void release() noexcept {
      if (holders.load(std::memory_order_acquire) == 1 || holders.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        detail::free_event(this);
      }
    }
  };

  Text* text_ = nullptr;
};

}  // namespace sharingbus
