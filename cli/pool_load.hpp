#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "bus/base/timer.hpp"
#include "connector/agent/agent_pool.hpp"

namespace sharingbus::cli {

/// Asks an agent about requests, `concurrency` at a time, and checks its decisions by the rules of `sharingbus agent`:
/// every request whose index ends in 3 is malicious, every fifth has a body chunk, every twentieth's is an attack.
/// Asks again in the thread that brings an answer, whichever that is.
class PoolLoad {
 public:
  struct Result {
    std::uint64_t requests = 0;
    std::uint64_t blocked = 0;
    /// Decided otherwise than the rules say, or not at all.
    std::uint64_t wrong = 0;
    /// Of the wrong: without an answer.
    std::uint64_t failed = 0;
    /// From the first call to the last answer.
    Duration elapsed{};
    /// Of whole requests, in ns.
    std::vector<std::uint64_t> latencies_ns;
    /// What was wrong first.
    std::string first_wrong;
  };

  PoolLoad(connector::AgentPool& pool, const Clock& clock, std::string agent_id, std::uint64_t requests,
           std::uint64_t concurrency);
  PoolLoad(const PoolLoad&) = delete;
  PoolLoad& operator=(const PoolLoad&) = delete;

  /// Calls `done` once, on the pool's executor, when every request is done, or `interrupt` was called and what was
  /// under way has ended.
  void start(std::function<void()> done);
  /// Begins no more. Any thread.
  void interrupt() {
    const std::scoped_lock lock(mutex_);
    requests_ = begun_;
  }
  /// After `done`.
  [[nodiscard]] const Result& result() const noexcept { return result_; }

 private:
  /// One of those under way at once.
  struct Lane {
    std::uint64_t index = 0;
    TimePoint begun_at{};
    std::string id;
  };

  // With the mutex held.
  void begin(Lane& lane);
  void headers_answered(Lane& lane, const Error& error, const connector::AgentReply& reply);
  void chunk_answered(Lane& lane, const Error& error, const connector::AgentReply& reply);
  /// Whether there is an answer, counted as wrong when there is none.
  bool answered(const Lane& lane, const Error& error);
  void expect_block(const Lane& lane, const connector::AgentReply& reply, int status);
  void wrong(const Lane& lane, const std::string& what);
  void end(Lane& lane);

  connector::AgentPool& pool_;
  const Clock& clock_;
  const std::string agent_id_;
  std::mutex mutex_;
  std::uint64_t requests_;
  std::uint64_t begun_ = 0;
  TimePoint started_at_{};
  std::vector<Lane> lanes_;
  std::size_t busy_ = 0;
  std::function<void()> done_;
  transport::agent_messages::RequestHeaders harmless_;
  transport::agent_messages::RequestHeaders malicious_;
  transport::agent_messages::RequestBodyChunk chunk_;
  Result result_;
};

}  // namespace sharingbus::cli
