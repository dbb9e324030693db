#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "transport/link.hpp"
#include "transport/stream_options.hpp"

namespace sharingbus::transport {

/// The inbound half that every adapter shares: checks the size, decodes, publishes and keeps the credit. An adapter
/// owns one per link and calls `opened`, `frame` and `closed` one at a time; `grant`, `may_read` and `stats` may be
/// called from any thread.
class StreamPublisher {
 public:
  explicit StreamPublisher(StreamOptions options);

  [[nodiscard]] const Uuid& uid() const noexcept { return *identity_.routing.connector_uid; }
  [[nodiscard]] std::uint64_t id() const noexcept { return identity_.source; }
  [[nodiscard]] const StreamLimits& limits() const noexcept { return options_.limits; }
  [[nodiscard]] Duration connect_timeout() const noexcept { return options_.connect_timeout; }

  /// Publishes `StreamOpened`.
  void opened(std::weak_ptr<Link> link, std::string peer, std::uint64_t listener = 0);
  /// Takes one frame: counts it, uses up its credit, publishes the message. An error (`message_too_large`,
  /// `malformed_frame`, `closed` when the bus is) means that the adapter has to end the stream with it.
  [[nodiscard]] Result<> frame(std::string_view bytes);
  /// Messages that were taken and are to be published together, which costs less for each.
  class Batch {
   public:
    [[nodiscard]] bool full() const noexcept { return size_ == events_.size(); }

   private:
    friend class StreamPublisher;
    std::array<EventDraft, 32> events_;
    std::size_t size_ = 0;
  };
  /// As `frame`, but leaves the message in `batch`, which must not be full: it is published by `publish`, and that has
  /// to come before anything else of the stream is.
  [[nodiscard]] Result<> frame(std::string_view bytes, Batch& batch);
  /// Publishes what is in `batch`, and empties it. Error: `closed` when the bus is.
  [[nodiscard]] Result<> publish(Batch& batch);
  /// Publishes `StreamWritable`.
  void writable();
  /// Publishes `StreamGoingAway`; after `opened`.
  void going_away();
  /// Publishes `StreamClosed`; once, as the last.
  void closed(Error error, Duration retry_after = Duration::zero());

  /// Adds credit. True when reading was paused for want of it and may go on: the caller then resumes.
  [[nodiscard]] bool grant(Credit credit) noexcept;
  /// Whether the next message may be read.
  [[nodiscard]] bool may_read() const noexcept;

  /// Counts a message that went out.
  void sent(std::size_t bytes) noexcept;
  [[nodiscard]] LinkStats stats() const noexcept;

 private:
  template <class T>
  void publish(T payload);
  /// Checks, decodes and counts one frame.
  [[nodiscard]] Result<EventDraft> take(std::string_view bytes);

  StreamOptions options_;
  StreamIdentity identity_;
  std::string peer_;
  /// Requests in the high half, controls in the low half, so that both change in one step.
  std::atomic<std::uint64_t> credit_;
  std::atomic<std::uint64_t> frames_sent_{0};
  std::atomic<std::uint64_t> bytes_sent_{0};
  std::atomic<std::uint64_t> frames_received_{0};
  std::atomic<std::uint64_t> bytes_received_{0};
};

}  // namespace sharingbus::transport
