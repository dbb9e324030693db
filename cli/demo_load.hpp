#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/strand.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bus/async.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/gateway/gateway.hpp"

namespace sharingbus::cli {

/// Sends requests through a gateway, `concurrency` at a time, and watches the bus meanwhile with two observers:
/// `audit`, which sees every completed request, and `slow`, which takes one event for every hundred requests from a
/// queue of 16. A request counts as done when it was answered *and* audited, so at most `concurrency` events can be
/// in the audit's queue, which is its capacity: it lags 0 by construction.
class DemoLoad : public std::enable_shared_from_this<DemoLoad> {
 public:
  struct Result {
    std::uint64_t requests = 0;
    std::uint64_t answered = 0;
    std::uint64_t failed = 0;
    std::uint64_t audited = 0;
    /// From the first request to the last answer.
    Duration elapsed{};
    /// Of answered requests, from the call to the answer, in ns.
    std::vector<std::uint64_t> latencies_ns;
    /// Text of the first failure.
    std::string first_failure;
  };

  DemoLoad(boost::asio::any_io_executor executor, SharingBus& bus, const Clock& clock, connector::Gateway& gateway,
           std::vector<std::string> addresses, std::uint64_t requests, std::uint64_t concurrency);

  /// Calls `done` once, on the executor, when every request is done, or `interrupt` was called and what was under way
  /// has ended.
  void start(std::function<void()> done);
  /// Sends no more. Any thread.
  void interrupt();
  /// Requests done so far. Any thread.
  [[nodiscard]] std::uint64_t progress() const noexcept { return progress_.load(std::memory_order_relaxed); }
  /// After `done`.
  [[nodiscard]] const Result& result() const noexcept { return result_; }

 private:
  void pump();
  void issue();
  void answered(const Error& error, const connector::ExecuteReply& reply, TimePoint issued_at, std::uint64_t index);
  void audit(const Received& received);
  [[nodiscard]] std::uint64_t done_count() const;

  const boost::asio::strand<boost::asio::any_io_executor> strand_;
  SharingBus& bus_;
  const Clock& clock_;
  connector::Gateway& gateway_;
  const std::vector<std::string> addresses_;
  const std::uint64_t concurrency_;
  std::uint64_t to_issue_;
  TimePoint started_at_{};
  std::function<void()> done_;
  Result result_;
  std::atomic<std::uint64_t> progress_{0};
  CallbackSubscription audit_;
  Subscription slow_;
};

}  // namespace sharingbus::cli
