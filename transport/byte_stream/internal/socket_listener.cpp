#include "transport/byte_stream/internal/socket_listener.hpp"

#include <cerrno>
#include <chrono>
#include <sys/socket.h>
#include <utility>

#include "transport/byte_stream/internal/socket_link.hpp"

namespace sharingbus::transport::internal {
namespace {

/// Connections accepted in a row before others on the executor get their turn.
constexpr int kAcceptsPerTurn = 32;
constexpr auto kBackOff = std::chrono::milliseconds(100);

/// The connection that was to be accepted is gone or broken; the next one may be well.
bool concerns_one_connection(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

}  // namespace

SocketListener::SocketListener(boost::asio::any_io_executor executor, TimerService& timers, ListenerOptions options,
                               std::shared_ptr<const Framing> framing, LogSink log,
                               std::unique_ptr<ListeningSocket> socket)
    : executor_(std::move(executor)),
      timers_(timers),
      options_(std::move(options)),
      framing_(std::move(framing)),
      log_(std::move(log)),
      links_(std::make_shared<ByteLinkSet>()),
      socket_(std::move(socket)) {}

Result<Endpoint> SocketListener::listen() {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(used_, true)) return Error(errc::invalid_state, "listen was called, or the listener is closed");
  auto bound = socket_->open();
  if (!bound) return bound;
  text_ = to_string(*bound);
  links_->on_removed([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->on_removed();
  });
  accepting_ = true;
  wait();
  return bound;
}

void SocketListener::stop_accepting() {
  const std::scoped_lock lock(mutex_);
  if (!std::exchange(accepting_, false)) return;
  end_wait();
  socket_->refuse();
}

void SocketListener::close(const Error& why, std::function<void()> done) {
  stop_accepting();
  {
    const std::scoped_lock lock(mutex_);
    used_ = true;
    socket_->close();
  }
  links_->close(why, std::move(done));
}

void SocketListener::wait() {
  if (!waiting_) {
    boost::system::error_code failed;
    waiting_.emplace(executor_);
    waiting_->assign(socket_->descriptor(), failed);
    if (failed) return back_off("waiting for connections failed: " + failed.message());
  }
  waiting_->async_wait(Descriptor::wait_read,
                       [weak = weak_from_this(), number = ++last_wait_](const boost::system::error_code&) {
                         if (const auto self = weak.lock()) self->accept(number);
                       });
}

void SocketListener::end_wait() {
  if (retry_ != 0) timers_.cancel(std::exchange(retry_, 0));
  if (waiting_ && waiting_->is_open()) waiting_->release();
  waiting_.reset();
  ++last_wait_;
}

void SocketListener::accept(std::uint64_t wait_number) {
  const std::scoped_lock lock(mutex_);
  // Aborted, or was on its way when it should have been.
  if (wait_number != last_wait_) return;
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    if (!accept_one()) return;
  }
  wait();
}

/// False when accepting goes on elsewhere, or not at all.
bool SocketListener::accept_one() {
  UniqueFd accepted(::accept4(socket_->descriptor(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (accepted) {
    failing_ = false;
    const std::shared_ptr<ByteLink> link = adopt(std::move(accepted));
    const bool full = links_->size() >= options_.max_links;
    if (full) {
      // Before anybody learns of the last one, or the next could still get in.
      refusing_ = true;
      end_wait();
      socket_->refuse();
    }
    if (link) link->start();
    return !full;
  }
  if (errno == EAGAIN) {
    wait();
    return false;
  }
  if (concerns_one_connection(errno)) return true;
  back_off("accepting failed: " + system_text(errno));
  return false;
}

/// Null once closed.
std::shared_ptr<ByteLink> SocketListener::adopt(UniqueFd accepted) {
  StreamOptions stream;
  stream.publisher = options_.publisher;
  stream.decoder = options_.decoder;
  stream.id = options_.new_source ? options_.new_source() : 0;
  stream.origin = options_.origin;
  stream.limits = options_.limits;
  std::string peer = socket_->prepare(accepted.get());
  auto link = std::make_shared<AcceptedLink>(ByteLinkContext{executor_, timers_, framing_, links_}, std::move(stream),
                                             std::move(accepted), std::move(peer), options_.id);
  return links_->add(link) ? link : nullptr;
}

void SocketListener::back_off(const std::string& why) {
  end_wait();
  if (!std::exchange(failing_, true) && log_) {
    log_(LogLevel::warn, text_ + ": " + why + "; trying again every " + std::to_string(kBackOff.count()) + " ms");
  }
  retry_ = timers_.schedule_after(kBackOff, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    const std::scoped_lock lock(self->mutex_);
    // Cancelled, but was on its way.
    if (std::exchange(self->retry_, 0) == 0) return;
    if (self->refusing_) return self->resume();
    self->wait();
  });
}

void SocketListener::resume() {
  if (const auto listening = socket_->resume(); !listening) return back_off(to_string(listening.error()));
  refusing_ = false;
  wait();
}

void SocketListener::on_removed() {
  const std::scoped_lock lock(mutex_);
  if (!accepting_ || !refusing_ || retry_ != 0 || links_->size() >= options_.max_links) return;
  resume();
}

}  // namespace sharingbus::transport::internal
