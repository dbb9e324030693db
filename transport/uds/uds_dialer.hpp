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

namespace sharingbus::transport {

struct UdsDialerOptions {
  /// How frames are cut. Required.
  std::shared_ptr<const Framing> framing;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Opens streams to the Unix domain socket `unix:PATH`, each a connection of its own. `StreamOpened::peer` tells who
/// listens, as the kernel knows it: `unix:PATH pid=12 uid=1000 gid=1000`.
///
/// Streams end with `connection_refused` when nobody listens there or the listener's queue is full, `stream_closed`
/// when the peer has closed its sending side, `stream_failed` when it closed both at once, which is also what the peer
/// of a `cancel` sees. Once this side has finished the two cannot be told apart. A path of more than 107 bytes, or
/// another scheme than `unix`, ends every stream with `invalid_endpoint`.
///
/// Any thread. Works on the executor that it is given, each stream on a strand of it, so it may have many threads.
/// Context and timers must outlive the dialer and the last `StreamClosed`.
class UdsDialer final : public Dialer {
 public:
  /// Connects to nothing yet. Throws `std::invalid_argument` when `options.validate()` fails.
  UdsDialer(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint, UdsDialerOptions options);
  /// Cancels what is open; the rest happens on the executor.
  ~UdsDialer() override;
  UdsDialer(const UdsDialer&) = delete;
  UdsDialer& operator=(const UdsDialer&) = delete;

  std::shared_ptr<Link> open(StreamOptions options, std::string first_frame) override;
  void close(std::function<void()> done) override;
  [[nodiscard]] DialerStats stats() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sharingbus::transport
