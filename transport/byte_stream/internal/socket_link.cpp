#include "transport/byte_stream/internal/socket_link.hpp"

#include <poll.h>
#include <sys/socket.h>

namespace sharingbus::transport::internal {

void SocketLink::connected(UniqueFd socket, std::string peer, std::uint64_t listener) {
  if (auto attached = attach(std::move(socket)); !attached) return break_with(std::move(attached).error());
  peer_ = peer;
  opened(std::move(peer), listener);
}

ssize_t SocketLink::write_some(const iovec* pieces, int count) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces);
  message.msg_iovlen = static_cast<std::size_t>(count);
  return ::sendmsg(output().native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void SocketLink::end_writes() {
  if (read_ended()) return close(good_order(peer_ + ": the peer closed the stream"));
  ::shutdown(output().native_handle(), SHUT_WR);
}

/// Whether the peer closed the whole socket: who finishes keeps it until this side has finished too.
bool SocketLink::vanished() {
  pollfd socket{input().native_handle(), POLLRDHUP, 0};
  return !writes_ended() && ::poll(&socket, 1, 0) == 1 && (socket.revents & (POLLHUP | POLLERR)) != 0;
}

void SocketLink::on_read_end(Error broken) {
  if (broken) return break_with({errc::stream_failed, peer_ + ": " + broken.message});
  if (write_error()) return break_with({errc::stream_failed, peer_ + ": " + write_error()->message});
  if (vanished())
    return break_with({errc::stream_failed, peer_ + ": the peer closed the connection without finishing"});
  if (writes_ended()) return close(good_order({}));
  peer_finished();
}

void SocketLink::on_write_error() {
  // What the peer sent before it went, its own reason perhaps, is still to be read.
  if (may_read() && !read_ended()) return read_soon();
  break_with(*write_error());
}

void SocketLink::on_paused() {
  // Nobody learns of the end that is behind what is unread, unless it is known already.
  if (write_error()) break_with(*write_error());
}

void SocketLink::break_off() {
  if (attached()) {
    // Over TCP: a reset instead of an end in good order.
    const linger at_once{1, 0};
    ::setsockopt(input().native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  close(*reason());
}

}  // namespace sharingbus::transport::internal
