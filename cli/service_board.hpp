#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bus/event.hpp"
#include "bus/filter.hpp"
#include "cli/event_log.hpp"
#include "connector/lifecycle/service.hpp"

namespace sharingbus::cli {

/// What the events of services and of their processes say about them so far. One thread.
class ServiceBoard {
 public:
  struct Row {
    std::string name;
    /// Never reconnected by the manager, so that an error is for good.
    bool stays_down = false;
    connector::ServiceStatus status = connector::ServiceStatus::starting;
    /// Nothing: none, or none of ours.
    std::optional<std::int32_t> pid;
    std::uint64_t restarts = 0;
    std::optional<TimePoint> last_heartbeat;
    /// Nobody will bring it back.
    bool gave_up = false;
  };

  /// The events that it wants.
  [[nodiscard]] static Filter filter();

  /// Rows are in the order in which they are added.
  void add(std::string name, bool stays_down);
  /// There is no such service and never will be.
  void refuse(const std::string& name);
  /// Takes an event in, and says what it is to a person; nothing for an event that is none of its services'.
  [[nodiscard]] std::optional<EventLine> take(const BusEvent& event, TimePoint now);

  [[nodiscard]] const std::vector<Row>& rows() const { return rows_; }
  /// Every service is down and will not come back.
  [[nodiscard]] bool all_gave_up() const;
  /// One line for each service under a head line, without line ends, in columns.
  [[nodiscard]] std::vector<std::string> table(TimePoint now) const;

 private:
  void note(Row& row, const BusEvent& event, TimePoint now);

  std::vector<Row> rows_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

}  // namespace sharingbus::cli
