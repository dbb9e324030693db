#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

namespace sharingbus::connector {

/// What a paused agent means for a call. (Spec 4, Flow control.)
enum class FlowControlMode : std::uint8_t {
  /// The call fails with `capacity_exceeded`.
  fail_closed,
  /// The call is answered `allow` without asking the agent.
  fail_open,
  /// The call waits for the agent to resume, up to a limit, then fails.
  wait_and_retry,
};
[[nodiscard]] std::string_view to_string(FlowControlMode mode) noexcept;
[[nodiscard]] std::optional<FlowControlMode> parse_flow_control_mode(std::string_view name) noexcept;

/// Whether a connection's agent takes events, as it said last: as a whole, or for single requests. O(1); keeps at most
/// `kRequestsMax` paused requests, the whole is paused while there would be more. One thread at a time.
class FlowState {
 public:
  static constexpr std::size_t kRequestsMax = 1024;

  /// What the agent may say.
  enum class Action : std::uint8_t { pause, resume, update_capacity };
  enum class Change : std::uint8_t { none, paused, resumed };

  /// `correlation_id` empty: the connection as a whole. `update_capacity` pauses when there is none left, and resumes
  /// otherwise. Returns what it means for whoever waits; a single request's resuming counts.
  Change apply(Action action, std::string_view correlation_id, std::optional<std::uint64_t> capacity);
  /// A request has ended, paused or not.
  void forget(std::string_view correlation_id);

  [[nodiscard]] bool paused() const noexcept { return paused_ || requests_.size() > kRequestsMax; }
  [[nodiscard]] bool paused(std::string_view correlation_id) const {
    return paused() || (!requests_.empty() && requests_.contains(std::string(correlation_id)));
  }

 private:
  bool paused_ = false;
  std::unordered_set<std::string> requests_;
};

}  // namespace sharingbus::connector
