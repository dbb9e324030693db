#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include <absl/container/flat_hash_map.h>

#include "bus/async.hpp"
#include "connector/agent/affinity_table.hpp"
#include "connector/agent/balancer.hpp"
#include "connector/agent/connection_health.hpp"
#include "connector/agent/flow_state.hpp"
#include "connector/agent/internal/call.hpp"
#include "transport/link.hpp"

namespace sharingbus::connector::internal {

/// Inbound messages that a connection's queue has room for: its credit.
inline constexpr std::uint32_t kConnectionWindow = 1024;

/// What a link to the agent carries at most.
[[nodiscard]] inline std::size_t frame_limit(transport::AgentWire wire) noexcept {
  return wire == transport::AgentWire::protobuf ? transport::kAgentGrpcMessageBytesMax
                                                : transport::kAgentUdsFrameBytesMax;
}

/// One connection to an agent: what the pool knows of it, and the calls on it. Guarded by the pool's lock, but for what
/// is const.
struct PoolConnection : std::enable_shared_from_this<PoolConnection> {
  enum class State : std::uint8_t {
    /// Dialling, or waiting for the handshake's answer.
    connecting,
    /// Waiting for the agent to accept its configuration.
    configuring,
    up,
    /// Takes no new calls; ends when those it has are done.
    closing,
    closed,
  };

  /// Answers that may still come to calls that nobody waits for any more.
  static constexpr std::size_t kAbandonedMax = 1024;

  PoolConnection(ConnectionKey number, std::shared_ptr<Agent> of, Uuid link_uid, std::uint32_t errors_until_unhealthy)
      : key(number), uid(link_uid), agent(std::move(of)), health(errors_until_unhealthy) {}
  ~PoolConnection();
  PoolConnection(const PoolConnection&) = delete;
  PoolConnection& operator=(const PoolConnection&) = delete;

  /// Puts the call behind those of its id, and into the order of answers.
  void mark_sent(Call& call);
  /// The reverse, for the last of its id that was marked.
  void unmark_sent(Call& call);
  /// The first of that id that has no answer yet, taken out of the order of answers; may be an abandoned one. Null:
  /// there is none.
  [[nodiscard]] CallPtr take_answered(std::string_view correlation_id);
  /// The call, which was sent, is done without an answer; it leaves `sent` and stays in the order of answers.
  void abandon(Call& call);
  void forget_order();
  [[nodiscard]] bool holds(std::string_view correlation_id) const;

  /// Frames that the link certainly takes; O(1), looks at the link only when it may be none.
  [[nodiscard]] std::size_t room(std::size_t capacity);

  [[nodiscard]] bool healthy() const noexcept { return state == State::up && health.healthy() && reported_healthy; }
  [[nodiscard]] bool usable() const noexcept { return healthy() && !reported_draining && !flow.paused() && !ejected; }
  [[nodiscard]] std::size_t load() const noexcept { return sent.size() + waiting.size(); }
  [[nodiscard]] bool has_to_send() const noexcept {
    return !blocked && (!controls.empty() || (state == State::up && !waiting.empty() && sent.size() < concurrency));
  }

  const ConnectionKey key;
  const Uuid uid;
  const std::shared_ptr<Agent> agent;
  /// Held while it is being dialled: what arrives meanwhile waits until `link` is there.
  std::mutex dialling;
  std::shared_ptr<transport::Link> link;
  CallbackSubscription subscription;
  std::string peer;
  bool reverse = false;
  /// In place of one that was `unimplemented`.
  bool again = false;
  State state = State::connecting;
  bool was_up = false;
  transport::AgentWire wire = transport::AgentWire::json;
  std::size_t concurrency = 1;
  TimerId timer = 0;

  ConnectionHealth health;
  PeakEwma latency;
  FlowState flow;
  /// As the agent itself says.
  bool reported_healthy = true;
  bool reported_draining = false;
  bool ejected = false;
  // As the pool's gauges have it.
  bool counted_healthy = false;
  bool counted_paused = false;

  CallList waiting;
  CallList sent;
  /// Cancels, pings and the like: they go ahead of calls.
  std::deque<std::string> controls;
  bool flushing = false;
  /// The link was full, or is being asked whether it is, and has not said since that there is room.
  bool blocked = false;
  /// Inbound messages to grant credit for.
  std::uint32_t owed = 0;
  /// Config pushes that wait for an answer: by the correlation id of the `Configure`, or by the sequence of the `Ping`
  /// behind it. The initial configuration is the one with an empty push id.
  std::map<std::string, std::string, std::less<>> pushes;
  std::map<std::uint64_t, std::string> pings;

 private:
  void unchain(Call& call, Call* before);

  absl::flat_hash_map<std::string_view, Call*, std::hash<std::string_view>> by_id_;
  std::deque<CallPtr> abandoned_;
  std::uint64_t frames_queued_ = 0;
  std::size_t room_ = 0;

 public:
  void queued() {
    ++frames_queued_;
    if (room_ != 0) --room_;
  }
  /// The frame that was counted last is still ours.
  void refused() { --frames_queued_; }
};

}  // namespace sharingbus::connector::internal
