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

namespace sharingbus::transport {

struct UdsListenerOptions {
  ListenerOptions base;
  /// How frames are cut. Required.
  std::shared_ptr<const Framing> framing;
  /// Permissions of the socket's file, at most 0777: who may connect needs the right to write.
  std::uint32_t mode = 0600;
  /// Hears when connections cannot be accepted for want of descriptors or memory, once each time it begins.
  LogSink log = stderr_log();

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Accepts streams at the Unix domain socket `unix:PATH`. `StreamOpened::peer` tells who dialled, as the kernel knows
/// it: `unix:PATH pid=12 uid=1000 gid=1000`.
///
/// A listener holds a lock on `PATH.lock`, so that of several that start at once one wins, and a socket that a dead
/// process left is told from one in use: the first is replaced, the second is `address_in_use`. A file that is no
/// socket is never touched. Both files are removed at `close`, the socket only if it is still this listener's own.
///
/// While there are `max_links`, and after `stop_accepting`, connecting is refused by the kernel, but for those that it
/// had accepted already: their dialler sees a stream that opens and breaks. Out of descriptors or memory it accepts
/// nothing for 100 ms at a time.
///
/// Any thread. Works on the executor that it is given, each stream on a strand of it, so it may have many threads.
/// Context and timers must outlive the listener and the last `StreamClosed`.
class UdsListener final : public Listener {
 public:
  /// Binds nothing yet. Throws `std::invalid_argument` when `options.validate()` fails.
  UdsListener(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
              UdsListenerOptions options);
  /// Closes; what is open ends on the executor.
  ~UdsListener() override;
  UdsListener(const UdsListener&) = delete;
  UdsListener& operator=(const UdsListener&) = delete;

  /// `invalid_endpoint` also for a path of more than 107 bytes, a folder that is not there or not writable, and a file
  /// that is no socket.
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
