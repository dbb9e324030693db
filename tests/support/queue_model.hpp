#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/sharing_bus.hpp"

namespace sharingbus::test {

/// What one subscriber's stream has to be, as plainly as possible: every matching event in order, each either queued or
/// lost. Says what differs from what the bus yields; a gap may come in parts, but never out of place.
class QueueModel {
 public:
  struct Event {
    std::uint64_t sequence = 0;
    std::size_t bytes = 0;
    std::string key{};
  };

  QueueModel(Overflow overflow, std::size_t capacity, std::size_t capacity_bytes)
      : overflow_(overflow), capacity_(capacity), capacity_bytes_(capacity_bytes) {}

  // --- what the bus does to it

  /// Returns what was lost, the event itself or others.
  std::vector<std::uint64_t> offer(const Event& event) {
    std::vector<std::uint64_t> lost;
    if (ended_) return lost;
    ++matched;
    if (overflow_ == Overflow::latest_per_key && !oversized(event)) displace_key(event.key, lost);
    while (displaces() && !oversized(event) && !fits(event))
      displace_oldest(lost);
    if (fits(event)) {
      stream_.push_back({event, State::queued});
      ++queued;
      queued_bytes += event.bytes;
      high_water = std::max(high_water, queued);
    } else {
      stream_.push_back({event, State::lost});
      ++lagged;
      lost.push_back(event.sequence);
      if (overflow_ == Overflow::close_subscriber) end(CloseReason::overflowed);
    }
    return lost;
  }
  /// Lost before it came here.
  void lose(std::uint64_t sequence) {
    ++matched;
    ++lagged;
    stream_.push_back({{sequence, 0, {}}, State::lost});
  }
  /// The history starts later.
  void announce(std::uint64_t first, std::uint64_t last) { stream_.push_back({{first, last, {}}, State::unknown}); }
  void end(CloseReason why) {
    if (!ended_) reason_ = why;
    ended_ = true;
  }

  // --- what the receiver sees; empty when it is right

  [[nodiscard]] std::string check(const Received& actual) {
    if (const EventRef* event = actual.event()) return check_event((*event)->sequence());
    if (const Gap* gap = actual.gap()) return check_gap(*gap);
    if (const Closed* closed = actual.closed()) return check_closed(*closed);
    return check_nothing();
  }
  [[nodiscard]] std::string check(const Lent& actual, std::size_t limit) {
    if (const Gap* gap = actual.gap()) return check_gap(*gap);
    if (const Closed* closed = actual.closed()) return check_closed(*closed);
    if (actual.empty()) return check_nothing();
    if (actual.events().empty() || actual.events().size() > limit) return "lent an empty or too long run; ";
    std::string differs;
    for (const EventRef& event : actual.events())
      differs += check_event(event->sequence());
    return differs;
  }
  [[nodiscard]] std::string check_nothing() const {
    if (!stream_.empty()) return "nothing came, expected " + describe(stream_.front()) + "; ";
    return ended_ ? "nothing came, expected the end; " : "";
  }

  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] bool drained() const { return stream_.empty(); }
  [[nodiscard]] bool has_room() const { return queued < capacity_; }
  [[nodiscard]] Overflow overflow() const { return overflow_; }
  /// The bus counts bytes only where something needs them.
  [[nodiscard]] std::uint64_t counted_bytes() const { return capacity_bytes_ != 0 || displaces() ? queued_bytes : 0; }

  std::uint64_t matched = 0, received = 0, lagged = 0, queued = 0, queued_bytes = 0, high_water = 0, last_received = 0;

 private:
  enum class State : std::uint8_t { queued, lost, unknown };
  struct Element {
    /// Of an unknown range: first and, in `bytes`, last.
    Event event;
    State state;
  };

  [[nodiscard]] bool displaces() const {
    return overflow_ == Overflow::drop_oldest || overflow_ == Overflow::latest_per_key;
  }
  [[nodiscard]] bool oversized(const Event& event) const {
    return capacity_bytes_ != 0 && event.bytes > capacity_bytes_;
  }
  [[nodiscard]] bool fits(const Event& event) const {
    return queued < capacity_ && (capacity_bytes_ == 0 || queued_bytes + event.bytes <= capacity_bytes_);
  }
  void displace(Element& element, std::vector<std::uint64_t>& lost) {
    element.state = State::lost;
    --queued;
    queued_bytes -= element.event.bytes;
    ++lagged;
    lost.push_back(element.event.sequence);
  }
  void displace_oldest(std::vector<std::uint64_t>& lost) {
    displace(*std::find_if(stream_.begin(), stream_.end(), [](const Element& e) { return e.state == State::queued; }),
             lost);
  }
  void displace_key(const std::string& key, std::vector<std::uint64_t>& lost) {
    for (Element& element : stream_) {
      if (element.state == State::queued && element.event.key == key) displace(element, lost);
    }
  }

  [[nodiscard]] static std::string describe(const Element& element) {
    const char* const what[] = {"event ", "a gap at ", "a gap of unknown count at "};
    return what[static_cast<std::size_t>(element.state)] + std::to_string(element.event.sequence);
  }
  [[nodiscard]] std::string expected() const {
    if (!stream_.empty()) return ", expected " + describe(stream_.front()) + "; ";
    return ended_ ? ", expected the end; " : ", expected nothing; ";
  }
  [[nodiscard]] std::string check_event(std::uint64_t sequence) {
    if (stream_.empty() || stream_.front().state != State::queued || stream_.front().event.sequence != sequence) {
      return "event " + std::to_string(sequence) + expected();
    }
    --queued;
    queued_bytes -= stream_.front().event.bytes;
    stream_.pop_front();
    ++received;
    last_received = sequence;
    return {};
  }
  [[nodiscard]] std::string check_gap(const Gap& gap) {
    const std::string text =
        "gap " + std::to_string(gap.first) + "-" + std::to_string(gap.last) + "(" + std::to_string(gap.count) + ")";
    if (stream_.empty() || stream_.front().event.sequence != gap.first) return text + expected();
    if (gap.count == 0) {
      if (stream_.front().state != State::unknown || stream_.front().event.bytes != gap.last) return text + expected();
      stream_.pop_front();
      return {};
    }
    std::uint64_t last = 0;
    for (std::uint64_t i = 0; i < gap.count; ++i) {
      if (stream_.empty() || stream_.front().state != State::lost) return text + " counts too many; ";
      last = stream_.front().event.sequence;
      stream_.pop_front();
    }
    return last == gap.last ? "" : text + " should end at " + std::to_string(last) + "; ";
  }
  [[nodiscard]] std::string check_closed(const Closed& closed) const {
    if (!ended_ || !stream_.empty()) return "the end came" + expected();
    if (closed.why != reason_) return "ended as " + std::string(to_string(closed.why)) + "; ";
    return {};
  }

  const Overflow overflow_;
  const std::size_t capacity_;
  const std::size_t capacity_bytes_;
  std::deque<Element> stream_;
  bool ended_ = false;
  CloseReason reason_ = CloseReason::unsubscribed;
};

}  // namespace sharingbus::test
