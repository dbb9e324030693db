#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "bus/sharing_bus.hpp"

namespace sharingbus::scenarios {

/// At most this many events are published that the slowest subscriber has not taken.
inline constexpr std::uint64_t kWindow = 512;

/// The payload of every program here: 64 bytes.
struct Tick {
  static constexpr std::string_view event_name = "bench.tick";
  static constexpr EventKind event_kind = EventKind::stream;
  std::uint64_t seq = 0;
  std::uint64_t ts = 0;
  std::uint64_t src = 0;
  std::array<std::uint8_t, 40> body{};
};
static_assert(sizeof(Tick) == 64);
inline constexpr auto kBody = [] {
  std::array<std::uint8_t, 40> body{};
  body.fill(7);
  return body;
}();

using IdPair = std::pair<std::string, std::string>;

/// A check of the program's own counts failed: nothing that it measured is worth a row.
[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "sharingbus_scenarios: %s\n", what.c_str());
  std::_Exit(1);
}

inline void require(bool holds, const char* what) {
  if (!holds) fail(what);
}

/// What a publisher varies from event to event: nothing, connector uids, or pairs of connector and session id.
class Load {
 public:
  Load() = default;
  explicit Load(std::vector<Uuid> uids) : uids_(std::move(uids)), varies_(true) {}
  explicit Load(std::vector<IdPair> pairs) : pairs_(std::move(pairs)), varies_(true) {}

  [[nodiscard]] const std::vector<IdPair>& pairs() const noexcept { return pairs_; }

  [[nodiscard]] EventDraft event(std::uint64_t number, std::uint64_t source) const {
    EventDraft event = emplace_event<Tick>(EventOrigin::transport, number, std::uint64_t{0}, source, kBody);
    if (varies_) vary(event.routing(), number);
    return event;
  }

 private:
  void vary(Routing& routing, std::uint64_t number) const {
    if (!uids_.empty()) routing.connector_uid = uids_[number % uids_.size()];
    if (!pairs_.empty()) {
      const IdPair& ids = pairs_[number % pairs_.size()];
      routing.connector_id = ids.first;
      routing.native_session_id = ids.second;
    }
  }

  std::vector<Uuid> uids_;
  std::vector<IdPair> pairs_;
  bool varies_ = false;
};

}  // namespace sharingbus::scenarios
