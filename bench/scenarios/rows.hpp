#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "bench/peers/common/bench.hpp"
#include "bench/scenarios/house.hpp"

namespace sharingbus::scenarios {

/// Whether PEERS, a comma-separated list, names the way; all are wanted without it.
[[nodiscard]] inline bool wanted(const Way& way) {
  const char* peers = std::getenv("PEERS");
  if (peers == nullptr) return true;
  return ("," + std::string(peers) + ",").find("," + std::string(way.peer) + ",") != std::string::npos;
}

/// Calls `run(row name, way, size)` for every size and way that is wanted.
template <class Run>
void each(const std::string& name, std::initializer_list<int> all_sizes, std::initializer_list<Way> ways, Run run) {
  for (const int size : ::bench::sizes(all_sizes)) {
    for (const Way& way : ways) {
      if (wanted(way) && size <= way.most_subscribers) run(name + "=" + std::to_string(size), way, size);
    }
  }
}

}  // namespace sharingbus::scenarios
