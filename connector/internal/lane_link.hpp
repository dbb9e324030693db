#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
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
  /// `matrix:a:b:c` is at `a.b.c`.
  [[nodiscard]] std::string address() const;
  /// Its registration is to move to another stream. Any thread.
  [[nodiscard]] bool leaving() const noexcept { return leaving_.load(std::memory_order_relaxed); }
  void set_leaving() noexcept { leaving_.store(true, std::memory_order_relaxed); }

  // On the host's strand.
  /// What is sent from here on goes over this stream.
  void move_to(std::shared_ptr<transport::Link> stream);
  void opened(const std::string& peer, std::uint64_t listener);
  /// A message for this lane. False: too many wait for it already, and this one is lost.
  [[nodiscard]] bool deliver(std::string frame);
  void writable();
  /// The stream goes away, if it says so.
  void going_away();
  /// Ends it; the host hears `lane_ended`, unless it is the one who ended it.
  void end(Error why);
  void close(Error why, Duration retry_after = Duration::zero());

 private:
  void drain();
  void publish(std::string_view frame);
  /// False when it had stopped already.
  bool stop_sending();
  template <class Fn>
  void post(Fn fn);

  const std::string arn_;
  const std::weak_ptr<LaneHost> host_;
  transport::StreamPublisher publisher_;
  std::atomic<bool> leaving_{false};

  // The strand's.
  /// What waits for credit.
  std::list<std::string> held_;
  std::size_t held_bytes_ = 0;
  bool opened_ = false;
  bool ended_ = false;

  std::mutex mutex_;
  // Guarded by the mutex.
  std::shared_ptr<transport::Link> stream_;
  bool stopped_ = false;
  bool writable_wanted_ = false;
};

}  // namespace sharingbus::connector::internal
