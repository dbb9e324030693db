#include "connector/agent/flow_state.hpp"

namespace sharingbus::connector {

std::string_view to_string(FlowControlMode mode) noexcept {
  switch (mode) {
    case FlowControlMode::fail_closed:
      return "fail_closed";
    case FlowControlMode::fail_open:
      return "fail_open";
    case FlowControlMode::wait_and_retry:
      return "wait_and_retry";
  }
  return "unknown";
}

std::optional<FlowControlMode> parse_flow_control_mode(std::string_view name) noexcept {
  for (const auto mode : {FlowControlMode::fail_closed, FlowControlMode::fail_open, FlowControlMode::wait_and_retry}) {
    if (to_string(mode) == name) return mode;
  }
  return std::nullopt;
}

FlowState::Change FlowState::apply(Action action, std::string_view correlation_id,
                                   std::optional<std::uint64_t> capacity) {
  const bool pause = action == Action::pause || (action == Action::update_capacity && capacity == std::uint64_t{0});
  const bool was_paused = paused();
  bool changed = false;
  if (correlation_id.empty()) {
    changed = paused_ != pause;
    paused_ = pause;
  } else if (pause) {
    if (requests_.size() <= kRequestsMax) requests_.emplace(correlation_id);
  } else {
    changed = requests_.erase(std::string(correlation_id)) != 0;
  }
  if (paused() != was_paused) return paused() ? Change::paused : Change::resumed;
  return changed && !pause && !paused() ? Change::resumed : Change::none;
}

void FlowState::forget(std::string_view correlation_id) {
  if (!requests_.empty()) requests_.erase(std::string(correlation_id));
}

}  // namespace sharingbus::connector
