#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "bus/internal/drop_log.hpp"
#include "bus/internal/subscriber_queue.hpp"
#include "bus/subscription.hpp"

namespace sharingbus::internal {

/// The books of subscriptions that are gone; shared by the bus and every state, so that it outlives them all.
struct Ledger {
  std::atomic<std::uint64_t> subscriptions{0};
  std::atomic<std::uint64_t> matched{0};
  std::atomic<std::uint64_t> received{0};
  std::atomic<std::uint64_t> lagged{0};
  std::atomic<std::uint64_t> discarded{0};
};

/// What the bus and a `Subscription` share: queue or inline callback, counters, and the parked receiver.
/// Producer side = the dispatcher; consumer side = the receiver. Lives until both let go.
class SubscriberState {
 public:
  using Callback = std::function<void(const EventRef&)>;

  SubscriberState(SubscriptionId id, SubscriptionOptions options, Callback callback, std::shared_ptr<Ledger> ledger);
  ~SubscriberState();
  SubscriberState(const SubscriberState&) = delete;
  SubscriberState& operator=(const SubscriberState&) = delete;

  [[nodiscard]] SubscriptionId id() const noexcept { return id_; }
  [[nodiscard]] const std::string& name() const noexcept { return options_.name; }
  [[nodiscard]] const Filter& filter() const noexcept { return options_.filter; }
  [[nodiscard]] bool is_inline() const noexcept { return callback_ != nullptr; }
  [[nodiscard]] SubscriptionStats stats() const;

  // Producer side.
  enum class Offer : std::uint8_t { taken, lent, lost, ended };
  /// `taken`: the queue keeps one counted reference; else the caller keeps it. `ended`: lent, and the callback's
  /// exception ended the subscription.
  Offer offer(const BusEvent& event);
  /// An event that would have been offered gave way in the ingress.
  void lose(const BusEvent& event);
  /// After this nothing is offered any more.
  void end(CloseReason why) noexcept;
  /// Resumes a parked receiver if there is one.
  void wake();
  DropLog drop_log;
  bool touched = false;
  std::size_t table_position = ~std::size_t{0};

  // Consumer side.
  Received receive();
  std::size_t receive_batch(std::span<Received> out);
  Received wait(const std::chrono::steady_clock::time_point* deadline);
  bool park(std::function<void()> wake);
  bool unpark();

  // Any thread.
  /// The handle is gone: nobody will receive any more. Waits for a running inline callback, unless called from it.
  void let_go() noexcept;
  [[nodiscard]] bool is_let_go() const noexcept { return let_go_.load(std::memory_order_acquire); }

 private:
  Offer call_inline(const BusEvent& event);
  [[nodiscard]] bool readable() const noexcept;
  Received closed_if_ended() noexcept;

  const SubscriptionId id_;
  const SubscriptionOptions options_;
  const Callback callback_;
  const std::shared_ptr<Ledger> ledger_;
  SubscriberQueue queue_;

  // Written by the dispatcher.
  std::atomic<std::uint64_t> matched_{0};
  std::atomic<std::uint64_t> lagged_{0};
  std::atomic<std::uint64_t> callback_failures_{0};
  std::atomic<bool> ended_{false};
  CloseReason close_reason_ = CloseReason::unsubscribed;  // written before ended_
  // Written by the receiver, or the dispatcher for an inline subscription.
  alignas(64) std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> last_received_{0};
  std::atomic<bool> let_go_{false};
  std::atomic<bool> calling_{false};
  std::atomic<std::thread::id> caller_{};

  std::atomic<bool> parked_{false};
  std::mutex wake_mutex_;
  std::condition_variable wake_condition_;
  std::function<void()> wake_;
};

}  // namespace sharingbus::internal
