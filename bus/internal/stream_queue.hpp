#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "bus/event.hpp"
#include "bus/internal/biased_lock.hpp"
#include "bus/internal/event_access.hpp"
#include "bus/internal/event_block.hpp"
#include "bus/received.hpp"

namespace sharingbus::internal {

/// One subscriber's bounded queue where the new event is what is lost: between the dispatcher (producer side) and one
/// receiver (consumer side). Holds single events, runs of a block's events, and gaps at their place, in a ring of
/// segments that grows to its high-water mark. The capacity is exact. Everything but losses and gaps is free of locks.
class StreamQueue {
 public:
  explicit StreamQueue(std::size_t capacity, std::size_t capacity_bytes = 0)
      : capacity_(static_cast<std::uint32_t>(capacity)), bounded_in_bytes_(capacity_bytes != 0) {
    if (bounded_in_bytes_) rare().capacity_bytes = capacity_bytes;
  }
  ~StreamQueue() {
    discard();
    retire();
    free_segments();
  }
  StreamQueue(const StreamQueue&) = delete;
  StreamQueue& operator=(const StreamQueue&) = delete;

  // Producer side.

  /// True: the queue took one (already counted) reference. False: full, and nothing happened.
  bool push(const BusEvent& event) {
    if (room(1) == 0 || !fits(event.size_bytes())) return false;
    const std::uint64_t gap_words = settle_gap();
    append(reinterpret_cast<std::uintptr_t>(&event));
    if (bounded_in_bytes_) bump(rare_->bytes_in, event.size_bytes());
    accept(1, gap_words + 1);
    return true;
  }

  struct RunTaken {
    std::size_t events;
    /// The queue keeps one counted hold on the block.
    bool holds;
  };
  /// Takes as many of the block's events as fit, from the front. A short piece is taken event by event, so that a full
  /// queue does not keep whole blocks alive. Not for a queue with a bound in bytes.
  RunTaken push_run(const EventBlock& block) {
    const std::size_t count = std::min<std::size_t>(room(block.size()), block.size());
    if (count == 0) return {0, false};
    const std::uint64_t gap_words = settle_gap();
    const bool holds = count * 2 >= block.size();
    if (holds) {
      append(reinterpret_cast<std::uintptr_t>(&block) | kRun);
      append(count);
    } else {
      for (std::size_t i = 0; i < count; ++i) {
        EventAccess::retain(*block.events()[i]);
        append(reinterpret_cast<std::uintptr_t>(block.events()[i].get()));
      }
    }
    accept(count, gap_words + (holds ? 2 : count));
    return {count, holds};
  }

  /// `gap.count` events that would have come here are lost. False: they make a gap larger that the consumer has not
  /// taken yet, so it knows that there is something, or will see so before it sleeps.
  bool lose(const Gap& gap) {
    Rare& rare = this->rare();
    const BiasedLock::Owner owner(rare.lock);
    Gap& open = rare.open_gap;
    if (!gap_open_.load(std::memory_order_relaxed)) [[unlikely]] {
      open = gap;
      gap_open_.store(true, std::memory_order_release);
      return true;
    }
    // Losses do not always rise: a dead-letter subscription misses those of several others.
    open.first = std::min(open.first, gap.first);
    open.last = std::max(open.last, gap.last);
    open.count += gap.count;
    return false;
  }

  /// `lose` for an event that `push` has just refused.
  bool lose_refused(std::uint64_t sequence) {
    const bool opened = lose({sequence, sequence, 1});
    loses_again_ = !opened && rare_->lock.is_biased();
    return opened;
  }
  /// What `push` and `lose_refused` do for a later event when nothing has changed since they did: it is lost, too.
  /// False: something has, and nothing happened.
  [[nodiscard]] bool lose_again(std::uint64_t sequence) noexcept {
    // What `push` saw. It has not taken anything since, so the gap is open unless the consumer took it, and the bias.
    if (!loses_again_ || consumed_.load(std::memory_order_acquire) != consumed_seen_) return false;
    const BiasedLock::OwnerByBias owner(rare_->lock);
    if (!owner) [[unlikely]]
      return false;
    rare_->open_gap.last = sequence;
    ++rare_->open_gap.count;
    return true;
  }

  /// A gap that stands for itself, whatever is lost next.
  void push_gap(Gap gap) {
    append_gap(gap);
    accept(0, kGapWords);
  }

