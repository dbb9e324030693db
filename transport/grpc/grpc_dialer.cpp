#include "transport/grpc/grpc_dialer.hpp"

#include <future>
#include <optional>
#include <stdexcept>
#include <utility>

#include <grpc/compression.h>
#include <grpc/grpc.h>
#include <grpcpp/support/channel_arguments.h>

#include "transport/grpc/internal/channel_arguments.hpp"
#include "transport/grpc/internal/channel_pool.hpp"
#include "transport/grpc/internal/client_link.hpp"
#include "transport/grpc/internal/closer.hpp"

namespace sharingbus::transport {
namespace {

constexpr int kNever = 60 * 60 * 1000;

grpc::ChannelArguments channel_arguments(const GrpcDialerOptions& options) {
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
  return arguments;
}

}  // namespace

Result<> GrpcDialerOptions::validate() const {
  if (method.size() < 2 || method.front() != '/') {
    return Error(errc::invalid_argument, "method must be a path like /package.Service/Method, not '" + method + "'");
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
      : shared(std::make_shared<internal::ClientLink::Shared>(to_string(endpoint), std::move(options.method), timers)),
        pool(std::make_shared<internal::ChannelPool>("dns:///" + authority(endpoint), channel_arguments(options),
                                                     options.max_streams_per_channel)) {
    if (endpoint.scheme != "grpc") {
      unusable = Error(errc::invalid_endpoint, shared->peer + ": this dialer serves the scheme grpc only");
    }
  }

  const std::shared_ptr<internal::ClientLink::Shared> shared;
  const std::shared_ptr<internal::ChannelPool> pool;
  std::optional<Error> unusable;
  /// Last, so that its thread has ended before the rest goes.
  internal::Closer closer;
};

GrpcDialer::GrpcDialer(Endpoint endpoint, GrpcDialerOptions options, TimerService& timers) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  state_ = std::make_unique<State>(endpoint, std::move(options), timers);
}

GrpcDialer::~GrpcDialer() {
  close(nullptr);
}

std::shared_ptr<Link> GrpcDialer::open(StreamOptions options, std::string first_frame) {
  auto link = std::make_shared<internal::ClientLink>(state_->shared, std::move(options));
  if (state_->shared->links->add(link) != internal::LinkSet::Admission::admitted) {
    link->fail(Error(errc::closed, state_->shared->peer + ": the dialer is closed"));
  } else if (state_->unusable) {
    link->fail(*state_->unusable);
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
        state.pool->clear();
      },
      std::move(done));
}

DialerStats GrpcDialer::stats() const {
  const internal::LinkSet& links = *state_->shared->links;
  return {state_->pool->channels(), links.size(), links.admitted(), state_->pool->channels_made()};
}

}  // namespace sharingbus::transport
