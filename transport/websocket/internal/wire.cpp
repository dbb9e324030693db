#include "transport/websocket/internal/wire.hpp"

#include <array>
#include <chrono>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

namespace sharingbus::transport::internal {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr auto kPatience = std::chrono::seconds(2);
/// Buffers above this are given back when they are empty: most connections are idle most of the time.
constexpr std::size_t kKeptBytes = 4096;

void empty(std::string& buffer) {
  if (buffer.capacity() > kKeptBytes) {
    buffer = {};
  } else {
    buffer.clear();
  }
}

}  // namespace

struct Wire::Tls {
  Tls(TcpSocket& socket, TlsContext::Ptr from) : context(std::move(from)), stream(socket, *context) {}
  const TlsContext::Ptr context;
  asio::ssl::stream<TcpSocket&> stream;
};

Wire::Wire(TcpSocket socket, TimerService& timers)
    : strand_(socket.get_executor()), timers_(timers), socket_(std::move(socket)), last_read_(timers.now()) {}

Wire::~Wire() = default;

void Wire::handshake(const TlsContext::Ptr& context, const TlsOptions& options, TlsContext::Role role,
                     const std::string& host, const std::string& peer, std::function<void(Error)> done) {
  tls_ = std::make_unique<Tls>(socket_, context);
  SSL* const native = tls_->stream.native_handle();
  if (role == TlsContext::Role::dialer) {
    if (auto expected = expect_peer(native, options, host); !expected) {
      return asio::post(strand_, [done = std::move(done), error = expected.error()] { done(error); });
    }
  }
  tls_->stream.async_handshake(
      role == TlsContext::Role::dialer ? asio::ssl::stream_base::client : asio::ssl::stream_base::server,
      [self = shared_from_this(), native, peer, done = std::move(done)](const error_code& error) {
        done(error ? handshake_error(native, error, peer) : Error());
      });
}

void Wire::read(asio::mutable_buffer into, Handler handler) {
  auto completed = [self = shared_from_this(), handler = std::move(handler)](const error_code& error,
                                                                             std::size_t size) mutable {
    if (!self->closed_) self->last_read_ = self->timers_.now();
    handler(error, size);
  };
  if (tls_) {
    tls_->stream.async_read_some(into, std::move(completed));
  } else {
    socket_.async_read_some(into, std::move(completed));
  }
}

void Wire::append(const void* bytes, std::size_t size) {
  if (write_error_) return;
  filling_.append(static_cast<const char*>(bytes), size);
  appended_ += size;
}

void Wire::flush(Tell tell) {
  if (!writing_.empty() || write_error_) return;
  if (!filling_.empty()) return write(tell);
  if (shutting_) end_writes();
}

void Wire::write(Tell tell) {
  writing_.swap(filling_);
  std::size_t taken = 0;
  if (tell == Tell::if_late && !tls_ && !waiting_.handler && !shutting_) {
    // Mostly the system takes it all, and then there is nothing to wait for. An error shows again below.
    error_code error;
    if (!socket_.non_blocking()) socket_.non_blocking(true, error);
    if (!error) taken = socket_.write_some(asio::buffer(writing_), error);
    if (taken == writing_.size()) return empty(writing_);
  }
  const auto rest = asio::buffer(writing_) + taken;
  const auto completed = [self = shared_from_this()](const error_code& error, std::size_t /*size*/) {
    self->written(error);
  };
  if (tls_) {
    asio::async_write(tls_->stream, rest, completed);
  } else {
    asio::async_write(socket_, rest, completed);
  }
}

void Wire::written(const error_code& error) {
  empty(writing_);
  if (error) {
    write_error_ = error;
    empty(filling_);
  }
  if (waiting_.handler && (error || pending() < waiting_.below)) {
    Waiting waiting = std::exchange(waiting_, {});
    waiting.handler(error, error ? 0 : waiting.result);
  }
  if (error && shutting_) return shut();
  flush();
  if (on_written_) {
    // It may replace itself.
    const auto hook = on_written_;
    (*hook)();
  }
}

void Wire::when_below(std::size_t bytes, std::size_t result, Handler handler) {
  if (pending() < bytes || write_error_) {
    return asio::post(strand_, [handler = std::move(handler), error = write_error_, result]() mutable {
      handler(error, error ? 0 : result);
    });
  }
  waiting_ = {bytes, result, std::move(handler)};
}

void Wire::shut_down(std::function<void()> done) {
  shut_ = std::move(done);
  shutting_ = true;
  if (closed_) return asio::post(strand_, [self = shared_from_this()] { self->shut(); });
  patience_ = timers_.schedule_after(kPatience, [weak = weak_from_this(), strand = strand_] {
    asio::post(strand, [weak] {
      if (const auto self = weak.lock()) self->shut();
    });
  });
  if (write_error_) return asio::post(strand_, [self = shared_from_this()] { self->shut(); });
  flush();
}

/// Once, when nothing is pending any more.
void Wire::end_writes() {
  if (std::exchange(end_sent_, true)) return;
  error_code ignored;
  socket_.shutdown(TcpSocket::shutdown_send, ignored);
  discard();
}

void Wire::discard() {
  if (!shut_) return;
  auto dropped = std::make_shared<std::array<char, 4096>>();
  // Below TLS: nobody will look at it.
  socket_.async_read_some(asio::buffer(*dropped),
                          [self = shared_from_this(), dropped](const error_code& error, std::size_t /*size*/) {
                            if (error) return self->shut();
                            self->discard();
                          });
}

void Wire::shut() {
  if (!closed_ && patience_ != 0) timers_.cancel(std::exchange(patience_, 0));
  if (const auto done = std::exchange(shut_, nullptr)) done();
}

void Wire::close(bool reset) {
  if (std::exchange(closed_, true)) return;
  if (patience_ != 0) timers_.cancel(std::exchange(patience_, 0));
  error_code ignored;
  if (reset) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
  on_written_ = nullptr;
  if (shut_) asio::post(strand_, [self = shared_from_this()] { self->shut(); });
}

}  // namespace sharingbus::transport::internal
