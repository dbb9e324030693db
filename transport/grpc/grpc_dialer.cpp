#include "transport/grpc/grpc_dialer.hpp"

#include <future>
#include <optional>
#include <stdexcept>
#include <utility>

#include <grpc/compression.h>
#include <grpc/grpc.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "transport/grpc/internal/channel_arguments.hpp"
#include "transport/grpc/internal/channel_pool.hpp"
#include "transport/grpc/internal/client_link.hpp"
#include "transport/grpc/internal/closer.hpp"
#include "transport/grpc/internal/completion_thread.hpp"
#include "transport/grpc/internal/grpc_threads.hpp"
#include "transport/grpc/internal/tls_credentials.hpp"

namespace sharingbus::transport {
namespace {

constexpr int kNever = 60 * 60 * 1000;

grpc::ChannelArguments channel_arguments(const Endpoint& endpoint, const GrpcDialerOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // or equal channels would share one connection
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  // Only identity: a small compressed message could fill the memory.
  arguments.SetInt(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, internal::to_ms(options.keepalive_interval));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, internal::to_ms(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // When to try again is the caller's business: the pool replaces what failed, and gRPC must not go on by itself behind
  // the caller's back. Not GRPC_ARG_MIN_RECONNECT_BACKOFF_MS: that is how long connecting may take, too.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kNever);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kNever);
  arguments.SetMaxReceiveMessageSize(internal::to_int(options.max_receive_bytes));
  arguments.SetMaxSendMessageSize(-1);
  if (options.connect_to) arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, authority(endpoint));
  if (endpoint.scheme == "grpcs") {
    const std::string& name = options.tls.server_name;
    if (!name.empty() || options.connect_to) {
      arguments.SetSslTargetNameOverride(name.empty() ? endpoint.host : name);
    }
  }
  return arguments;
}

std::shared_ptr<grpc::ChannelCredentials> credentials(const Endpoint& endpoint, const GrpcDialerOptions& options) {
  if (endpoint.scheme == "grpcs") return internal::channel_credentials(options.tls);
  return grpc::InsecureChannelCredentials();
}

/// Why no stream can ever be opened.
std::optional<Error> unusable(const Endpoint& endpoint, const GrpcDialerOptions& options) {
  if (endpoint.scheme != "grpc" && endpoint.scheme != "grpcs") {
    return Error(errc::invalid_endpoint, to_string(endpoint) + ": this dialer serves the schemes grpc and grpcs only");
  }
  if (endpoint.scheme == "grpc") return std::nullopt;
  const auto valid = options.tls.validate_for_dialer();
  if (!valid) return Error(errc::invalid_argument, to_string(endpoint) + ": TLS: " + valid.error().message);
  return std::nullopt;
}

}  // namespace

Result<> GrpcDialerOptions::validate() const {
  if (method.size() < 2 || method.front() != '/') {
    return Error(errc::invalid_argument, "method must be a path like /package.Service/Method, not '" + method + "'");
  }
  if (!fallback_method.empty() && (fallback_method.size() < 2 || fallback_method.front() != '/')) {
    return Error(errc::invalid_argument,
                 "fallback_method must be empty or a path like /package.Service/Method, not '" + fallback_method + "'");
  }
  if (max_streams_per_channel == 0) return Error(errc::invalid_argument, "max_streams_per_channel must be at least 1");
  if (keepalive_interval <= Duration::zero())
    return Error(errc::invalid_argument, "keepalive_interval must be positive");
  if (keepalive_timeout <= Duration::zero()) return Error(errc::invalid_argument, "keepalive_timeout must be positive");
  if (max_receive_bytes == 0) return Error(errc::invalid_argument, "max_receive_bytes must be at least 1");
  return {};
}

struct GrpcDialer::State {
  State(const Endpoint& endpoint, GrpcDialerOptions options, TimerService& timers)
      : never(unusable(endpoint, options)),
        shared(std::make_shared<internal::ClientLink::Shared>(to_string(endpoint), std::move(options.method),
                                                              std::move(options.fallback_method),
                                                              std::move(options.connect_failure), timers)) {
    if (never) return;
    pool = std::make_shared<internal::ChannelPool>(
        *threads, "dns:///" + authority(options.connect_to.value_or(endpoint)), credentials(endpoint, options),
        channel_arguments(endpoint, options), options.max_streams_per_channel);
    shared->links->on_tick([some_pool = std::weak_ptr(pool),
                            some_links = std::weak_ptr<internal::LinkSet>(shared->links)] {
      const auto channels = some_pool.lock();
      const auto links = some_links.lock();
      if (!channels || !links || !channels->look_for_leaving()) return;
      links->for_each([](internal::LinkCore& link) { static_cast<internal::ClientLink&>(link).look_for_leaving(); });
    });
  }

  const std::optional<Error> never;
  const std::shared_ptr<internal::DialerThreads> threads = internal::DialerThreads::get();
  const std::shared_ptr<internal::ClientLink::Shared> shared;
  /// Null when there is a reason never to connect.
  std::shared_ptr<internal::ChannelPool> pool;
  /// Last, so that its thread has ended before the rest goes.
  internal::Closer closer;
};

GrpcDialer::GrpcDialer(Endpoint endpoint, GrpcDialerOptions options, TimerService& timers) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  internal::spare_deadlock_search();
  state_ = std::make_unique<State>(endpoint, std::move(options), timers);
}

GrpcDialer::~GrpcDialer() {
  close(nullptr);
}

std::shared_ptr<Link> GrpcDialer::open(StreamOptions options, std::string first_frame) {
  auto link = std::make_shared<internal::ClientLink>(state_->shared, std::move(options));
  if (state_->shared->links->add(link) != internal::LinkSet::Admission::admitted) {
    link->fail(Error(errc::closed, state_->shared->peer + ": the dialer is closed"));
  } else if (state_->never) {
    link->fail(*state_->never);
  } else {
    link->launch(state_->pool->acquire(), std::move(first_frame));
  }
  return link;
}

void GrpcDialer::close(std::function<void()> done) {
  State& state = *state_;
  state.closer.close(
      [&state] {
        const auto ended = std::make_shared<std::promise<void>>();
        state.shared->links->close(Error(errc::cancelled, state.shared->peer + ": the dialer was closed"),
                                   [ended] { ended->set_value(); });
        ended->get_future().wait();
        if (state.pool != nullptr) state.pool->clear();
      },
      std::move(done));
}

DialerStats GrpcDialer::stats() const {
  const internal::LinkSet& links = *state_->shared->links;
  if (state_->pool == nullptr) return {0, links.size(), links.admitted(), 0};
  return {state_->pool->channels(), links.size(), links.admitted(), state_->pool->channels_made()};
}

}  // namespace sharingbus::transport
