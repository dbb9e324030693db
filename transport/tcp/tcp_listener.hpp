#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/endpoint.hpp"
#include "transport/framing.hpp"
#include "transport/listener.hpp"
#include "transport/tcp/tcp_options.hpp"

namespace sharingbus::transport {

struct TcpListenerOptions {
  ListenerOptions base;
  /// How frames are cut. Required.
  std::shared_ptr<const Framing> framing;
  TcpSocketOptions socket;
  /// Hears when connections cannot be accepted for want of descriptors or memory, once each time it begins.
  LogSink log = stderr_log();

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Accepts streams at `tcp://host:port`, host an address of this machine or a name of one; of several addresses of a
/// name the first that can be bound. While there are `max_links`, and after `stop_accepting`, connecting is refused by
/// the kernel, but for those that it had accepted already: their dialler sees a stream that opens and breaks. Out of
/// descriptors or memory it accepts nothing for 100 ms at a time.
///
/// Any thread. Works on the executor that it is given, each stream on a strand of it, so it may have many threads.
/// Context and timers must outlive the listener and the last `StreamClosed`.
class TcpListener final : public Listener {
 public:
  /// Binds nothing yet. Throws `std::invalid_argument` when `options.validate()` fails.
  TcpListener(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
              TcpListenerOptions options);
  /// Closes; what is open ends on the executor.
  ~TcpListener() override;
  TcpListener(const TcpListener&) = delete;
  TcpListener& operator=(const TcpListener&) = delete;

  /// Resolving a name that is no address blocks.
  Result<Endpoint> listen() override;
  [[nodiscard]] std::uint64_t id() const noexcept override;
  void stop_accepting() override;
  void close(std::function<void()> done) override;
  [[nodiscard]] std::size_t link_count() const override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sharingbus::transport
