#pragma once

#include <memory>
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

/// A first-stage subscriber: sees every event, in order, before the fan-out, and may enrich its routing. Stages run in
/// the order of `BusOptions::stages`, on the dispatching thread, never two at once for one bus. They must not block;
/// what they throw is caught and counted, and the event goes on as it is.
class Stage {
 public:
  virtual ~Stage() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  virtual void on_event(StagedEvent& event) = 0;
};

/// What a default-constructed bus has installed: late binding of scroll ids (`ScrollIdBinder`).
[[nodiscard]] std::vector<std::shared_ptr<Stage>> default_stages();

}  // namespace sharingbus