  // Consumer side.

  /// The next run of at most `limit` > 0 events, or a gap, or nothing. What was lent before is given back.
  Lent lend(std::size_t limit) {
    retire();
    if (run_ == nullptr) {
      Word* const words = next_words();
      if (words == nullptr) return take_open_gap();
      const std::uint64_t word = words->bits;
      if ((word & kKindMask) == kEvent) return lend_singles(words, limit);
      take_word();
      if ((word & kKindMask) == kGap) return Lent(take_gap());
      run_ = reinterpret_cast<const EventBlock*>(word & ~kKindMask);
      run_next_ = 0;
      run_end_ = static_cast<std::uint32_t>(take_word());
    }
    const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(limit, run_end_ - run_next_));
    const std::span<const EventRef> events(run_->events() + run_next_, count);
    run_next_ += count;
    if (run_next_ == run_end_) finished_ = std::exchange(run_, nullptr);
    bump(consumed_, count);
    return Lent(events);
  }

  /// The next event or gap, or nothing. An event's reference passes to the caller.
  Received pop() {
    const Lent lent = lend(1);
    if (const Gap* gap = lent.gap()) return Received(*gap);
    if (lent.events().empty()) return {};
    if (single_count_ == 1) return Received(std::move(*singles_));
    Received next(lent.events().front());
    retire();
    return next;
  }

  /// The last `count` events that were lent count as never received; before `discard`, which then counts them.
  void unreceive(std::size_t count) noexcept {
    consumed_.store(consumed_.load(std::memory_order_relaxed) - count, std::memory_order_relaxed);
  }

  /// Where the consumer is.
  struct Position {
    std::uint64_t read;
    bool in_run;
  };
  [[nodiscard]] Position position() const noexcept { return {read_, run_ != nullptr}; }
  /// Whether `lend` would yield something to a consumer who is there. Any thread.
  [[nodiscard]] bool readable_at(Position at) const noexcept {
    // seq_cst with a receiver that parked: see SubscriberState::park_as.
    return at.in_run || at.read != written_.load(std::memory_order_seq_cst) ||
           gap_open_.load(std::memory_order_seq_cst);
  }
  [[nodiscard]] bool readable() const noexcept { return readable_at(position()); }

  // Any thread.

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t depth() const noexcept {
    const std::uint64_t consumed = consumed_.load(std::memory_order_acquire);
    // Both sides move between the two looks, but there are never more than fit.
    return std::min<std::uint64_t>(accepted_.load(std::memory_order_acquire) - consumed, capacity_);
  }
  [[nodiscard]] std::uint64_t accepted() const noexcept { return accepted_.load(std::memory_order_relaxed); }
  /// 0 unless it is bounded in bytes.
  [[nodiscard]] std::uint64_t bytes() const noexcept {
    if (!bounded_in_bytes_) return 0;
    const std::uint64_t out = rare_->bytes_out.load(std::memory_order_acquire);
    return rare_->bytes_in.load(std::memory_order_relaxed) - out;
  }
  [[nodiscard]] std::uint64_t high_water() const noexcept { return high_water_.load(std::memory_order_relaxed); }

  // Makes what a side is going to touch quicker to reach.
  void prefetch_consumer() const noexcept { __builtin_prefetch(&consumed_, 1); }
  void prefetch_producer() const noexcept { __builtin_prefetch(&written_, 1); }
  /// The producer's.
  void prefetch_place() const noexcept {
    if (tail_ != nullptr) __builtin_prefetch(tail_->words() + tail_next_, 1);
  }

  /// When neither side is active any more: lets go of what is queued and says how many.
  std::uint64_t discard() noexcept {
    if (const EventBlock* run = std::exchange(run_, nullptr)) run->release();
    while (next_words() != nullptr) {
      const std::uint64_t word = take_word();
      if ((word & kKindMask) == kEvent) {
        EventAccess::release(*reinterpret_cast<const BusEvent*>(word));
      } else if ((word & kKindMask) == kGap) {
        take_gap();
      } else {
        take_word();
        reinterpret_cast<const EventBlock*>(word & ~kKindMask)->release();
      }
    }
    const std::uint64_t accepted = accepted_.load(std::memory_order_acquire);
    return accepted - consumed_.exchange(accepted, std::memory_order_relaxed);
  }

