#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/event.hpp"
#include "bus/received.hpp"

namespace sharingbus::internal {

/// One subscriber's bounded queue where a new event displaces older ones: `drop_oldest`, and with a key function
/// `latest_per_key`. A mutex guards it, because the producer takes from the consumer's end. A gap stands before the
/// event that followed the lost ones.
class ConflatingQueue {
 public:
  using Key = std::function<std::string(const BusEvent&)>;

  /// `key` empty: `drop_oldest`. `capacity_bytes` 0: no bound.
  ConflatingQueue(std::size_t capacity, std::size_t capacity_bytes, Key key);
  ~ConflatingQueue();
  ConflatingQueue(const ConflatingQueue&) = delete;
  ConflatingQueue& operator=(const ConflatingQueue&) = delete;

  // Producer side.

  /// Takes one counted reference and appends what gave way to `lost`, oldest first. False: the event alone is larger
  /// than the bound in bytes; nothing happened.
  bool push(const BusEvent& event, std::vector<EventRef>& lost);
  /// Events that would have come here are lost.
  void lose(Gap gap);
  /// A gap that comes before everything and stands for itself.
  void begin_with(Gap gap);

  // Consumer side.

  /// As in StreamQueue.
  Lent lend(std::size_t limit);
  Received pop();
  void unreceive(std::size_t count) noexcept;

  // Any thread.

  [[nodiscard]] bool readable() const;
  [[nodiscard]] std::uint64_t depth() const;
  [[nodiscard]] std::uint64_t bytes() const;
  [[nodiscard]] std::uint64_t high_water() const;
  /// Lets go of what is queued and says how many.
  std::uint64_t discard() noexcept;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace sharingbus::internal
