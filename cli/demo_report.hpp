#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "bus/sharing_bus.hpp"
#include "cli/demo_load.hpp"

namespace sharingbus::cli {

/// What the demo prints at the end.
struct DemoReport {
  std::string transport = "grpc";
  std::size_t connectors = 0;
  std::uint64_t channels = 0;
  DemoLoad::Result load;
  /// Taken when everything but the observers had ended.
  BusSnapshot bus;

  /// Answered requests per second.
  [[nodiscard]] double rps() const;
  /// Spec 1, guarantee 2, for everyone who subscribed, those that are gone included; and no request unaccounted for.
  [[nodiscard]] bool balanced() const;
};

/// To stdout. Sorts the latencies.
void print_json(DemoReport& report);
void print_table(DemoReport& report);

}  // namespace sharingbus::cli
