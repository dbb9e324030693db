#include "transport/grpc/grpc_listener.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <grpc/compression.h>
#include <grpc/grpc.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "bus/base/bounded.hpp"
#include "transport/grpc/internal/acceptor.hpp"
#include "transport/grpc/internal/channel_arguments.hpp"
#include "transport/grpc/internal/closer.hpp"
#include "transport/grpc/internal/completion_thread.hpp"
#include "transport/grpc/internal/grpc_threads.hpp"
#include "transport/grpc/internal/server_link.hpp"
#include "transport/grpc/internal/tls_credentials.hpp"
#include "transport/grpc/internal/unused_connections.hpp"
#include "transport/listener_events.hpp"

namespace sharingbus::transport {
namespace {

/// How long streams that were cancelled may take to tell their peers, when the listener closes.
constexpr auto kShutdownPatience = std::chrono::seconds(2);

/// Calls that a queue waits for at once, each for the next one when it came.
constexpr int kCallsAwaited = 4;

/// Connections whose time is over are looked at by us before gRPC closes them.
constexpr auto kLookFirst = std::chrono::milliseconds(500);

/// A call that gets nothing but a status. Owns itself until that is out and the call is over.
class Refusal {
 public:
  static void start(std::unique_ptr<internal::ServerCall> call, const grpc::Status& status) {
    auto* const self = new Refusal(std::move(call));  // NOLINT(cppcoreguidelines-owning-memory)
    self->call_->done.to = &self->ended_;
    self->call_->stream.Finish(status, &self->ended_);
  }

 private:
  explicit Refusal(std::unique_ptr<internal::ServerCall> call) : call_(std::move(call)) {}
  void ended(bool /*ok*/) {
    if (--left_ == 0) delete this;  // NOLINT(cppcoreguidelines-owning-memory)
  }

  const std::unique_ptr<internal::ServerCall> call_;
  internal::CompletionOf<Refusal, &Refusal::ended> ended_{*this};
  int left_ = 2;
};

void add_arguments(grpc::ServerBuilder& builder, const GrpcListenerOptions& options) {
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, internal::to_int(options.max_concurrent_streams));
  // Only identity: a small compressed message could fill the memory.
  builder.AddChannelArgument(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, internal::to_ms(options.keepalive_interval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, internal::to_ms(options.keepalive_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             internal::to_ms(options.min_ping_interval));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             internal::to_ms(options.handshake_timeout + kLookFirst));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                             internal::to_ms(options.max_connection_idle + kLookFirst));
  // A guard for the memory only; the link's own check names the size.
  builder.SetMaxReceiveMessageSize(internal::to_int(options.base.limits.max_inbound_bytes * 2));
  builder.SetMaxSendMessageSize(-1);
}

Result<> validate_service(const std::vector<std::string>& methods, const ListenerOptions& base) {
  if (!base.decoder) return Error(errc::invalid_argument, "decoder is missing");
  if (const auto valid = base.limits.validate(); !valid) return valid.error();
  if (methods.empty()) return Error(errc::invalid_argument, "methods must name at least one");
  for (const std::string& method : methods) {
    if (method.size() < 2 || method.front() != '/') {
      return Error(errc::invalid_argument, "methods must be paths like /package.Service/Method, not '" + method + "'");
    }
  }
  return {};
}

StreamOptions stream_options(const ListenerOptions& base) {
  StreamOptions stream;
  stream.publisher = base.publisher;
  stream.decoder = base.decoder;
  stream.id = base.new_source ? base.new_source() : 0;
  stream.origin = base.origin;
  stream.limits = base.limits;
  return stream;
}

}  // namespace

Result<> GrpcListenerOptions::validate() const {
  const auto at_least_1 = [](const char* field) {
    return Error(errc::invalid_argument, std::string(field) + " must be at least 1");
  };
  if (base.max_links == 0) return at_least_1("max_links");
  if (const auto valid = validate_service(methods, base); !valid) return valid.error();
  for (const GrpcService& service : services) {
    if (const auto valid = validate_service(service.methods, service.base); !valid) return valid.error();
  }
  if (max_concurrent_streams == 0) return at_least_1("max_concurrent_streams");
  if (max_unused_connections == 0) return at_least_1("max_unused_connections");
  if (handshake_timeout <= Duration::zero()) return Error(errc::invalid_argument, "handshake_timeout must be positive");
  if (max_connection_idle <= Duration::zero()) {
    return Error(errc::invalid_argument, "max_connection_idle must be positive");
  }
  if (min_ping_interval < Duration::zero()) return Error(errc::invalid_argument, "min_ping_interval is negative");
  if (keepalive_interval <= Duration::zero())
    return Error(errc::invalid_argument, "keepalive_interval must be positive");
  if (keepalive_timeout <= Duration::zero()) return Error(errc::invalid_argument, "keepalive_timeout must be positive");
  return {};
}

