#include "connector/lifecycle/reconnect_policy.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sharingbus::connector {

ReconnectPolicy::ReconnectPolicy(ReconnectOptions options, Backoff::Random random)
    : options_(options), random_(std::move(random)) {}

Duration ReconnectPolicy::delay(std::uint32_t attempts) const {
  const auto cap = static_cast<double>(options_.max_delay.count());
  const double exact = static_cast<double>(options_.delay.count()) * std::pow(options_.multiplier, attempts);
  // Beyond what the cap leaves of any spread; also where the power overflowed.
  if (!(exact * (1 - options_.jitter) < cap)) return options_.max_delay;
  const auto spread = static_cast<std::uint64_t>(exact * options_.jitter);
  const double drawn = spread == 0 ? 0 : static_cast<double>(random_(2 * spread)) - static_cast<double>(spread);
  const double wait = std::max(std::round(exact + drawn), 0.0);
  return wait < cap ? Duration(static_cast<Duration::rep>(wait)) : options_.max_delay;
}

}  // namespace sharingbus::connector
