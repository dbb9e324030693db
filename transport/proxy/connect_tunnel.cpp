#include "transport/proxy/connect_tunnel.hpp"

#include <array>
#include <atomic>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "bus/base/bounded.hpp"
#include "transport/proxy/internal/connect_exchange.hpp"
#include "transport/tls/tls_context.hpp"

namespace sharingbus::transport {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using asio::experimental::awaitable_operators::operator&&;
using Strand = asio::strand<asio::any_io_executor>;
using Socket = asio::basic_stream_socket<tcp, Strand>;
using Acceptor = asio::basic_socket_acceptor<tcp, Strand>;
using Resolver = asio::ip::basic_resolver<tcp, Strand>;
using SecureSocket = asio::ssl::stream<Socket>;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable_t<Strand>());
template <class T>
using Awaitable = asio::awaitable<T, Strand>;

constexpr std::size_t kBuffer = 16 * 1024;
/// Before accepting again when that failed.
constexpr auto kPause = std::chrono::milliseconds(100);

void end_of_writing(Socket& socket) {
  boost::system::error_code ignored;
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}
// TLS has no end of one direction that the other side could answer behind: the whole connection goes.
void end_of_writing(SecureSocket& stream) {
  boost::system::error_code ignored;
  stream.lowest_layer().close(ignored);
}
void close_socket(Socket& socket) {
  boost::system::error_code ignored;
  socket.close(ignored);
}

/// Hands on what `from` brings until it ends, or `to` does.
template <class From, class To>
Awaitable<void> pump(From& from, To& to) {
  std::array<char, kBuffer> buffer;
  for (;;) {
    const auto [read_error, count] = co_await from.async_read_some(asio::buffer(buffer), kAwait);
    if (read_error) break;
    const auto [write_error, written] = co_await asio::async_write(to, asio::buffer(buffer.data(), count), kAwait);
    if (write_error) break;
  }
  end_of_writing(to);
}

}  // namespace

Result<> ConnectTunnelOptions::validate() const {
  if (proxy.host.empty() || proxy.port == 0) return Error(errc::invalid_argument, "proxy needs a host and a port");
  if (target.host.empty() || target.port == 0) return Error(errc::invalid_argument, "target needs a host and a port");
  if (connect_timeout <= Duration::zero()) return Error(errc::invalid_argument, "connect_timeout must be positive");
  if (max_connections == 0) return Error(errc::invalid_argument, "max_connections must be at least 1");
  if (!proxy.tls) return {};
  return proxy_tls.validate_for_dialer();
}

/// The door and its connections. Everything but the counters and the latest failure belongs to the strand.
class ConnectTunnel::State : public std::enable_shared_from_this<State> {
 public:
  State(asio::any_io_executor executor, TimerService& timers, ConnectTunnelOptions options)
      : strand_(std::move(executor)),
        timers_(timers),
        options_(std::move(options)),
        tls_(options_.proxy_tls, TlsContext::Role::dialer, "http/1.1"),
        acceptor_(strand_),
        pause_(strand_, asio::steady_timer::time_point::max()) {}

