#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "transport/link.hpp"
#include "transport/stream_publisher.hpp"

namespace sharingbus::connector::internal {

class LaneLink;

/// Who shares a stream among lanes.
class LaneHost {
 public:
  virtual ~LaneHost() = default;
  /// Calls `fn` on the host's strand, later, while there are lanes. Any thread.
  virtual void on_strand(std::function<void()> fn) = 0;
  /// Whether a frame that a lane sends goes out; it counts as sent all the same. Any thread.
  [[nodiscard]] virtual bool passes(const std::shared_ptr<LaneLink>& lane, std::string_view frame) = 0;
  /// The lane is over, `StreamClosed` comes next. On the strand.
  virtual void lane_ended(LaneLink& lane, const Error& why) = 0;
};

/// One registration's link over a stream that it shares with others: its own uid, events and credit, the stream's
/// outbound queue. What it publishes it publishes on the host's strand.
///
/// `finish` and `cancel` end the lane at once, as there is no message that would tell the peer.
class LaneLink final : public transport::Link, public std::enable_shared_from_this<LaneLink> {
 public:
  LaneLink(std::string arn, std::weak_ptr<LaneHost> host, std::shared_ptr<transport::Link> stream,
           transport::StreamOptions options);

  std::uint64_t id() const noexcept override { return publisher_.id(); }
  const Uuid& uid() const noexcept override { return publisher_.uid(); }
  transport::SendStatus send(std::string frame) override;
  void grant(transport::Credit credit) override;
  void finish() override;
  void cancel(Error why) override;
  transport::LinkStats stats() const override { return publisher_.stats(); }

  [[nodiscard]] const std::string& arn() const noexcept { return arn_; }

  // On the host's strand.
  void opened(const std::string& peer, std::uint64_t listener);
  /// A message for this lane. False: too many wait for it already, and this one is lost.
  [[nodiscard]] bool deliver(std::string frame);
  void writable();
  /// Ends it; the host hears `lane_ended`, unless it is the one who ended it.
  void end(Error why);
  void close(Error why, Duration retry_after = Duration::zero());

 private:
  void drain();
  /// False when it had stopped already.
  bool stop_sending();
  template <class Fn>
  void post(Fn fn);

  const std::string arn_;
  const std::weak_ptr<LaneHost> host_;
  const std::shared_ptr<transport::Link> stream_;
  transport::StreamPublisher publisher_;

  // The strand's.
  std::deque<std::string> held_;
  std::size_t held_bytes_ = 0;
  bool opened_ = false;
  bool ended_ = false;

  std::mutex mutex_;
  // Guarded by the mutex.
  bool stopped_ = false;
  bool writable_wanted_ = false;
};

// What frames are, without decoding them whole; for `LaneHost::passes`.
[[nodiscard]] bool is_heartbeat_request(std::string_view frame) noexcept;
[[nodiscard]] bool is_heartbeat_response(std::string_view frame) noexcept;
/// The `request_id` of an ExecuteRequest that was encoded by this program; empty for all else.
[[nodiscard]] std::string_view execute_request_id(std::string_view frame) noexcept;

}  // namespace sharingbus::connector::internal
