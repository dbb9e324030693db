#pragma once

namespace sharingbus::detail {

class Waiter;

/// Whoever resumes waiters: gets those of one dispatch turn at once, as a chain through `Waiter::next`.
class WakeTarget {
 public:
  /// On the dispatching thread, outside locks. Each waiter is its owner's again from here on.
  virtual void wake(Waiter* first, Waiter* last) noexcept = 0;
  /// The subscription is gone and will never wake this waiter. Any thread.
  virtual void drop(Waiter* waiter) noexcept = 0;

 protected:
  ~WakeTarget() = default;
};

/// Something that is parked at a subscription until there is something to receive. Intrusive, so that parking allocates
/// nothing.
class Waiter {
 public:
  explicit Waiter(WakeTarget& wake_target) noexcept : target(&wake_target) {}
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  WakeTarget* const target;
  Waiter* next = nullptr;

 protected:
  ~Waiter() = default;
};

}  // namespace sharingbus::detail