struct GrpcListener::State {
  State(Endpoint where, GrpcListenerOptions chosen)
      : endpoint(std::move(where)),
        options(std::move(chosen)),
        unused({options.max_unused_connections, options.handshake_timeout, options.max_connection_idle}) {}

  struct Queue;
  /// Waits for a call, and for the next one after it, until the server is shut down.
  class NextCall {
   public:
    NextCall(State& state, Queue& queue) : state_(state), queue_(queue) {}
    void wait();

   private:
    void came(bool ok);

    State& state_;
    Queue& queue_;
    std::unique_ptr<internal::ServerCall> call_;
    internal::CompletionOf<NextCall, &NextCall::came> came_{*this};
  };
  /// A queue, on which calls come in, and its thread.
  struct Queue {
    Queue(State& state, std::unique_ptr<grpc::ServerCompletionQueue> queue)
        : calls(queue.get()), thread(std::move(queue)) {
      for (int i = 0; i < kCallsAwaited; ++i)
        awaited.emplace_back(state, *this).wait();
    }
    grpc::ServerCompletionQueue* const calls;
    std::list<NextCall> awaited;
    /// Last, so that it has ended before what it works on goes.
    internal::CompletionThread thread;
  };

  void take(std::unique_ptr<internal::ServerCall> call, internal::CompletionThread& thread);
  void accepted(int listener_fd, int fd);
  std::optional<TimePoint> look_at_unused();
  void report(internal::UnusedConnections::Refusal refusal) const;
  /// Of what serves the method; null: nothing does.
  [[nodiscard]] const ListenerOptions* base_of(const std::string& method) const;
  void shut_down();

  const Endpoint endpoint;
  const GrpcListenerOptions options;
  const std::shared_ptr<internal::LinkSet> links = std::make_shared<internal::LinkSet>();
  internal::UnusedConnections unused;
  std::atomic<bool> accepting{true};

  std::mutex mutex;
  bool listen_called = false;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections;
  grpc::AsyncGenericService generic;
  std::unique_ptr<grpc::Server> server;
  std::vector<std::unique_ptr<Queue>> queues;
  std::unique_ptr<internal::Acceptor> acceptor;
  /// Last, so that its thread has ended before the rest goes.
  internal::Closer closer;
};

void GrpcListener::State::NextCall::wait() {
  call_ = std::make_unique<internal::ServerCall>();
  state_.generic.RequestCall(&call_->context, &call_->stream, queue_.calls, queue_.calls, &came_);
}

void GrpcListener::State::NextCall::came(bool ok) {
  auto call = std::move(call_);
  if (!ok) return;
  wait();
  state_.take(std::move(call), queue_.thread);
}

void GrpcListener::State::take(std::unique_ptr<internal::ServerCall> call, internal::CompletionThread& thread) {
  unused.used(call->context.peer());
  const std::string& method = call->context.method();
  const auto refuse = [&call](grpc::StatusCode code, std::string text) {
    Refusal::start(std::move(call), {code, std::move(text)});
  };
  const ListenerOptions* const base = base_of(method);
  if (base == nullptr) {
    return refuse(grpc::StatusCode::UNIMPLEMENTED, "method " + method + " is not served here");
  }
  if (!accepting) return refuse(grpc::StatusCode::UNAVAILABLE, "no new streams are accepted");
  const auto link =
      std::make_shared<internal::ServerLink>(links, std::move(call), thread, stream_options(*base), base->id);
  const auto turn_away = [&](std::string text) {
    call = link->give_up_call();
    refuse(grpc::StatusCode::UNAVAILABLE, std::move(text));
  };
  switch (links->add(link, options.base.max_links)) {
    case internal::LinkSet::Admission::admitted:
      break;
    case internal::LinkSet::Admission::full:
      return turn_away("the limit of " + std::to_string(options.base.max_links) + " streams is reached");
    case internal::LinkSet::Admission::closed:
      return turn_away("the listener is closing");
  }
  link->start();
}

