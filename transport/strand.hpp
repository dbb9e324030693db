#pragma once

#include <atomic>
#include <concepts>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/asio/require.hpp>

#include "transport/turn.hpp"

namespace sharingbus::transport {

/// An executor whose type is erased, and which is asked once what can be asked of it: `require`, `prefer` and `query`
/// of an `any_io_executor` allocate, and Asio uses them in every operation. Copies are cheap and share what they hold.
///
/// Outstanding work is not tracked: a posted function and a pending operation of a socket are work by themselves.
///
/// One that takes part `in_turns` leaves what is posted within a `Turn` to its end, and so, on a thread that is none of
/// the executor's, what might be done at once.
class ErasedExecutor {
 public:
  /// Of no other type, since for a copy it would be looked at whether this is an executor, and so in a circle.
  template <std::same_as<boost::asio::any_io_executor> Executor>
  explicit ErasedExecutor(const Executor& executor, bool in_turns = false)
      : in_turns_(in_turns),
        held_(std::make_shared<const Held>(Held{executor,
                                                boost::asio::require(executor, boost::asio::execution::blocking.never),
                                                boost::asio::query(executor, boost::asio::execution::context)})) {}

  boost::asio::execution_context& query(boost::asio::execution::context_t /*property*/) const noexcept {
    return held_->context;
  }
  boost::asio::execution::blocking_t query(boost::asio::execution::blocking_t /*property*/) const noexcept {
    if (never_) return boost::asio::execution::blocking.never;
    return boost::asio::execution::blocking.possibly;
  }
  [[nodiscard]] ErasedExecutor require(boost::asio::execution::blocking_t::never_t /*property*/) const noexcept {
    return {held_, in_turns_, true};
  }
  [[nodiscard]] ErasedExecutor require(boost::asio::execution::blocking_t::possibly_t /*property*/) const noexcept {
    return {held_, in_turns_, false};
  }
  template <class Function>
  void execute(Function&& function) const {
    if (never_) return execute_never(std::forward<Function>(function));
    if (in_turns_ && Turn::elsewhere()) {
      if (Turn* const turn = Turn::open()) return turn->keep(std::forward<Function>(function));
    }
    if (Turn::Beginning::take()) return std::forward<Function>(function)();
    held_->possibly.execute(std::forward<Function>(function));
  }
  /// As if it were required never to block.
  template <class Function>
  void execute_never(Function&& function) const {
    if (in_turns_) {
      if (Turn* const turn = Turn::open()) return turn->keep(std::forward<Function>(function));
    }
    held_->never.execute(std::forward<Function>(function));
  }
  friend bool operator==(const ErasedExecutor& a, const ErasedExecutor& b) noexcept {
    return a.held_ == b.held_ && a.never_ == b.never_;
  }
  friend bool operator!=(const ErasedExecutor& a, const ErasedExecutor& b) noexcept { return !(a == b); }

 private:
  struct Held {
    boost::asio::any_io_executor possibly;
    boost::asio::any_io_executor never;
    boost::asio::execution_context& context;
  };
  ErasedExecutor(std::shared_ptr<const Held> held, bool in_turns, bool never) noexcept
      : in_turns_(in_turns), never_(never), held_(std::move(held)) {}

  bool in_turns_ = false;
  bool never_ = false;
  std::shared_ptr<const Held> held_;
};

/// What the handles of a strand share: the functions that wait. Kept alive by them and by its run on the executor.
class StrandQueue {
 public:
  explicit StrandQueue(ErasedExecutor executor) noexcept : executor_(std::move(executor)) {}
  StrandQueue(const StrandQueue&) = delete;
  StrandQueue& operator=(const StrandQueue&) = delete;

  [[nodiscard]] const ErasedExecutor& executor() const noexcept { return executor_; }
  [[nodiscard]] bool running_in_this_thread() const noexcept {
    for (const Frame* frame = t_top; frame != nullptr; frame = frame->outer) {
      if (frame->queue == this) return true;
    }
    return false;
  }
  /// `never`: not within this call.
  template <class Function>
  static void execute(const std::shared_ptr<StrandQueue>& queue, Function&& function, bool never) {
    using Held = std::decay_t<Function>;
    if (!never && queue->running_in_this_thread()) {
      Held held(std::forward<Function>(function));
      return held();
    }
    Item* const item = Kept<Held>::make(std::forward<Function>(function));
    if (queue->add(item)) schedule(queue, item, never);
  }

 private:
  struct Item {
    Item* next = nullptr;
    /// Frees the item, and calls its function unless it is to be forgotten.
    void (*end)(Item*, bool call) = nullptr;
  };
  template <class Function>
  struct Kept final : Item {
    using Allocator = boost::asio::recycling_allocator<Kept>;
    template <class Given>
    explicit Kept(Given&& given) : function(std::forward<Given>(given)) {}
    template <class Given>
    [[nodiscard]] static Item* make(Given&& given) {
      Kept* const made = ::new (static_cast<void*>(Allocator().allocate(1))) Kept(std::forward<Given>(given));
      made->end = [](Item* item, bool call) {
        auto* const self = static_cast<Kept*>(item);
        Function taken(std::move(self->function));
        self->~Kept();
        Allocator().deallocate(self, 1);
        if (call) taken();
      };
      return made;
    }
    Function function;
  };
  /// The strand at work on this thread.
  struct Frame {
    explicit Frame(const StrandQueue* of) noexcept : queue(of), outer(std::exchange(t_top, this)) {}
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    ~Frame() { t_top = outer; }
    const StrandQueue* const queue;
    const Frame* const outer;
  };
  /// One run on the executor: what was there when it was asked for. Should the executor throw it away, what waits goes
  /// too, for it may keep its own strand.
  class Run {
   public:
    Run(std::shared_ptr<StrandQueue> queue, Item* items) noexcept : queue_(std::move(queue)), items_(items) {}
    Run(Run&& other) noexcept : queue_(std::move(other.queue_)), items_(std::exchange(other.items_, nullptr)) {}
    Run& operator=(Run&&) = delete;
    ~Run() {
      if (queue_ != nullptr) queue_->drop(items_);
    }
    void operator()() {
      const auto queue = std::move(queue_);
      run(queue, std::exchange(items_, nullptr));
    }

