#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::connector {

struct ConfigPusherOptions {
  /// From the first delivery to an acknowledgement; a push that has none by then expires.
  Duration ack_timeout = std::chrono::seconds(10);
  /// A push that was delivered and not acknowledged is delivered again after this.
  Duration retry_interval = std::chrono::seconds(2);
  /// Deliveries after the first.
  std::uint32_t max_retries = 3;
  /// Pushes of one agent without an end; further ones are refused.
  std::size_t max_pending_per_agent = 100;
  /// How many ended pushes are remembered.
  std::size_t max_results = 1000;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// A configuration for an agent.
struct AgentConfig {
  /// JSON text.
  std::string config_json;
  /// Empty: the pusher counts, `1`, `2`, …
  std::string version{};
};

enum class PushStatus : std::uint8_t {
  /// Not delivered yet.
  pending,
  /// Delivered, not acknowledged.
  sent,
  acknowledged,
  /// The agent refused it, or it does not encode, or is larger than what connections to the agent carry.
  failed,
  /// Never acknowledged.
  expired,
  /// The agent was removed.
  abandoned,
};
[[nodiscard]] std::string_view to_string(PushStatus status) noexcept;

struct PushResult {
  std::string push_id;
  std::string agent_id;
  std::string version;
  PushStatus status = PushStatus::pending;
  std::uint32_t attempts = 0;
  /// Why, when it failed.
  std::string error;
};

/// Which configuration each agent is to get, and what has become of it: ids, versions, deliveries and retries, without
/// sending anything itself. Whoever drives it delivers what `due` says and tells what came of it. O(pushes of the
/// agent) unless noted. One thread at a time. (Spec 4, Config and metrics.)
class ConfigPusher {
 public:
  explicit ConfigPusher(ConfigPusherOptions options) : options_(options) {}

  void add_agent(std::string_view agent_id, bool supports_push);
  /// Its pushes without an end are abandoned.
  void remove_agent(std::string_view agent_id);

  /// The push id. Errors: `not_found`, `unimplemented` (the agent takes no config pushes), `capacity_exceeded`.
  Result<std::string> push(std::string_view agent_id, AgentConfig update, TimePoint now);
  /// To each agent that supports it and has room; the push ids.
  std::vector<std::string> push_all(const AgentConfig& update, TimePoint now);

  struct Delivery {
    std::string push_id;
    std::string agent_id;
    AgentConfig update;
  };
  /// What is to be delivered now, first and repeated deliveries, oldest first; they count as attempts. O(pushes).
  [[nodiscard]] std::vector<Delivery> due(TimePoint now);
  /// A delivery did not go out; it is due again after `retry_interval` and counts all the same.
  void not_delivered(std::string_view push_id);
  /// False for an id that is unknown or has an end already.
  bool acknowledge(std::string_view push_id, bool accepted, std::string_view error);
  /// Ends what waited too long; those that ended. O(pushes).
  std::vector<PushResult> expire(TimePoint now);
  /// When `due` or `expire` will next have something.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  /// Pushes without an end.
  [[nodiscard]] std::size_t pending_count() const noexcept { return open_.size(); }
  /// All that are known, oldest first; O(pushes).
  [[nodiscard]] std::vector<PushResult> results() const;
  [[nodiscard]] std::optional<PushResult> result(std::string_view push_id) const;
  /// What an unfinished push carries.
  [[nodiscard]] std::optional<AgentConfig> config(std::string_view push_id) const;

 private:
  struct Push {
    PushResult result;
    std::string config_json;
    TimePoint made{};
    TimePoint next{};
  };
  struct Agent {
    bool supports_push = false;
    std::size_t open = 0;
  };
  using Pushes = std::map<std::uint64_t, Push>;

  [[nodiscard]] static std::uint64_t number_of(std::string_view push_id);
  [[nodiscard]] Pushes::iterator find(std::string_view push_id);
  [[nodiscard]] bool last_attempt(const Push& push) const { return push.result.attempts > options_.max_retries; }
  [[nodiscard]] TimePoint expiry(const Push& push) const { return push.made + options_.ack_timeout; }
  Pushes::iterator end(Pushes::iterator push, PushStatus status, std::string_view error);
  std::string add(std::string_view agent_id, Agent& agent, const AgentConfig& update, TimePoint now);

  ConfigPusherOptions options_;
  std::map<std::string, Agent, std::less<>> agents_;
  /// By number, which is the order of their making.
  Pushes open_;
  std::deque<PushResult> ended_;
  std::uint64_t last_ = 0;
  std::uint64_t last_version_ = 0;
};

}  // namespace sharingbus::connector