void GrpcListener::State::accepted(int listener_fd, int fd) {
  if (auto refused = unused.add(fd, std::chrono::steady_clock::now())) {
    ::close(fd);
    return report(std::move(*refused));
  }
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.listener_fd = listener_fd;
  connection.fd = fd;
  connections->HandleNewConnection(&connection);
}

std::optional<TimePoint> GrpcListener::State::look_at_unused() {
  for (auto& late : unused.expire(std::chrono::steady_clock::now()))
    report(std::move(late));
  return unused.next_deadline();
}

void GrpcListener::State::report(internal::UnusedConnections::Refusal refusal) const {
  options.base.publisher.publish(
      ConnectionRefused{options.base.id, endpoint.scheme + "://" + refusal.peer, std::move(refusal.error)},
      routing_for<ConnectionRefused>(), options.base.origin, options.base.id);
}

const ListenerOptions* GrpcListener::State::base_of(const std::string& method) const {
  const auto serves = [&method](const std::vector<std::string>& methods) {
    return std::find(methods.begin(), methods.end(), method) != methods.end();
  };
  if (serves(options.methods)) return &options.base;
  const auto found = std::find_if(options.services.begin(), options.services.end(),
                                  [&](const GrpcService& service) { return serves(service.methods); });
  return found != options.services.end() ? &found->base : nullptr;
}

GrpcListener::GrpcListener(Endpoint endpoint, GrpcListenerOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  options.handshake_timeout = bounded(options.handshake_timeout);
  options.max_connection_idle = bounded(options.max_connection_idle);
  internal::spare_deadlock_search();
  state_ = std::make_unique<State>(std::move(endpoint), std::move(options));
}

GrpcListener::~GrpcListener() {
  close(nullptr);
}

Result<Endpoint> GrpcListener::listen() {
  State& state = *state_;
  const std::scoped_lock lock(state.mutex);
  if (state.closer.started()) return Error(errc::invalid_state, "the listener is closed");
  if (std::exchange(state.listen_called, true)) return Error(errc::invalid_state, "listen was called before");
  const bool tls = state.endpoint.scheme == "grpcs";
  if (!tls && state.endpoint.scheme != "grpc") {
    return Error(errc::invalid_endpoint,
                 to_string(state.endpoint) + ": this listener serves the schemes grpc and grpcs only");
  }
  if (tls) {
    if (const auto valid = state.options.tls.validate_for_listener(); !valid) return valid.error();
  }
  auto acceptor = internal::Acceptor::bind(state.endpoint, state.options.keepalive_timeout);
  if (!acceptor) return acceptor.error();

  grpc::ServerBuilder builder;
  add_arguments(builder, state.options);
  state.connections = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      tls ? internal::server_credentials(state.options.tls) : grpc::InsecureServerCredentials());
  builder.RegisterAsyncGenericService(&state.generic);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues(internal::CompletionThread::usual_count());
  for (auto& queue : queues)
    queue = builder.AddCompletionQueue();
  state.server = builder.BuildAndStart();
  if (!state.server) return Error(errc::invalid_state, to_string(state.endpoint) + ": gRPC could not start a server");
  for (auto& queue : queues) {
    state.queues.push_back(std::make_unique<State::Queue>(state, std::move(queue)));
  }
  state.acceptor = std::move(*acceptor);
  state.acceptor->start([&state](int listener_fd, int fd) { state.accepted(listener_fd, fd); },
                        [&state] { return state.look_at_unused(); });
  Endpoint bound = state.endpoint;
  bound.port = state.acceptor->port();
  return bound;
}

std::uint64_t GrpcListener::id() const noexcept {
  return state_->options.base.id;
}

void GrpcListener::stop_accepting() {
  state_->accepting = false;
}

void GrpcListener::close(std::function<void()> done) {
  stop_accepting();
  state_->closer.close([&state = *state_] { state.shut_down(); }, std::move(done));
}

void GrpcListener::State::shut_down() {
  std::promise<void> ended;
  links->close(Error(errc::closed, to_string(endpoint) + ": the listener was closed"), [&ended] { ended.set_value(); });
  const std::scoped_lock lock(mutex);
  if (!server) return;
  acceptor.reset();
  server->Shutdown(std::chrono::system_clock::now() + kShutdownPatience);
  ended.get_future().wait();
  queues.clear();
  server.reset();
}

std::size_t GrpcListener::link_count() const {
  return state_->links->size();
}

}  // namespace sharingbus::transport
