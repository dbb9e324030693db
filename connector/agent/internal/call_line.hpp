#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <boost/container/small_vector.hpp>

#include "bus/base/timer.hpp"
#include "bus/event.hpp"

namespace sharingbus::connector::internal {

/// One event that wants an answer.
struct AgentCall {
  enum class State : std::uint8_t {
    waiting,
    running,
    /// Runs on, but nobody waits for it any more: it was answered, or is not to be.
    lingering,
    ended,
  };

  virtual ~AgentCall() = default;

  EventRef event;
  /// The correlation id, and the name of the event's type; both live in `event`.
  std::string_view id;
  std::string_view kind;
  TimePoint arrived{};
  State state = State::waiting;

  /// Somebody waits for its answer.
  [[nodiscard]] bool wanted() const noexcept { return state == State::waiting || state == State::running; }
};
using AgentCallPtr = std::shared_ptr<AgentCall>;

/// Which calls of a connection may run: those of one id one after another, in order; those of different ids at once, up
/// to a limit, in the order in which they became ready. No I/O, no clock. One strand.
class CallLine {
 public:
  explicit CallLine(std::size_t running_max) : running_max_(running_max) {}

  void push(AgentCallPtr call);
  /// The next call that may run, which from now on does; null: none.
  [[nodiscard]] AgentCallPtr start();
  /// Whether `start` would give one.
  [[nodiscard]] bool ready() const noexcept { return !held_ && running_ < running_max_ && !ready_.empty(); }
  /// A running or lingering call has returned.
  void ended(AgentCall& call);
  /// Nothing starts until `release`.
  void hold() noexcept { held_ = true; }
  void release() noexcept { held_ = false; }

  /// All of an id that are wanted: those that waited are ended by that, those that run linger.
  [[nodiscard]] std::vector<AgentCallPtr> abandon(std::string_view id);
  [[nodiscard]] std::vector<AgentCallPtr> abandon_all();
  /// The same for those that arrived at `until` or before.
  [[nodiscard]] std::vector<AgentCallPtr> abandon_older(TimePoint until);
  /// When the oldest that is wanted arrived.
  [[nodiscard]] std::optional<TimePoint> oldest();

  /// Running and lingering.
  [[nodiscard]] std::size_t running() const noexcept { return running_; }
  [[nodiscard]] std::size_t waiting() const noexcept { return waiting_; }
  [[nodiscard]] bool idle() const noexcept { return running_ + waiting_ == 0; }

 private:
  /// The calls of one id.
  struct Lane {
    AgentCallPtr running;
    /// Mostly there is one.
    boost::container::small_vector<AgentCallPtr, 1> waiting;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>()(text); }
  };
  using Lanes = std::unordered_map<std::string, Lane, Hash, std::equal_to<>>;

  void abandon_lane(Lane& lane, std::vector<AgentCallPtr>& out);
  void forget_done();
  void erase_if_empty(Lanes::iterator lane);

  const std::size_t running_max_;
  Lanes lanes_;
  /// Lanes whose first call may run.
  std::deque<Lanes::value_type*> ready_;
  /// All calls in the order of arrival; those that are not wanted any more are swept out now and then.
  std::deque<AgentCallPtr> arrivals_;
  std::size_t running_ = 0;
  std::size_t waiting_ = 0;
  bool held_ = false;
};

}  // namespace sharingbus::connector::internal
