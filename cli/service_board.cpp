#include "cli/service_board.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "connector/lifecycle/lifecycle_events.hpp"
#include "transport/messages/process_events.hpp"

namespace sharingbus::cli {
namespace {

using namespace sharingbus::connector;
using transport::ProcessExited;
using transport::ProcessStarted;

std::string in_ms(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

std::optional<EventLine> describe_failure(const BusEvent& event) {
  if (const auto* e = event.get_if<ServiceHeartbeatTimeout>()) {
    return EventLine{LogLevel::warn, "HeartbeatTimeout", {{"silent_ms", in_ms(e->silent)}}};
  }
  if (const auto* e = event.get_if<ServiceError>()) return EventLine{LogLevel::warn, "Error", {{"error", e->error}}};
  if (const auto* e = event.get_if<ServiceReconnectFailed>()) {
    return EventLine{
        LogLevel::error, "ReconnectFailed", {{"attempts", std::to_string(e->attempts)}, {"reason", e->reason}}};
  }
  return std::nullopt;
}

std::optional<EventLine> describe_service(const BusEvent& event) {
  if (event.is<ServiceStarted>()) return EventLine{LogLevel::info, "Started", {}};
  if (event.is<ServiceStopped>()) return EventLine{LogLevel::info, "Stopped", {}};
  if (event.is<ServiceReconnected>()) return EventLine{LogLevel::info, "Reconnected", {}};
  if (event.is<ServiceHeartbeat>()) return EventLine{LogLevel::debug, "Heartbeat", {}};
  if (const auto* e = event.get_if<ServiceStatusChanged>()) {
    return EventLine{LogLevel::info,
                     "StatusChanged",
                     {{"old", std::string(to_string(e->old_status))}, {"new", std::string(to_string(e->new_status))}}};
  }
  if (const auto* e = event.get_if<ServiceReconnecting>()) {
    return EventLine{LogLevel::info,
                     "Reconnecting",
                     {{"attempt", std::to_string(e->attempt)},
                      {"max", std::to_string(e->max)},
                      {"delay_ms", in_ms(e->delay)},
                      {"reason", e->reason}}};
  }
  if (const auto* e = event.get_if<ProcessStarted>()) {
    return EventLine{LogLevel::info, "ProcessStarted", {{"pid", std::to_string(e->pid)}}};
  }
  if (const auto* e = event.get_if<ProcessExited>()) {
    EventLine line{LogLevel::info, "ProcessExited", {{"pid", std::to_string(e->pid)}}};
    line.fields.emplace_back(e->signal != 0 ? "signal" : "status",
                             std::to_string(e->signal != 0 ? e->signal : e->status));
    return line;
  }
  return describe_failure(event);
}

std::string ago(const std::optional<TimePoint>& at, TimePoint now) {
  if (!at) return "-";
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(now - *at).count()) + " s ago";
}

using Cells = std::array<std::string, 5>;

/// Code points, which is what most terminals give a column each.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

Filter ServiceBoard::filter() {
  return Filter::kind(EventKind::service) || Filter::type<ProcessStarted>() || Filter::type<ProcessExited>();
}

void ServiceBoard::add(std::string name, bool stays_down) {
  by_name_.emplace(name, rows_.size());
  Row row;
  row.name = std::move(name);
  row.stays_down = stays_down;
  rows_.push_back(std::move(row));
}

void ServiceBoard::refuse(const std::string& name) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  rows_[found->second].status = ServiceStatus::error;
  rows_[found->second].gave_up = true;
}

std::optional<EventLine> ServiceBoard::take(const BusEvent& event, TimePoint now) {
  const auto found = by_name_.find(event.routing().connector_id.value_or(""));
  if (found == by_name_.end()) return std::nullopt;
  note(rows_[found->second], event, now);
  auto line = describe_service(event);
  if (line) line->fields.emplace(line->fields.begin(), "service", found->first);
  return line;
}

void ServiceBoard::note(Row& row, const BusEvent& event, TimePoint now) {
  if (const auto* changed = event.get_if<ServiceStatusChanged>()) {
    row.status = changed->new_status;
    row.gave_up = row.status == ServiceStatus::error && (row.gave_up || row.stays_down);
  } else if (event.is<ServiceReconnectFailed>()) {
    row.gave_up = true;
  } else if (event.is<ServiceReconnecting>()) {
    row.gave_up = false;
  } else if (event.is<ServiceReconnected>()) {
    ++row.restarts;
  } else if (event.is<ServiceHeartbeat>()) {
    row.last_heartbeat = now;
  } else if (const auto* started = event.get_if<ProcessStarted>()) {
    row.pid = started->pid;
  } else if (const auto* exited = event.get_if<ProcessExited>(); exited != nullptr && row.pid == exited->pid) {
    row.pid.reset();
  }
}

bool ServiceBoard::all_gave_up() const {
  return !rows_.empty() && std::all_of(rows_.begin(), rows_.end(), [](const Row& row) {
    return row.gave_up && row.status == ServiceStatus::error;
  });
}

std::vector<std::string> ServiceBoard::table(TimePoint now) const {
  std::vector<Cells> cells;
  cells.push_back({"SERVICE", "STATUS", "PID", "RESTARTS", "HEARTBEAT"});
  for (const Row& row : rows_) {
    cells.push_back({row.name, std::string(to_string(row.status)), row.pid ? std::to_string(*row.pid) : "-",
                     std::to_string(row.restarts), ago(row.last_heartbeat, now)});
  }
  std::array<std::size_t, std::tuple_size_v<Cells>> widths{};
  for (const Cells& line : cells) {
    for (std::size_t i = 0; i < line.size(); ++i)
      widths[i] = std::max(widths[i], width(line[i]));
  }
  std::vector<std::string> lines;
  for (const Cells& line : cells) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i)
      text += line[i] + (i + 1 < line.size() ? std::string(widths[i] - width(line[i]) + 2, ' ') : "");
    lines.push_back(std::move(text));
  }
  return lines;
}

}  // namespace sharingbus::cli
