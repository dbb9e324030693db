#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "bus/sharing_bus.hpp"
#include "connector/agent/agent_server_options.hpp"
#include "connector/registration/backoff.hpp"
#include "transport/dialer.hpp"

namespace sharingbus::connector::internal {

class AgentServerCore;

/// Keeps one connection to a proxy: dials, registers, and comes back with backoff. One step follows another, on the
/// core's executor; `stop` is for any thread. Owned by the core.
class ReverseSlot final : public std::enable_shared_from_this<ReverseSlot> {
 public:
  ReverseSlot(const std::shared_ptr<AgentServerCore>& core, SharingBus& bus, std::shared_ptr<transport::Dialer> dialer,
              ReverseOptions options, std::string registration);

  void dial();
  /// No attempt follows. Any thread.
  void stop();

 private:
  /// What is to happen after the stream that was registered at this time, or never, has ended.
  Duration ended(std::optional<TimePoint> registered_at);

  const std::weak_ptr<AgentServerCore> core_;
  SharingBus& bus_;
  const std::shared_ptr<transport::Dialer> dialer_;
  const ReverseOptions options_;
  const std::string registration_;
  Backoff backoff_;
  std::uint64_t attempt_ = 0;
  std::mutex mutex_;
  TimerId timer_ = 0;
  bool stopped_ = false;
};

}  // namespace sharingbus::connector::internal
