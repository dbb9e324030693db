#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "bus/event.hpp"

namespace sharingbus {

/// An event on its way through the stages: its routing may still change.
class StagedEvent {
 public:
  explicit StagedEvent(BusEvent& event) noexcept : event_(&event) {}

  [[nodiscard]] const BusEvent& event() const noexcept { return *event_; }
  [[nodiscard]] Routing& routing() noexcept { return event_->routing_; }

 private:
  BusEvent* event_;
};

/// The events of one dispatch turn, in order, on their way through the only stage of a bus.
class StagedTurn {
 public:
  explicit StagedTurn(std::span<BusEvent* const> events) noexcept : events_(events) {}

  /// At most 128.
  [[nodiscard]] std::size_t size() const noexcept { return events_.size(); }
  [[nodiscard]] StagedEvent operator[](std::size_t i) const noexcept { return StagedEvent(*events_[i]); }

 private:
  std::span<BusEvent* const> events_;
};

/// A first-stage subscriber: sees every event, in order, before the fan-out, and may enrich its routing. Stages run in
/// the order of `BusOptions::stages`, on the dispatching thread, never two at once for one bus. They must not block;
/// what they throw is caught and counted, and the event goes on as it is.
class Stage {
 public:
  virtual ~Stage() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  virtual void on_event(StagedEvent& event) = 0;
  /// What a bus without other stages calls, once a turn. To be overridden, to the same effect, by a stage that leaves
  /// most events as they are or gains by looking ahead. Returns how many events failed; whatever it throws fails one.
  virtual std::size_t on_turn(const StagedTurn& turn) {
    std::size_t failed = 0;
    for (std::size_t i = 0; i < turn.size(); ++i) {
      try {
        StagedEvent event = turn[i];
        on_event(event);
      } catch (...) {
        ++failed;
      }
    }
    return failed;
  }
};

/// What a default-constructed bus has installed: late binding of scroll ids (`ScrollIdBinder`).
[[nodiscard]] std::vector<std::shared_ptr<Stage>> default_stages();

}  // namespace sharingbus
