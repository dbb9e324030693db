#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::connector {

/// Who is restarted when a service fails, as in Erlang/OTP.
enum class SupervisionStrategy : std::uint8_t {
  /// No supervision: the failed service reconnects, as often as it likes.
  none,
  /// The failed service, within the restart intensity.
  one_for_one,
  /// Besides it those that were started after it: they are taken down, and come back one after another, in their order,
  /// once it is back.
  rest_for_one,
};

/// Never restarts a service whose `auto_reconnect` is off.
struct SupervisionOptions {
  SupervisionStrategy strategy = SupervisionStrategy::none;
  /// A service that would need more restarts than this within `window` is given up.
  std::uint32_t max_restarts = 5;
  Duration window = std::chrono::seconds(60);

  bool operator==(const SupervisionOptions&) const = default;
};

/// Restarts of one service within a sliding window. No clock; one owner.
class RestartIntensity {
 public:
  RestartIntensity(std::uint32_t max_restarts, Duration window) : max_(max_restarts), window_(window) {}

  /// Counts a restart at `now`. False, and uncounted, when there were `max_restarts` within the window before it.
  bool allow(TimePoint now);
  [[nodiscard]] std::size_t recent() const noexcept { return restarts_.size(); }

 private:
  std::uint32_t max_;
  Duration window_;
  std::vector<TimePoint> restarts_;
};

/// A service and the names of those that must run before it.
struct Dependent {
  std::string name;
  std::vector<std::string> depends_on;
};

/// Positions in `services` in an order in which each comes after what it depends on; otherwise in the order given.
/// Errors: `invalid_argument` naming what is unknown, twice there, or the circle (`a -> b -> a`). O(n log n + edges).
[[nodiscard]] Result<std::vector<std::size_t>> start_order(const std::vector<Dependent>& services);

}  // namespace sharingbus::connector
