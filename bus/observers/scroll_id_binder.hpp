#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "bus/base/log.hpp"
#include "bus/event.hpp"
#include "bus/stage.hpp"

namespace sharingbus {

/// A session's scroll id became known: every later event of the pair (connector_id, session_id) carries it.
/// Published by whoever learns it: the gateway from a request's context, or a user.
struct SessionRegistered {
  static constexpr std::string_view event_name = "session_registered";
  static constexpr EventKind event_kind = EventKind::session_lifecycle;

  std::string connector_id;
  std::string session_id;
  /// Any text form of a UUID.
  std::string scroll_id;
};

/// The session is over; its binding is released after this event was stamped.
struct SessionClosed {
  static constexpr std::string_view event_name = "session_closed";
  static constexpr EventKind event_kind = EventKind::session_lifecycle;

  std::string connector_id;
  std::string session_id;
};

struct ScrollIdBinderOptions {
  /// Pairs remembered; beyond that the least recently used goes, counted. 0 is taken as 1.
  std::size_t max_bindings = 65'536;
  LogSink log = stderr_log();
};

/// Late binding (spec 1, Publishing): the stage that gives events their scroll id. An event without `scroll_id` that
/// has `connector_id` and `native_session_id` gets the one last bound to that pair. `SessionRegistered` binds, and is
/// stamped itself, replacing what it carried; one whose scroll id does not parse binds nothing, is logged, and is
/// treated like any event. O(1) per event.
class ScrollIdBinder final : public Stage {
 public:
  explicit ScrollIdBinder(ScrollIdBinderOptions options = {});
  ~ScrollIdBinder() override;

  [[nodiscard]] std::string_view name() const override { return "scroll_id_binder"; }
  void on_event(StagedEvent& event) override;
  /// Fetches the bindings of a whole turn at once.
  std::size_t on_turn(const StagedTurn& turn) override;

  struct Stats {
    std::uint64_t bindings = 0;
    std::uint64_t evicted = 0;
    std::uint64_t unparseable = 0;
  };
  /// Any thread.
  [[nodiscard]] Stats stats() const;

 private:
  class Table;
  void follow_session(StagedEvent& event);

  const LogSink log_;
  const std::unique_ptr<Table> table_;
};

}  // namespace sharingbus
