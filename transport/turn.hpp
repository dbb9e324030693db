#pragma once

#include <cstdint>
#include <functional>
#include <utility>

namespace sharingbus::transport {

/// A thread's turn in a transport: it has read something and publishes it. What that gives others to do, on a strand
/// `in_turns` that was idle, this thread does itself at the end of the turn, where it holds nothing and has set the
/// transport going again. So a message costs no other thread's wake-up. Bounded: one strand, and of that what is ready
/// then; all else goes to the executor.
///
/// Alive for as long as the turn; used by its thread alone.
class Turn {
 public:
  enum class On : std::uint8_t {
    /// A thread of the strands' executor.
    executor,
    /// Another, the library's own: what is the user's and may block has to go to the executor (`elsewhere`).
    library,
  };
  explicit Turn(On on) noexcept : on_(on), outer_(std::exchange(t_here, this)) {}
  ~Turn() {
    t_here = outer_;
    if (!kept_) return;
    const bool before = std::exchange(t_elsewhere, on_ == On::library);
    kept_();
    t_elsewhere = before;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  /// The present one of this thread that can still take something, or null.
  [[nodiscard]] static Turn* open() noexcept { return t_here != nullptr && !t_here->kept_ ? t_here : nullptr; }
  /// `work` runs at the end. Only when it is open. Must not throw.
  void keep(std::function<void()> work) { kept_ = std::move(work); }
  /// Whether this thread does a strand's work at the end of a turn in a library, and is none of the executor's.
  [[nodiscard]] static bool elsewhere() noexcept { return t_elsewhere; }

 private:
  static inline constinit thread_local Turn* t_here = nullptr;
  static inline constinit thread_local bool t_elsewhere = false;

  const On on_;
  Turn* const outer_;
  std::function<void()> kept_;
};

}  // namespace sharingbus::transport
