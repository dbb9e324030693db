#pragma once

#include <cstdint>
#include <thread>

#include "bench/peers/common/bench.hpp"
#include "bench/scenarios/house.hpp"
#include "bench/scenarios/load.hpp"

namespace sharingbus::scenarios {

/// What a publisher task does before it lets the others on its executor run.
inline constexpr std::uint64_t kQuantum = 128;

/// A publisher with at most `window` events that are not acknowledged yet, for `seconds`; then it waits for the rest.
template <class Acknowledged>
class Paced {
 public:
  Paced(Publisher publisher, const Load& load, std::uint64_t source, std::uint64_t window, double seconds,
        Acknowledged acknowledged)
      : publisher_(std::move(publisher)),
        load_(load),
        source_(source),
        window_(window),
        seconds_(seconds),
        acknowledged_(std::move(acknowledged)) {}

  /// Publishes up to `quantum` events, or until the window is full; false when everything is over.
  bool step(std::uint64_t quantum) {
    if (end_ == 0) end_ = ::bench::now_ns() + static_cast<std::uint64_t>(seconds_ * 1e9);
    if (closing_) return acknowledged_() < sent_;
    for (std::uint64_t i = 0; i < quantum; ++i) {
      if (sent_ - seen_ >= window_) {
        seen_ = acknowledged_();
        if (sent_ - seen_ >= window_) return true;
      }
      publisher_.publish(load_.event(sent_, source_));
      ++sent_;
      if (sent_ % 32 == 0 && ::bench::now_ns() >= end_) {
        closing_ = true;
        return true;
      }
    }
    return true;
  }

  /// On this thread, which lets others have it while the window is full.
  void run() {
    while (step(~std::uint64_t{0}))
      std::this_thread::yield();
  }

  [[nodiscard]] std::uint64_t sent() const noexcept { return sent_; }

 private:
  Publisher publisher_;
  const Load& load_;
  std::uint64_t source_;
  std::uint64_t window_;
  double seconds_;
  Acknowledged acknowledged_;
  alignas(128) std::uint64_t sent_ = 0;
  std::uint64_t seen_ = 0;
  std::uint64_t end_ = 0;
  bool closing_ = false;
};

}  // namespace sharingbus::scenarios
