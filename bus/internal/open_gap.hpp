#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>

#include "bus/received.hpp"

namespace sharingbus::internal {

/// The gap at the end of a queue, of losses that no event followed yet. The producer lets it grow without a lock; a
/// mutex guards how it ends: the consumer takes it, or the producer settles it, which is to give it a place in the
/// queue.
///
/// Losses are counted from the queue's beginning, so that nothing is lost or told twice when the producer has not seen
/// yet that the gap was taken, and goes on with it: what was taken is told from what was not by number, and as losses
/// rise, the rest lies behind the last sequence that was taken. Losses that do not rise are added under the mutex.
class OpenGap {
 public:
  // Producer side.

  /// `open`: something was lost since the last `settle`.
  void lose(const Gap& gap, bool open) {
    const std::uint64_t before = count_.load(std::memory_order_relaxed);
    // Acquire pairs with take: what it read is read before it is written again.
    if (open && taken_.load(std::memory_order_acquire) != before && gap.first > last_.load(std::memory_order_relaxed))
        [[likely]] {
      const std::uint64_t version = begin_write();
      last_.store(gap.last, std::memory_order_release);
      count_.store(before + gap.count, std::memory_order_release);
      end_write(version);
    } else {
      begin_or_widen(gap, open);
    }
  }
  /// What is to be appended; a count of 0: nothing.
  [[nodiscard]] Gap settle() {
    const std::scoped_lock lock(mutex_);
    return untaken_part(read());
  }

  // Consumer side.

  /// `at_end()`: whether something was lost since the last `settle`, and all that has a place was read. A count of 0:
  /// nothing is taken.
  template <class AtEnd>
  [[nodiscard]] Gap take(AtEnd&& at_end) {
    const std::scoped_lock lock(mutex_);
    // Before the look at the losses, lest what was settled last is taken for what was lost since; and after it, because
    // events may have been queued between the caller's look at the queue and the loss.
    if (!at_end()) return {};
    const Losses losses = read();
    if (!at_end()) return {};
    const Gap gap = untaken_part(losses);
    taken_last_ = losses.last;
    taken_.store(losses.count, std::memory_order_release);
    return gap;
  }

  // Any thread.

  /// seq_cst with a receiver that parked: see SubscriberState::park_as.
  [[nodiscard]] bool taken() const noexcept {
    return taken_.load(std::memory_order_seq_cst) == count_.load(std::memory_order_seq_cst);
  }

 private:
  /// `count` of them in all. [first, last]: those from number `begin` on.
  struct Losses {
    std::uint64_t count;
    std::uint64_t begin;
    std::uint64_t first;
    std::uint64_t last;
  };

  // The consumer sees all of what is written between the two or nothing: the version is odd meanwhile.
  std::uint64_t begin_write() noexcept {
    const std::uint64_t version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);
    return version;
  }
  void end_write(std::uint64_t version) noexcept { version_.store(version + 2, std::memory_order_release); }

  [[gnu::noinline]] void begin_or_widen(const Gap& gap, bool open) {
    std::unique_lock lock(mutex_, std::defer_lock);
    const std::uint64_t last = last_.load(std::memory_order_relaxed);
    if (gap.first <= last) lock.lock();
    const std::uint64_t before = count_.load(std::memory_order_relaxed);
    const std::uint64_t taken = taken_.load(std::memory_order_acquire);
    Losses losses{before + gap.count, before, gap.first, gap.last};
    if (open && taken != before) {
      losses.begin = begin_.load(std::memory_order_relaxed);
      losses.first = first_.load(std::memory_order_relaxed);
      if (lock.owns_lock()) {
        if (taken > losses.begin) {
          losses.begin = taken;
          losses.first = taken_last_ + 1;
        }
        losses.first = std::min(losses.first, gap.first);
        losses.last = std::max(gap.last, last);
      }
    }
    const std::uint64_t version = begin_write();
    begin_.store(losses.begin, std::memory_order_release);
    first_.store(losses.first, std::memory_order_release);
    last_.store(losses.last, std::memory_order_release);
    count_.store(losses.count, std::memory_order_release);
    end_write(version);
  }

  [[nodiscard]] Losses read() const noexcept {
    for (;; std::this_thread::yield()) {
      const std::uint64_t version = version_.load(std::memory_order_acquire);
      const Losses losses{count_.load(std::memory_order_acquire), begin_.load(std::memory_order_acquire),
                          first_.load(std::memory_order_acquire), last_.load(std::memory_order_acquire)};
      if (version % 2 == 0 && version_.load(std::memory_order_relaxed) == version) return losses;
    }
  }
  [[nodiscard]] Gap untaken_part(const Losses& losses) const noexcept {
    const std::uint64_t taken = taken_.load(std::memory_order_relaxed);
    if (taken <= losses.begin) return {losses.first, losses.last, losses.count - losses.begin};
    return {taken_last_ + 1, losses.last, losses.count - taken};
  }

  // What a loss touches while the gap is open stands in one cache line.
  alignas(64) std::atomic<std::uint64_t> version_{0};
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::uint64_t> last_{0};
  /// The consumer's: how many losses were taken or had a place when it last took the gap, and the last of them.
  std::atomic<std::uint64_t> taken_{0};
  std::uint64_t taken_last_ = 0;
  std::atomic<std::uint64_t> begin_{0};
  std::atomic<std::uint64_t> first_{0};
  std::mutex mutex_;
};

}  // namespace sharingbus::internal