 private:
  // What a word says: a pointer to an event; or to a block, and a word with the number of its events follows; or that
  // the words first, last and count of a gap follow.
  static constexpr std::uint64_t kEvent = 0;
  static constexpr std::uint64_t kRun = 1;
  static constexpr std::uint64_t kGap = 2;
  static constexpr std::uint64_t kKindMask = 3;
  static constexpr std::uint64_t kGapWords = 4;
  /// Words of events that follow one another can be lent as they stand.
  union Word {
    std::uint64_t bits;
    EventRef event;
    Word() noexcept : bits(0) {}
    ~Word() {}
  };
  static_assert(sizeof(Word) == sizeof(std::uint64_t) && sizeof(EventRef) == sizeof(BusEvent*));
  /// In a circle: those from the consumer's to the producer's are in use, the others are free.
  struct Segment {
    Segment* next;
    std::uint32_t size;
    [[nodiscard]] Word* words() noexcept { return reinterpret_cast<Word*>(this + 1); }
  };
  /// What most queues never need: made when the first event is lost, or at once for a bound in bytes.
  struct Rare {
    /// Of the open gap, whoever makes, widens or ends it.
    BiasedLock lock;
    Gap open_gap;
    std::size_t capacity_bytes = 0;
    std::atomic<std::uint64_t> bytes_in{0};
    std::atomic<std::uint64_t> bytes_out{0};
  };
  [[nodiscard]] Rare& rare() {
    if (rare_ == nullptr) rare_ = std::make_unique<Rare>();
    return *rare_;
  }

