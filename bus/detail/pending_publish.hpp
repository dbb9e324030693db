#pragma once

#include <utility>

#include "bus/sharing_bus.hpp"

namespace sharingbus::detail {

/// A publish that waits for room. Owned by whoever it is handed to.
class PendingPublish {
 public:
  explicit PendingPublish(EventDraft event) noexcept : draft(std::move(event)) {}
  virtual ~PendingPublish() = default;
  /// Any thread, outside locks, once.
  virtual void complete(PublishResult result) noexcept = 0;

  EventDraft draft;
};

}  // namespace sharingbus::detail
