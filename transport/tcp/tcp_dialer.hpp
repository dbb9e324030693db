#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/dialer.hpp"
#include "transport/endpoint.hpp"
#include "transport/framing.hpp"
#include "transport/tcp/tcp_options.hpp"

namespace sharingbus::transport {

struct TcpDialerOptions {
  /// How frames are cut. Required.
  std::shared_ptr<const Framing> framing;
  TcpSocketOptions socket;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Opens streams to `tcp://host:port`, each a connection of its own. The name is resolved at each `open`; its addresses
/// are tried one after the other until one accepts, each with an even share of the connect timeout that is left.
///
/// Streams end with `connection_refused` when no address accepts or the name does not resolve (the message has the last
/// address and the system's text), `connect_timeout`, `stream_closed` when the peer has closed its sending side,
/// `stream_failed` when the connection breaks, which is also what the peer of a `cancel` sees. A scheme other than
/// `tcp` ends every stream with `invalid_endpoint`.
///
/// Any thread. Works on the executor that it is given, each stream on a strand of it, so it may have many threads.
/// Context and timers must outlive the dialer and the last `StreamClosed`.
class TcpDialer final : public Dialer {
 public:
  /// Connects to nothing yet. Throws `std::invalid_argument` when `options.validate()` fails.
  TcpDialer(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint, TcpDialerOptions options);
  /// Cancels what is open; the rest happens on the executor.
  ~TcpDialer() override;
  TcpDialer(const TcpDialer&) = delete;
  TcpDialer& operator=(const TcpDialer&) = delete;

  std::shared_ptr<Link> open(StreamOptions options, std::string first_frame) override;
  void close(std::function<void()> done) override;
  [[nodiscard]] DialerStats stats() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sharingbus::transport
