#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>

#include "transport/link.hpp"
#include "transport/stream_publisher.hpp"

namespace sharingbus::transport::internal {

/// One end of a memory stream. Its outbound queue is what its peer has not read yet, so that backpressure and credit
/// act as over a socket. All work is posted to the network's executor; the mutex guards what other threads call.
class MemoryLink final : public Link, public std::enable_shared_from_this<MemoryLink> {
 public:
  /// `on_closed` runs on the executor, after `StreamClosed` was published.
  MemoryLink(boost::asio::any_io_executor executor, StreamOptions options, std::function<void()> on_closed);

  [[nodiscard]] std::uint64_t id() const noexcept override { return publisher_.id(); }
  [[nodiscard]] const Uuid& uid() const noexcept override { return publisher_.uid(); }
  SendStatus send(std::string frame) override;
  void grant(Credit credit) override;
  void finish() override;
  void cancel(Error why) override;
  [[nodiscard]] LinkStats stats() const override { return publisher_.stats(); }

  // On the executor.
  /// Joins two ends that are not `ended`; both publish `StreamOpened`.
  static void connect(const std::shared_ptr<MemoryLink>& dialled, const std::shared_ptr<MemoryLink>& accepted,
                      const std::string& name, std::uint64_t listener);
  /// It never opened, or its dialer is gone.
  void fail(Error why);
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  /// Moves frames from the peer's queue to the bus while there is credit.
  void pump();
  std::optional<std::string> take_outbound();
  void close(Error why);
  void post(void (MemoryLink::*step)());
  [[nodiscard]] bool drained();
  [[nodiscard]] Error outcome() const;

  const boost::asio::any_io_executor executor_;
  StreamPublisher publisher_;
  std::function<void()> on_closed_;

  mutable std::mutex mutex_;
  std::deque<std::string> outbound_;
  bool finishing_ = false;
  bool closed_ = false;
  bool writable_wanted_ = false;

  // On the executor only. The ends do not own each other, so that nothing leaks when the executor never runs again.
  std::weak_ptr<MemoryLink> peer_;
  bool ended_ = false;
  bool finished_by_peer_ = false;
  bool deaf_ = false;
};

}  // namespace sharingbus::transport::internal
