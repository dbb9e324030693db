#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <absl/functional/any_invocable.h>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "transport/strand.hpp"
#include "transport/tls/tls_context.hpp"

namespace sharingbus::transport::internal {

using TcpSocket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Strand>;

/// A TCP connection, with or without TLS. What is appended goes out together with the next `flush`, so that many small
/// frames make one packet, and one TLS record, without a copy of their own.
///
/// Everything happens on the strand; handlers are never called from within.
class Wire : public std::enable_shared_from_this<Wire> {
 public:
  using Handler = absl::AnyInvocable<void(boost::system::error_code, std::size_t)>;

  Wire(TcpSocket socket, TimerService& timers);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  [[nodiscard]] const Strand& strand() const noexcept { return strand_; }

  /// TLS from here on. `host`: of a dialer, what the certificate must be for. The error has the reason.
  void handshake(const TlsContext::Ptr& context, const TlsOptions& options, TlsContext::Role role,
                 const std::string& host, const std::string& peer, std::function<void(Error)> done);

  void read(boost::asio::mutable_buffer into, Handler handler);
  /// When anything came last.
  [[nodiscard]] TimePoint last_read() const noexcept { return last_read_; }

  void append(const void* bytes, std::size_t size);
  enum class Tell : std::uint8_t { always, if_late };
  /// Starts to write what was appended, unless something is being written: then it follows. With `if_late`, what the
  /// system takes at once needs no `on_written`.
  void flush(Tell tell = Tell::always);
  /// Bytes that were appended and are not written yet.
  [[nodiscard]] std::size_t pending() const noexcept { return filling_.size() + writing_.size(); }
  /// Bytes that were appended so far; the first `appended() - pending()` of them are written.
  [[nodiscard]] std::uint64_t appended() const noexcept { return appended_; }
  /// Why nothing can be written any more.
  [[nodiscard]] const boost::system::error_code& write_error() const noexcept { return write_error_; }
  /// Is called whenever something was written, or failed to be.
  void on_written(std::function<void()> fn) {
    on_written_ = std::make_shared<const std::function<void()>>(std::move(fn));
  }
  /// Calls `handler` once less than so many bytes are pending.
  void when_below(std::size_t bytes, std::size_t result, Handler handler);

  /// Sends what is pending and the end behind it, drops what still comes, and calls `done` when the peer has closed its
  /// side too, or after two seconds.
  void shut_down(std::function<void()> done);
  /// Closes. With a reset: what is pending is lost, and the peer sees that. The timers are not used any more.
  void close(bool reset);

 private:
  struct Tls;

  void write(Tell tell);
  void written(const boost::system::error_code& error);
  void end_writes();
  void discard();
  void shut();

  const Strand strand_;
  TimerService& timers_;
  TcpSocket socket_;
  std::unique_ptr<Tls> tls_;
  TimePoint last_read_;
  /// What is to be written next, and what is being written.
  std::string filling_;
  std::string writing_;
  std::uint64_t appended_ = 0;
  boost::system::error_code write_error_;
  std::shared_ptr<const std::function<void()>> on_written_;
  struct Waiting {
    std::size_t below = 0;
    std::size_t result = 0;
    Handler handler;
  };
  Waiting waiting_;
  std::function<void()> shut_;
  TimerId patience_ = 0;
  bool shutting_ = false;
  bool end_sent_ = false;
  bool closed_ = false;
};

}  // namespace sharingbus::transport::internal