   private:
    std::shared_ptr<StrandQueue> queue_;
    Item* items_;
  };

  static void schedule(const std::shared_ptr<StrandQueue>& queue, Item* items, bool never) {
    const ErasedExecutor& executor = queue->executor_;
    if (never) return executor.execute_never(Run(queue, items));
    executor.execute(Run(queue, items));
  }
  static void run(const std::shared_ptr<StrandQueue>& queue, Item* items) {
    // Also when one of them throws.
    struct After {
      ~After() {
        if (Item* const next = queue->take_waiting(rest)) schedule(queue, next, true);
      }
      const std::shared_ptr<StrandQueue>& queue;
      Item* rest;
    } after{queue, items};
    const Frame frame(queue.get());
    while (after.rest != nullptr) {
      Item* const item = std::exchange(after.rest, after.rest->next);
      item->end(item, true);
    }
  }
  /// Stands at the end of the list while there is a run.
  [[nodiscard]] Item* busy() noexcept { return &busy_; }
  /// True when it was idle: the item is not in the list then, but the first of a run.
  [[nodiscard]] bool add(Item* item) noexcept {
    Item* before = waiting_.load(std::memory_order_relaxed);
    do {
      item->next = before;
    } while (!waiting_.compare_exchange_weak(before, before == nullptr ? busy() : item, std::memory_order_acq_rel,
                                             std::memory_order_relaxed));
    return before == nullptr;
  }
  /// What is left of a run, and behind it what came meanwhile, in order. Null when there is nothing: it is idle then.
  [[nodiscard]] Item* take_waiting(Item* rest) noexcept {
    Item* came = waiting_.load(std::memory_order_relaxed);
    while (!waiting_.compare_exchange_weak(came, came == busy() && rest == nullptr ? nullptr : busy(),
                                           std::memory_order_acq_rel, std::memory_order_relaxed)) {
    }
    Item* ordered = nullptr;
    while (came != busy()) {
      Item* const item = std::exchange(came, came->next);
      item->next = std::exchange(ordered, item);
    }
    Item** last = &rest;
    while (*last != nullptr)
      last = &(*last)->next;
    *last = ordered;
    return rest;
  }
  void drop(Item* items) noexcept {
    for (; items != nullptr; items = take_waiting(items)) {
      Item* const item = std::exchange(items, items->next);
      item->end(item, false);
    }
  }

  static inline constinit thread_local const Frame* t_top = nullptr;

  const ErasedExecutor executor_;
  Item busy_;
  /// The last that came, each before the next; null: idle.
  std::atomic<Item*> waiting_{nullptr};
};

/// Runs functions one at a time, in order, on an executor whose type is erased. `asio::strand<any_io_executor>` does
/// the same with some forty allocations more for a request and its answer.
///
/// Has nothing but what an executor needs, as Beast takes a strand of Asio's for an executor of the older kind. Small
/// enough for an `any_io_executor` to hold without an allocation.
class Strand {
 public:
  /// Of no other type, as above.
  template <std::same_as<boost::asio::any_io_executor> Executor>
  explicit Strand(const Executor& executor) : Strand(ErasedExecutor(executor)) {}
  /// Of an executor that is erased already, which saves asking it again.
  explicit Strand(ErasedExecutor executor) : queue_(std::make_shared<StrandQueue>(std::move(executor))) {}

  boost::asio::execution_context& query(boost::asio::execution::context_t property) const noexcept {
    return queue_->executor().query(property);
  }
  boost::asio::execution::blocking_t query(boost::asio::execution::blocking_t /*property*/) const noexcept {
    if (never_) return boost::asio::execution::blocking.never;
    return boost::asio::execution::blocking.possibly;
  }
  [[nodiscard]] Strand require(boost::asio::execution::blocking_t::never_t /*property*/) const noexcept {
    return {queue_, true};
  }
  [[nodiscard]] Strand require(boost::asio::execution::blocking_t::possibly_t /*property*/) const noexcept {
    return {queue_, false};
  }
  template <class Function>
  void execute(Function&& function) const {
    StrandQueue::execute(queue_, std::forward<Function>(function), never_);
  }
  [[nodiscard]] bool running_in_this_thread() const noexcept { return queue_->running_in_this_thread(); }
  friend bool operator==(const Strand& a, const Strand& b) noexcept {
    return a.queue_ == b.queue_ && a.never_ == b.never_;
  }
  friend bool operator!=(const Strand& a, const Strand& b) noexcept { return !(a == b); }

 private:
  Strand(std::shared_ptr<StrandQueue> queue, bool never) noexcept : queue_(std::move(queue)), never_(never) {}

  std::shared_ptr<StrandQueue> queue_;
  bool never_ = false;
};
static_assert(sizeof(Strand) <= 3 * sizeof(void*));

}  // namespace sharingbus::transport
