#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "transport/dialer.hpp"

namespace sharingbus::connector {

/// Many registrations of one tenant on one stream (protocol-connector §3.5), for gateways that allow it: WebSockets,
/// where every stream is a connection. To a runner each registration has a link of its own all the same, with its own
/// uid, credit and end.
///
/// A stream is dialled when a tenant's registrations have no room on another. Its end ends all that share it, each of
/// which comes back by its own backoff and with its own session token. Answers and requests find their registration by
/// ARN; a request for none that is here is answered as failed, one for a registration that reads no more too, so that
/// nobody holds up the others. Heartbeats are the stream's: a registration's own goes out only when the gateway has not
/// answered one for a while. A stream that goes away, or whose gateway asks all on it to reconnect, gets no more
/// registrations, and those that it has move to another one, each by its own replacement. There is no message that
/// takes back a single registration, so one that ends is forgotten here, and the stream is finished with its last.
///
/// Any thread; `open` waits for one that dials a stream, so not in inline callbacks. Works on the executor, each stream
/// on a strand of it. Bus, timers and the dialer below must outlive it.
class MultiplexedDialer final : public transport::Dialer {
 public:
  /// `max_registrations`: on one stream, at least 1.
  MultiplexedDialer(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                    transport::Dialer& streams, std::size_t max_registrations = 512);
  /// Cancels what is open; the rest happens on the executor.
  ~MultiplexedDialer() override;
  MultiplexedDialer(const MultiplexedDialer&) = delete;
  MultiplexedDialer& operator=(const MultiplexedDialer&) = delete;

  /// `first_frame` must be a register request, else the link ends with `invalid_argument`.
  std::shared_ptr<transport::Link> open(transport::StreamOptions options, std::string first_frame) override;
  /// The dialer below stays open.
  void close(std::function<void()> done) override;
  /// Channels: streams; streams: registrations.
  [[nodiscard]] transport::DialerStats stats() const override;

 private:
  class State;
  std::shared_ptr<State> state_;
};

}  // namespace sharingbus::connector
