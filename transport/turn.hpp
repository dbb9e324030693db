#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace sharingbus::transport {

/// A thread's turn in a transport: it has read something and publishes it. What that gives others to do, on a strand
/// `in_turns` that was idle, this thread does itself at the end of the turn, where it holds nothing and has set the
/// transport going again. So a message costs no other thread's wake-up. Bounded: on a thread of the executor one
/// strand, and of that what is ready then; on another up to `kMost` pieces of work, those that come of others included.
/// All else goes to the executor.
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
  static constexpr std::size_t kMost = 8;

  explicit Turn(On on) noexcept : on_(on), outer_(std::exchange(t_here, this)) {}
  ~Turn() {
    if (count_ != 0) work();
    t_here = outer_;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  /// The present one of this thread that can still take something, or null.
  [[nodiscard]] static Turn* open() noexcept {
    return t_here != nullptr && t_here->count_ < t_here->most_ ? t_here : nullptr;
  }
  /// `work` runs at the end. Only when it is open. Must not throw.
  template <class Work>
  void keep(Work&& work) {
    kept_[count_++].hold(std::forward<Work>(work));
  }
  /// Whether this thread does a strand's work at the end of a turn in a library, and is none of the executor's.
  [[nodiscard]] static bool elsewhere() noexcept { return t_elsewhere; }

  /// While it lives, the first piece of work that an `ErasedExecutor` may do in the caller is done by this thread,
  /// whether or not that is one of the executor's.
  class Beginning {
   public:
    explicit Beginning(bool here) noexcept : before_(std::exchange(t_begins, here)) {}
    ~Beginning() { t_begins = before_; }
    Beginning(const Beginning&) = delete;
    Beginning& operator=(const Beginning&) = delete;
    [[nodiscard]] static bool take() noexcept { return std::exchange(t_begins, false); }

   private:
    const bool before_;
  };

 private:
  /// A function in place, called once.
  class Kept {
   public:
    template <class Work>
    void hold(Work&& work) {
      using Held = std::decay_t<Work>;
      if constexpr (sizeof(Held) <= kBytes && alignof(Held) <= alignof(void*)) {
        ::new (static_cast<void*>(place_)) Held(std::forward<Work>(work));
        run_ = [](void* place) {
          Held* const held = static_cast<Held*>(place);
          (*held)();
          held->~Held();
        };
      } else {
        hold([held = std::make_unique<Held>(std::forward<Work>(work))] { (*held)(); });
      }
    }
    void operator()() { run_(place_); }

   private:
    static constexpr std::size_t kBytes = 4 * sizeof(void*);
    alignas(void*) std::byte place_[kBytes];
    void (*run_)(void*);
  };

  static inline constinit thread_local Turn* t_here = nullptr;
  static inline constinit thread_local bool t_elsewhere = false;
  static inline constinit thread_local bool t_begins = false;

  void work() {
    const bool before = std::exchange(t_elsewhere, on_ == On::library);
    // There what comes of it is left to the executor's other threads, for it may be the user's and block.
    if (on_ == On::executor) t_here = outer_;
    for (std::size_t i = 0; i < count_; ++i)
      kept_[i]();
    t_elsewhere = before;
  }

  const On on_;
  const std::size_t most_ = on_ == On::library ? kMost : 1;
  Turn* const outer_;
  std::array<Kept, kMost> kept_;
  std::size_t count_ = 0;
};

}  // namespace sharingbus::transport
