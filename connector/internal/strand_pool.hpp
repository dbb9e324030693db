#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

#include "bus/async.hpp"
#include "connector/internal/heartbeat_rounds.hpp"
#include "transport/strand.hpp"

namespace sharingbus::connector::internal {

/// A strand that many streams work on, and one worker for what the bus has for them: messages of different streams that
/// arrive together cost one wake-up. Nothing on it may block, for a transport that has brought a message works on it
/// itself (`transport::Turn`), on a thread of gRPC even. A handle; copies are the same strand.
struct SharedStrand {
  SharedStrand(SharingBus& bus, const boost::asio::any_io_executor& executor)
      : strand(transport::ErasedExecutor(executor, true)), callbacks(bus, strand) {}

  transport::Strand strand;
  CallbackGroup callbacks;
  /// On the strand.
  std::shared_ptr<HeartbeatRounds> rounds = std::make_shared<HeartbeatRounds>();
};

/// As many of them as there are processors, taken in turns. Any thread. The bus must outlive the use of their
/// callbacks.
class StrandPool {
 public:
  StrandPool(SharingBus& bus, const boost::asio::any_io_executor& executor) {
    const std::size_t count = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 64);
    strands_.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
      strands_.emplace_back(bus, executor);
  }

  [[nodiscard]] SharedStrand& next() noexcept {
    return strands_[turn_.fetch_add(1, std::memory_order_relaxed) % strands_.size()];
  }

 private:
  std::vector<SharedStrand> strands_;
  std::atomic<std::size_t> turn_{0};
};

}  // namespace sharingbus::connector::internal
