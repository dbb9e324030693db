#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/async.hpp"
#include "bus/base/log.hpp"

namespace sharingbus::cli {

/// What a person wants to read of an event.
struct EventLine {
  LogLevel level = LogLevel::info;
  std::string what;
  std::vector<std::pair<std::string, std::string>> fields;

  /// `what key=value key='two words'`
  [[nodiscard]] std::string text() const;
  /// `{"event":what,"key":"value"}`
  [[nodiscard]] std::string json() const;
};

/// Nothing for events that nobody needs to read line by line.
[[nodiscard]] std::optional<EventLine> describe(const BusEvent& event);

/// Reads what happens to connectors, registrations and proxies, a line an event: a bus subscriber like any other. What it loses
/// under a flood it reports as a gap. Lines of connectors say how many are registered now, over how many connections.
class EventLog {
 public:
  using Print = std::function<void(const EventLine&)>;
  /// `print` runs on `executor`, one call at a time.
  EventLog(SharingBus& bus, boost::asio::any_io_executor executor, Filter filter, Print print);

 private:
  struct Census;
  std::shared_ptr<Census> census_;
  CallbackSubscription subscription_;
};

}  // namespace sharingbus::cli
