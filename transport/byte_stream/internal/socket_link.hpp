#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <sys/uio.h>
#include <utility>

#include "transport/byte_stream/internal/byte_link.hpp"

namespace sharingbus::transport::internal {

/// A stream over a connected stream socket. `finish` is a half-close; `cancel` closes at once, over TCP with a reset.
/// Over Unix sockets, where there is none, the peer sees that both directions went at once.
class SocketLink : public ByteLink {
 protected:
  using ByteLink::ByteLink;

  /// The socket is connected.
  void connected(UniqueFd socket, std::string peer, std::uint64_t listener);

  ssize_t write_some(const iovec* pieces, int count) final;
  void end_writes() final;
  void on_read_end(Error broken) final;
  void on_write_error() final;
  void on_paused() final;
  void break_off() final;

 private:
  [[nodiscard]] bool vanished();

  std::string peer_;
};

/// An accepted one.
class AcceptedLink final : public SocketLink {
 public:
  AcceptedLink(const ByteLinkContext& context, StreamOptions options, UniqueFd socket, std::string peer,
               std::uint64_t listener)
      : SocketLink(context, std::move(options)),
        socket_(std::move(socket)),
        accepted_from_(std::move(peer)),
        listener_(listener) {}

 private:
  void begin() override { connected(std::move(socket_), std::move(accepted_from_), listener_); }
  void release() override { socket_.reset(); }

  UniqueFd socket_;
  std::string accepted_from_;
  const std::uint64_t listener_;
};

}  // namespace sharingbus::transport::internal
