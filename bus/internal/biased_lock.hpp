#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "bus/internal/asymmetric_fence.hpp"

namespace sharingbus::internal {

/// A lock around a few instructions of two sides, its owner's and a visitor's, with one thread at a time on each. When
/// the owner has taken it `kInARow` times without a visit, it is biased to him: he takes it with a store and a look,
/// without a read-modify-write, until the next visit, which then costs a heavy fence. `prepare_fences` comes first.
class BiasedLock {
 public:
  /// Holds it.
  class Owner {
   public:
    explicit Owner(BiasedLock& lock) noexcept : lock_(lock), by_bias_(lock.enter_by_bias()) {
      if (!by_bias_) [[unlikely]]
        lock_.lock_as_owner();
    }
    ~Owner() { (by_bias_ ? lock_.inside_ : lock_.locked_).store(false, std::memory_order_release); }
    Owner(const Owner&) = delete;
    Owner& operator=(const Owner&) = delete;

   private:
    BiasedLock& lock_;
    const bool by_bias_;
  };
  /// Holds it if the owner's bias is enough.
  class OwnerByBias {
   public:
    explicit OwnerByBias(BiasedLock& lock) noexcept : lock_(lock), holds_(lock.enter_by_bias()) {}
    ~OwnerByBias() {
      if (holds_) lock_.inside_.store(false, std::memory_order_release);
    }
    OwnerByBias(const OwnerByBias&) = delete;
    OwnerByBias& operator=(const OwnerByBias&) = delete;
    explicit operator bool() const noexcept { return holds_; }

   private:
    BiasedLock& lock_;
    const bool holds_;
  };
  /// Holds it.
  class Visitor {
   public:
    explicit Visitor(BiasedLock& lock) noexcept : lock_(lock) { lock_.lock_as_visitor(); }
    ~Visitor() { lock_.locked_.store(false, std::memory_order_release); }
    Visitor(const Visitor&) = delete;
    Visitor& operator=(const Visitor&) = delete;

   private:
    BiasedLock& lock_;
  };

  /// As the owner sees it.
  [[nodiscard]] bool is_biased() const noexcept { return biased_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t kInARow = 16;

  [[nodiscard]] bool enter_by_bias() noexcept {
    if (!biased_.load(std::memory_order_relaxed)) return false;
    inside_.store(true, std::memory_order_relaxed);
    // Either we see that a visitor took the bias away, or he sees that we are inside.
    light_fence();
    if (biased_.load(std::memory_order_acquire)) [[likely]]
      return true;
    inside_.store(false, std::memory_order_release);
    return false;
  }
  void lock_as_owner() noexcept {
    lock();
    if (++in_a_row_ == kInARow) biased_.store(true, std::memory_order_relaxed);
  }
  void lock_as_visitor() noexcept {
    lock();
    in_a_row_ = 0;
    if (!biased_.load(std::memory_order_relaxed)) return;
    biased_.store(false, std::memory_order_release);
    heavy_fence();
    while (inside_.load(std::memory_order_acquire))
      std::this_thread::yield();
  }
  void lock() noexcept {
    while (locked_.exchange(true, std::memory_order_acquire)) {
      // Whoever has it may have been interrupted.
      while (locked_.load(std::memory_order_relaxed))
        std::this_thread::yield();
    }
  }

  std::atomic<bool> locked_{false};
  /// Given by the owner and taken away by a visitor, both under the lock.
  std::atomic<bool> biased_{false};
  /// The owner is, by the bias.
  std::atomic<bool> inside_{false};
  /// Under the lock.
  std::uint32_t in_a_row_ = 0;
};

}  // namespace sharingbus::internal
