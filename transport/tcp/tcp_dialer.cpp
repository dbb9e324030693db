#include "transport/tcp/tcp_dialer.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <stdexcept>
#include <sys/socket.h>
#include <utility>
#include <vector>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "transport/byte_stream/internal/byte_link_set.hpp"
#include "transport/byte_stream/internal/socket_link.hpp"
#include "transport/tcp/internal/tcp_socket.hpp"

namespace sharingbus::transport {
namespace {

using boost::asio::ip::tcp;
using internal::Descriptor;
using internal::system_text;
using internal::UniqueFd;

/// A stream that dials.
class TcpLink final : public internal::SocketLink {
 public:
  TcpLink(const internal::ByteLinkContext& context, StreamOptions options, const Endpoint& endpoint,
          const TcpSocketOptions& socket_options)
      : SocketLink(context, std::move(options)), endpoint_(endpoint), socket_options_(socket_options) {}

 private:
  void begin() override;
  void release() override;

  void resolve();
  void try_next();
  void wait_for_connection();
  void attempt_ended(int error);
  void refuse(std::string why);

  const Endpoint endpoint_;
  const TcpSocketOptions socket_options_;
  std::optional<tcp::resolver> resolver_;
  /// Those to be tried, the last one first.
  std::vector<tcp::endpoint> addresses_;
  tcp::endpoint trying_;
  std::optional<Descriptor> connecting_;
  /// Tells a wait that was given up from the one that counts.
  std::uint64_t attempt_ = 0;
  TimePoint deadline_;
  TimerId deadline_timer_ = 0;
  TimerId attempt_timer_ = 0;
};

void TcpLink::begin() {
  if (endpoint_.scheme != "tcp") {
    return break_with({errc::invalid_endpoint, to_string(endpoint_) + ": this dialer speaks the scheme tcp only"});
  }
  deadline_ = timers().now() + publisher().connect_timeout();
  deadline_timer_ = after(publisher().connect_timeout(), [this] {
    if (!attached()) break_with({errc::connect_timeout, to_string(endpoint_) + ": no connection in time"});
  });
  boost::system::error_code no_address;
  const auto address = boost::asio::ip::make_address(endpoint_.host, no_address);
  if (no_address) return resolve();
  addresses_.emplace_back(address, endpoint_.port);
  try_next();
}

void TcpLink::resolve() {
  resolver_.emplace(strand());
  resolver_->async_resolve(
      endpoint_.host, std::to_string(endpoint_.port), tcp::resolver::numeric_service,
      [this, self = shared_from_this()](const boost::system::error_code& failed, const auto& found) {
        if (ended()) return;
        resolver_.reset();
        if (failed) return refuse(failed.message());
        for (const auto& each : found)
          addresses_.push_back(each.endpoint());
        std::reverse(addresses_.begin(), addresses_.end());
        try_next();
      });
}

void TcpLink::try_next() {
  trying_ = addresses_.back();
  addresses_.pop_back();
  ++attempt_;
  UniqueFd socket(::socket(trying_.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return attempt_ended(errno);
  const bool waits = ::connect(socket.get(), trying_.data(), static_cast<socklen_t>(trying_.size())) != 0;
  if (waits && errno != EINPROGRESS) return attempt_ended(errno);
  boost::system::error_code failed;
  connecting_.emplace(strand());
  connecting_->assign(socket.get(), failed);
  if (failed) return attempt_ended(failed.value());
  static_cast<void>(socket.release());
  if (!waits) return attempt_ended(0);
  wait_for_connection();
}

void TcpLink::wait_for_connection() {
  if (!addresses_.empty()) {
    const auto share = (deadline_ - timers().now()) / static_cast<std::int64_t>(addresses_.size() + 1);
    attempt_timer_ = after(share, [this, number = attempt_] {
      if (number == attempt_ && connecting_) attempt_ended(ETIMEDOUT);
    });
  }
  connecting_->async_wait(Descriptor::wait_write,
                          [this, self = shared_from_this(), number = attempt_](const boost::system::error_code&) {
                            if (ended() || number != attempt_ || !connecting_) return;
                            int error = 0;
                            socklen_t size = sizeof error;
                            if (::getsockopt(connecting_->native_handle(), SOL_SOCKET, SO_ERROR, &error, &size) != 0)
                              error = errno;
                            attempt_ended(error);
                          });
}

/// `error` is 0 when it succeeded, else errno.
void TcpLink::attempt_ended(int error) {
  if (attempt_timer_ != 0) timers().cancel(std::exchange(attempt_timer_, 0));
  if (error == 0) {
    // A port of the ephemeral range that nobody listens at can be connected to itself.
    tcp::endpoint own;
    auto size = static_cast<socklen_t>(own.capacity());
    if (::getsockname(connecting_->native_handle(), own.data(), &size) == 0 && own == trying_) error = ECONNREFUSED;
  }
  if (error == 0) {
    UniqueFd socket(connecting_->release());
    connecting_.reset();
    timers().cancel(std::exchange(deadline_timer_, 0));
    internal::set_tcp_options(socket.get(), socket_options_);
    return connected(std::move(socket), internal::tcp_text(trying_), 0);
  }
  connecting_.reset();
  if (!addresses_.empty()) return try_next();
  refuse(internal::tcp_text(trying_) + ": " + system_text(error));
}

void TcpLink::refuse(std::string why) {
  break_with({errc::connection_refused, to_string(endpoint_) + ": " + why});
}

void TcpLink::release() {
  if (deadline_timer_ != 0) timers().cancel(std::exchange(deadline_timer_, 0));
  if (attempt_timer_ != 0) timers().cancel(std::exchange(attempt_timer_, 0));
  resolver_.reset();
  connecting_.reset();
}

}  // namespace

Result<> TcpDialerOptions::validate() const {
  if (!framing) return Error(errc::invalid_argument, "framing is missing");
  return socket.validate();
}

struct TcpDialer::State {
  Endpoint endpoint;
  TcpDialerOptions options;
  internal::ByteLinkContext context;
};

TcpDialer::TcpDialer(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
                     TcpDialerOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  internal::ByteLinkContext context{std::move(executor), timers, options.framing,
                                    std::make_shared<internal::ByteLinkSet>()};
  state_ = std::make_unique<State>(State{std::move(endpoint), std::move(options), std::move(context)});
}

TcpDialer::~TcpDialer() {
  state_->context.links->close(Error(errc::closed, "the dialer is gone"), nullptr);
}

std::shared_ptr<Link> TcpDialer::open(StreamOptions options, std::string first_frame) {
  const State& state = *state_;
  auto link = std::make_shared<TcpLink>(state.context, std::move(options), state.endpoint, state.options.socket);
  internal::launch(*state.context.links, link, std::move(first_frame));
  return link;
}

void TcpDialer::close(std::function<void()> done) {
  state_->context.links->close(Error(errc::cancelled, to_string(state_->endpoint) + ": the dialer was closed"),
                               std::move(done));
}

DialerStats TcpDialer::stats() const {
  return state_->context.links->stats();
}

}  // namespace sharingbus::transport