  Result<Endpoint> listen() {
    if (listening_.exchange(true)) return Error(errc::invalid_state, "listen may be called once");
    // Bound here, so that the caller knows the port; nothing else touches the acceptor before `accept`.
    Acceptor acceptor(strand_);
    boost::system::error_code error;
    acceptor.open(tcp::v4(), error);
    if (!error) acceptor.bind({asio::ip::address_v4::loopback(), 0}, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return Error(errc::address_in_use, "proxy tunnel: 127.0.0.1: " + error.message());
    const std::uint16_t port = acceptor.local_endpoint().port();
    ++running_;
    asio::co_spawn(strand_, accept(shared_from_this(), std::move(acceptor)), ended());
    return Endpoint{"tcp", "127.0.0.1", port};
  }

  void close(std::function<void()> done) {
    asio::dispatch(strand_, [self = shared_from_this(), done = std::move(done)]() mutable {
      self->closing_ = true;
      if (done) self->waiting_.push_back(std::move(done));
      boost::system::error_code ignored;
      self->acceptor_.close(ignored);
      self->pause_.cancel();
      for (Connection* connection : self->connections_)
        connection->cancel();
      self->finish_close();
    });
  }

  [[nodiscard]] Error last_failure() const {
    const std::scoped_lock lock(mutex_);
    return last_failure_;
  }
  [[nodiscard]] ConnectTunnelStats stats() const { return {count_.load(), opened_.load(), failed_.load()}; }

 private:
  /// Lives in its coroutine's frame.
  struct Connection {
    Connection(std::uint64_t number, Strand strand, Socket socket)
        : id(number), resolver(strand), inside(std::move(socket)), outside(std::move(strand)) {}
    /// Whatever is being waited for on the way to the target ends with an error. Who is inside sees nothing yet, so
    /// that the reason is known by the time that he does.
    void cancel_outside() {
      cancelled = true;
      resolver.cancel();
      close_socket(secure ? secure->next_layer() : outside);
    }
    void cancel() {
      cancel_outside();
      close_socket(inside);
    }
    const std::uint64_t id;
    Resolver resolver;
    Socket inside;
    Socket outside;
    /// Outlives the stream.
    TlsContext::Ptr context;
    std::optional<SecureSocket> secure;
    bool cancelled = false;
    bool connected = false;
    bool timed_out = false;
  };

  /// A connection is in the list while this is there.
  class Presence {
   public:
    Presence(State& state, Connection& connection) : state_(state), connection_(connection) {
      state_.connections_.push_back(&connection_);
      state_.count_ = state_.connections_.size();
    }
    ~Presence() {
      connection_.cancel();
      state_.connections_.remove(&connection_);
      state_.count_ = state_.connections_.size();
    }
    Presence(const Presence&) = delete;
    Presence& operator=(const Presence&) = delete;

   private:
    State& state_;
    Connection& connection_;
  };

  static Awaitable<void> accept(std::shared_ptr<State> self, Acceptor acceptor) {
    self->acceptor_ = std::move(acceptor);
    while (!self->closing_) {
      auto [error, socket] = co_await self->acceptor_.async_accept(kAwait);
      if (self->closing_) break;
      if (error) {
        // Out of descriptors, most likely: accepting again at once would only turn in circles.
        co_await self->pause();
        continue;
      }
      // We are one of those that run.
      if (static_cast<std::size_t>(self->running_) <= self->options_.max_connections) {
        ++self->running_;
        asio::co_spawn(self->strand_, serve(self, std::move(socket)), self->ended());
      }
    }
    boost::system::error_code ignored;
    self->acceptor_.close(ignored);
  }

  static Awaitable<void> serve(std::shared_ptr<State> self, Socket socket) {
    Connection connection(++self->last_id_, self->strand_, std::move(socket));
    const Presence presence(*self, connection);
    if (!self->closing_) self->note(co_await self->connect(connection));
    if (connection.connected && !self->closing_) {
      if (connection.secure) {
        co_await (pump(connection.inside, *connection.secure) && pump(*connection.secure, connection.inside));
      } else {
        co_await (pump(connection.inside, connection.outside) && pump(connection.outside, connection.inside));
      }
    }
  }

  /// To the proxy, and through it.
  Awaitable<Error> connect(Connection& connection) {
    const TimerId timer =
        timers_.schedule_after(bounded(options_.connect_timeout), [weak = weak_from_this(), id = connection.id] {
          if (const auto self = weak.lock()) asio::post(self->strand_, [self, id] { self->expire(id); });
        });
    Error failure = co_await dial(connection);
    timers_.cancel(timer);
    if (failure && connection.timed_out) {
      failure =
          Error(errc::connect_timeout, "Proxy unreachable: " + to_string(options_.proxy) + " did not answer in time");
    }
    connection.connected = !failure;
    co_return failure;
  }

  Awaitable<Error> dial(Connection& connection) {
    const Proxy& proxy = options_.proxy;
    const auto unreachable = [&proxy](const std::string& why) {
      return Error(errc::connection_refused, "Proxy unreachable: " + to_string(proxy) + ": " + why);
    };
    const auto [resolve_error, found] =
        co_await connection.resolver.async_resolve(proxy.host, std::to_string(proxy.port), kAwait);
    if (resolve_error) co_return unreachable(resolve_error.message());
    // Connecting opens the socket, so nothing would be left of a cancellation that came while the answer was on its
    // way.
    if (connection.cancelled) co_return unreachable("cancelled");
    const auto [connect_error, endpoint] = co_await asio::async_connect(connection.outside, found, kAwait);
    if (connect_error) co_return unreachable(connect_error.message());
    boost::system::error_code ignored;
    connection.outside.set_option(tcp::no_delay(true), ignored);
    connection.inside.set_option(tcp::no_delay(true), ignored);
    if (!proxy.tls)
      co_return co_await internal::exchange_connect(connection.outside, connection.inside, proxy, options_.target);

    const auto context = tls_.current();
    if (!context) co_return unreachable(to_string(context.error()));
    connection.context = *context;
    connection.secure.emplace(std::move(connection.outside), *connection.context);
    SecureSocket& secure = *connection.secure;
    if (const auto expected = expect_peer(secure.native_handle(), options_.proxy_tls, proxy.host); !expected) {
      co_return unreachable(to_string(expected.error()));
    }
    const auto [handshake_failed] = co_await secure.async_handshake(asio::ssl::stream_base::client, kAwait);
    if (handshake_failed) {
      co_return unreachable(handshake_error(secure.native_handle(), handshake_failed, to_string(proxy)).message);
    }
    co_return co_await internal::exchange_connect(secure, connection.inside, proxy, options_.target);
  }

  void expire(std::uint64_t id) {
    for (Connection* connection : connections_) {
      if (connection->id != id || connection->connected) continue;
      connection->timed_out = true;
      connection->cancel_outside();
    }
  }

  Awaitable<void> pause() {
    const TimerId timer = timers_.schedule_after(kPause, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) asio::post(self->strand_, [self] { self->pause_.cancel(); });
    });
    co_await pause_.async_wait(kAwait);
    timers_.cancel(timer);
  }

  void note(const Error& failure) {
    (failure ? failed_ : opened_) += 1;
    const std::scoped_lock lock(mutex_);
    last_failure_ = failure;
  }
  /// Every coroutine ends here, whichever way.
  std::function<void(std::exception_ptr)> ended() {
    return [self = shared_from_this()](const std::exception_ptr& thrown) {
      if (thrown) self->note(Error(errc::internal, "proxy tunnel: out of memory"));
      --self->running_;
      self->finish_close();
    };
  }
  void finish_close() {
    if (!closing_ || running_ != 0) return;
    for (const auto& done : std::exchange(waiting_, {}))
      done();
  }

  const Strand strand_;
  TimerService& timers_;
  const ConnectTunnelOptions options_;
  TlsContext tls_;
  Acceptor acceptor_;
  std::list<Connection*> connections_;
  std::vector<std::function<void()>> waiting_;
  asio::basic_waitable_timer<asio::steady_timer::clock_type, asio::steady_timer::traits_type, Strand> pause_;
  std::uint64_t last_id_ = 0;
  bool closing_ = false;
  /// Coroutines that have been started.
  std::atomic<int> running_{0};
  std::atomic<bool> listening_{false};
  std::atomic<std::size_t> count_{0};
  std::atomic<std::uint64_t> opened_{0};
  std::atomic<std::uint64_t> failed_{0};
  mutable std::mutex mutex_;
  Error last_failure_;
};

ConnectTunnel::ConnectTunnel(boost::asio::any_io_executor executor, TimerService& timers,
                             ConnectTunnelOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  state_ = std::make_shared<State>(std::move(executor), timers, std::move(options));
}

ConnectTunnel::~ConnectTunnel() {
  close(nullptr);
}

Result<Endpoint> ConnectTunnel::listen() {
  return state_->listen();
}

Error ConnectTunnel::last_failure() const {
  return state_->last_failure();
}

ConnectTunnelStats ConnectTunnel::stats() const {
  return state_->stats();
}

void ConnectTunnel::close(std::function<void()> done) {
  state_->close(std::move(done));
}

}  // namespace sharingbus::transport
