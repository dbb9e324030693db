// 10 000 registrations dropped at once come back spread out (spec 2, O: jitter that survives the cap).
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "connector/registration/events.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "tests/connector/registration/test_connectors.hpp"
#include "tests/support/manual_clock.hpp"
#include "transport/memory/memory_network.hpp"

namespace sharingbus::test {
namespace {

constexpr int kMany = 10'000;

/// The greatest share of the attempts that fall into one 100 ms slot, in percent.
double fullest_slot(const std::vector<TimePoint>& attempts) {
  std::map<std::int64_t, std::size_t> slots;
  std::size_t most = 0;
  for (const TimePoint at : attempts)
    most = std::max(most, ++slots[at.time_since_epoch() / std::chrono::milliseconds(100)]);
  return 100.0 * static_cast<double>(most) / static_cast<double>(attempts.size());
}

// The first attempt of all fails at the same moment; their waits are at the cap from then on.
TEST(Herd, TenThousandAtTheCap_NoSlotHoldsMoreThanOneAndAHalfPercent) {
  boost::asio::io_context io;
  ManualTimerService time;
  SharingBus bus(BusOptions{.clock = &time, .log = nullptr});
  std::map<Uuid, std::uint64_t> attempts;
  std::vector<TimePoint> returns;
  const auto watcher = bus.subscribe_inline({.name = "watcher"}, [&](const EventRef& event) {
    if (!event->is<connector::RegistrationAttempt>()) return;
    if (++attempts[*event->routing().connector_uid] == 2) returns.push_back(time.now());
  });
  transport::MemoryNetwork network(io.get_executor());
  const auto dialer = network.make_dialer("nobody");
  connector::RunnerOptions options;
  options.reconnect_delay = options.max_backoff;
  options.log = nullptr;
  std::vector<connector::Registration> registrations;
  const auto connector = echo();
  for (int i = 0; i < kMany; ++i)
    registrations.push_back({{.tenant = "acme", .type = "echo", .instance = std::to_string(i)}, connector});
  connector::MultiConnectorRunner runner(io.get_executor(), bus, time, *dialer, options, std::move(registrations));
  bool ended = false;
  runner.run([&](const Error&) { ended = true; });
  const auto settle = [&] {
    io.restart();
    io.poll();
  };
  settle();
  for (int step = 0; step < 2'000 && returns.size() < kMany; ++step) {
    time.advance(std::chrono::milliseconds(50));
    settle();
  }
  ASSERT_EQ(returns.size(), static_cast<std::size_t>(kMany));
  EXPECT_LE(fullest_slot(returns), 1.5);
  runner.shutdown_handle().shutdown();
  settle();
  EXPECT_TRUE(ended);
  EXPECT_EQ(time.pending(), 0U);
}
}  // namespace
}  // namespace sharingbus::test