  static void bump(std::atomic<std::uint64_t>& counter, std::uint64_t value) noexcept {
    // One writer, so a plain load is enough. Release: what was consumed or accepted is done when the other side sees
    // it.
    counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_release);
  }

  [[nodiscard]] std::uint64_t room(std::size_t wanted) noexcept {
    const std::uint64_t accepted = accepted_.load(std::memory_order_relaxed);
    // More than the capacity is there for a moment when what was lent was not received and the end is near.
    const auto left = [&] { return capacity_ - std::min<std::uint64_t>(accepted - consumed_seen_, capacity_); };
    if (left() < wanted) consumed_seen_ = consumed_.load(std::memory_order_acquire);
    return left();
  }
  [[nodiscard]] bool fits(std::size_t bytes) const noexcept {
    return !bounded_in_bytes_ || this->bytes() + bytes <= rare_->capacity_bytes;
  }

  void accept(std::uint64_t count, std::uint64_t words) noexcept {
    bump(accepted_, count);
    const std::uint64_t accepted = accepted_.load(std::memory_order_relaxed);
    if (accepted - consumed_seen_ > high_water_.load(std::memory_order_relaxed)) {
      consumed_seen_ = consumed_.load(std::memory_order_acquire);
      const std::uint64_t depth = accepted - consumed_seen_;
      if (depth > high_water_.load(std::memory_order_relaxed)) high_water_.store(depth, std::memory_order_relaxed);
    }
    // Release pairs with the acquire in next_words: words and segments are seen with the new count.
    written_.store(written_.load(std::memory_order_relaxed) + words, std::memory_order_release);
  }

  void append(std::uint64_t word) {
    if (tail_ == nullptr || tail_next_ == tail_->size) next_segment();
    tail_->words()[tail_next_++].bits = word;
  }

  void next_segment() {
    tail_next_ = 0;
    if (tail_ != nullptr && tail_->next != head_.load(std::memory_order_acquire)) {
      tail_ = tail_->next;
      return;
    }
    const std::uint32_t size = tail_ == nullptr ? 6 : std::min<std::uint32_t>(tail_->size * 2 + 2, 510);
    auto* segment = static_cast<Segment*>(::operator new(sizeof(Segment) + size * sizeof(Word)));
    segment->size = size;
    if (tail_ == nullptr) {
      segment->next = segment;
      head_.store(segment, std::memory_order_relaxed);
    } else {
      segment->next = std::exchange(tail_->next, segment);
    }
    tail_ = segment;
  }

  void free_segments() noexcept {
    Segment* const first = head_.load(std::memory_order_relaxed);
    Segment* segment = first;
    while (segment != nullptr) {
      Segment* const next = segment->next == first ? nullptr : segment->next;
      ::operator delete(segment);
      segment = next;
    }
  }

  void append_gap(const Gap& gap) {
    for (const std::uint64_t word : {kGap, gap.first, gap.last, gap.count})
      append(word);
  }

  /// An event follows the open gap, so its place is fixed. Returns the number of words.
  std::uint64_t settle_gap() {
    loses_again_ = false;
    return gap_open_.load(std::memory_order_relaxed) ? settle_open_gap() : 0;
  }
  [[gnu::noinline]] std::uint64_t settle_open_gap() {
    const BiasedLock::Owner owner(rare_->lock);
    if (!gap_open_.load(std::memory_order_relaxed)) return 0;
    append_gap(rare_->open_gap);
    gap_open_.store(false, std::memory_order_relaxed);
    return kGapWords;
  }

  /// Where the next word is, or null.
  Word* next_words() noexcept {
    if (read_ == written_.load(std::memory_order_acquire)) return nullptr;
    Segment* head = head_.load(std::memory_order_relaxed);
    if (head_next_ == head->size) {
      head = head->next;
      // Release pairs with next_segment: the words were read before they are written again.
      head_.store(head, std::memory_order_release);
      head_next_ = 0;
    }
    return head->words() + head_next_;
  }
  std::uint64_t take_word() noexcept {
    const std::uint64_t word = next_words()->bits;
    ++head_next_;
    ++read_;
    return word;
  }
  Gap take_gap() noexcept {
    Gap gap;
    gap.first = take_word();
    gap.last = take_word();
    gap.count = take_word();
    return gap;
  }

  Lent lend_singles(Word* words, std::size_t limit) noexcept {
    const std::uint64_t there = std::min<std::uint64_t>(written_.load(std::memory_order_acquire) - read_,
                                                        head_.load(std::memory_order_relaxed)->size - head_next_);
    std::uint32_t count = 1;
    while (count < std::min<std::uint64_t>(limit, there) && (words[count].bits & kKindMask) == kEvent)
      ++count;
    for (std::uint32_t i = 0; i < count; ++i) {
      ::new (&words[i].event) EventRef(EventAccess::adopt(reinterpret_cast<const BusEvent*>(words[i].bits)));
      if (bounded_in_bytes_) bump(rare_->bytes_out, words[i].event->size_bytes());
    }
    head_next_ += count;
    read_ += count;
    bump(consumed_, count);
    singles_ = &words->event;
    single_count_ = count;
    return Lent(std::span<const EventRef>(singles_, count));
  }

  Lent take_open_gap() {
    if (!gap_open_.load(std::memory_order_acquire)) return {};
    const BiasedLock::Visitor visitor(rare_->lock);
    // Under the lock, because events may have been queued between the caller's look and the loss.
    if (!gap_open_.load(std::memory_order_relaxed) || read_ != written_.load(std::memory_order_acquire)) return {};
    gap_open_.store(false, std::memory_order_relaxed);
    return Lent(rare_->open_gap);
  }

  void retire() noexcept {
    for (; single_count_ != 0; --single_count_)
      (singles_++)->~EventRef();
    if (finished_ != nullptr) std::exchange(finished_, nullptr)->release();
  }

  // The producer's cache line.
  alignas(64) std::atomic<std::uint64_t> written_{0};
  std::atomic<std::uint64_t> accepted_{0};
  std::atomic<std::uint64_t> high_water_{0};
  std::uint64_t consumed_seen_ = 0;
  Segment* tail_ = nullptr;
  std::unique_ptr<Rare> rare_;
  std::uint32_t tail_next_ = 0;
  const std::uint32_t capacity_;
  const bool bounded_in_bytes_;
  std::atomic<bool> gap_open_{false};
  bool loses_again_ = false;

  // The consumer's.
  alignas(64) std::atomic<std::uint64_t> consumed_{0};
  std::atomic<Segment*> head_{nullptr};
  std::uint64_t read_ = 0;
  const EventBlock* run_ = nullptr;
  /// A run that was lent to its end, and single events that were lent: to be given back.
  const EventBlock* finished_ = nullptr;
  EventRef* singles_ = nullptr;
  std::uint32_t single_count_ = 0;
  std::uint32_t head_next_ = 0;
  std::uint32_t run_next_ = 0;
  std::uint32_t run_end_ = 0;
};
static_assert(sizeof(StreamQueue) == 128);

}  // namespace sharingbus::internal
