#pragma once

#include <cstddef>
#include <cstdint>

#include <boost/circular_buffer.hpp>

#include "bus/event.hpp"

namespace sharingbus::internal {

/// The last events, oldest first, bounded by count and by bytes. Dispatcher-confined.
class History {
 public:
  /// `events` 0: keeps nothing. `bytes` 0: no bound in bytes.
  History(std::size_t events, std::size_t bytes) noexcept : events_max_(events), bytes_max_(bytes) {}

  [[nodiscard]] bool enabled() const noexcept { return events_max_ != 0; }

  void append(EventRef event) {
    bytes_ += event->size_bytes();
    while (!events_.empty() && (events_.size() == events_max_ || over_bytes())) {
      bytes_ -= events_.front()->size_bytes();
      events_.pop_front();
    }
    if (over_bytes()) {
      // Larger than the bound alone: the history starts anew behind it.
      bytes_ = 0;
      return;
    }
    if (events_.full()) events_.set_capacity(events_.capacity() == 0 ? 64 : events_.capacity() * 2);
    events_.push_back(std::move(event));
  }

  [[nodiscard]] const boost::circular_buffer<EventRef>& events() const noexcept { return events_; }

 private:
  [[nodiscard]] bool over_bytes() const noexcept { return bytes_max_ != 0 && bytes_ > bytes_max_; }

  const std::size_t events_max_;
  const std::size_t bytes_max_;
  std::uint64_t bytes_ = 0;
  boost::circular_buffer<EventRef> events_;
};

}  // namespace sharingbus::internal
