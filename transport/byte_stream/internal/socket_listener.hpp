#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/byte_stream/internal/byte_link_set.hpp"
#include "transport/byte_stream/internal/descriptor.hpp"
#include "transport/endpoint.hpp"
#include "transport/framing.hpp"
#include "transport/listener.hpp"

namespace sharingbus::transport::internal {

/// A socket that listens at one address. One call at a time.
class ListeningSocket {
 public:
  virtual ~ListeningSocket() = default;

  /// Binds and listens; returns where.
  [[nodiscard]] virtual Result<Endpoint> open() = 0;
  /// Connecting is refused from here on, but the address stays taken.
  virtual void refuse() = 0;
  /// Listens again. `descriptor` may be another one then.
  [[nodiscard]] virtual Result<> resume() = 0;
  /// Gives up socket and address.
  virtual void close() = 0;
  [[nodiscard]] virtual int descriptor() const = 0;
  /// Sets the options of an accepted socket, and tells who it is.
  [[nodiscard]] virtual std::string prepare(int accepted) = 0;
};

/// The listener of sockets of any kind. Any thread; there is one wait for connections at a time, so it needs no strand.
/// While there are `max_links` the socket refuses; out of descriptors or memory it is left alone for a while.
class SocketListener : public std::enable_shared_from_this<SocketListener> {
 public:
  SocketListener(boost::asio::any_io_executor executor, TimerService& timers, ListenerOptions options,
                 std::shared_ptr<const Framing> framing, LogSink log, std::unique_ptr<ListeningSocket> socket);

  Result<Endpoint> listen();
  [[nodiscard]] std::uint64_t id() const noexcept { return options_.id; }
  void stop_accepting();
  void close(const Error& why, std::function<void()> done);
  [[nodiscard]] std::size_t link_count() const { return links_->size(); }

 private:
  void wait();
  void end_wait();
  void accept(std::uint64_t wait_number);
  [[nodiscard]] bool accept_one();
  [[nodiscard]] std::shared_ptr<ByteLink> adopt(UniqueFd accepted);
  void back_off(const std::string& why);
  void resume();
  void on_removed();

  const boost::asio::any_io_executor executor_;
  TimerService& timers_;
  const ListenerOptions options_;
  const std::shared_ptr<const Framing> framing_;
  const LogSink log_;
  const std::shared_ptr<ByteLinkSet> links_;

  mutable std::mutex mutex_;
  // Guarded by the mutex, the waiting descriptor included, which does not own the socket.
  const std::unique_ptr<ListeningSocket> socket_;
  std::optional<Descriptor> waiting_;
  std::uint64_t last_wait_ = 0;
  TimerId retry_ = 0;
  std::string text_;
  bool used_ = false;
  bool accepting_ = false;
  /// There are `max_links`.
  bool refusing_ = false;
  /// Said so in the log, and nothing was accepted since.
  bool failing_ = false;
};

}  // namespace sharingbus::transport::internal
