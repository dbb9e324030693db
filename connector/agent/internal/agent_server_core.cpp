#include "connector/agent/internal/agent_server_core.hpp"

#include <algorithm>
#include <exception>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include "connector/agent/internal/reverse_slot.hpp"
#include "transport/codec/agent_codec.hpp"

namespace sharingbus::connector::internal {

namespace asio = boost::asio;
using namespace transport::agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

namespace {

asio::awaitable<HealthStatus> ask_health(std::shared_ptr<AgentHandler> handler, LoadMetrics load) {
  co_return co_await handler->health(load);
}

}  // namespace

AgentServerCore::AgentServerCore(asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                                 std::shared_ptr<AgentHandler> handler, AgentServerOptions options)
    : executor_(std::move(executor)),
      publisher_(bus.publisher()),
      source_(bus.new_source()),
      options_(std::move(options)),
      handler_(std::move(handler)),
      handlers_in_turns_(!options_.handlers && !handler_->may_block()),
      session_executor_(executor_, options_.handlers || handlers_in_turns_),
      timers_(timers),
      comings_(options_.log, sharingbus::LogLevel::info),
      refusals_(options_.log, sharingbus::LogLevel::warn),
      failures_(options_.log, sharingbus::LogLevel::error),
      drain_strand_(asio::make_strand(options_.handlers ? options_.handlers : executor_)) {}

template <class Fn>
void AgentServerCore::post(Fn fn) {
  asio::post(executor_, [self = shared_from_this(), fn = std::move(fn)]() mutable { fn(*self); });
}

void AgentServerCore::start(SharingBus& bus) {
  const auto weak = weak_from_this();
  // The bus outlives these: letting an inline subscription go waits for a callback that runs.
  opened_ = bus.subscribe_inline({.name = "agent-server", .filter = Filter::type<transport::StreamOpened>()},
                                 [weak, &bus](const EventRef& event) {
                                   if (const auto self = weak.lock()) self->stream_opened(bus, *event);
                                 });
  closed_ = bus.subscribe_inline({.name = "agent-server-closed", .filter = Filter::type<transport::StreamClosed>()},
                                 [weak](const EventRef& event) {
                                   if (const auto self = weak.lock()) self->stream_closed(*event);
                                 });
}

transport::ListenerOptions AgentServerCore::make_listener_options(SharingBus& bus, transport::AgentCarrier carrier,
                                                                  AgentMethod method) {
  const bool grpc = carrier == transport::AgentCarrier::grpc;
  transport::ListenerOptions options;
  options.publisher = publisher_;
  options.decoder = grpc ? grpc_decoder_ : uds_decoder_;
  if (method == AgentMethod::control_stream) options.decoder = control_decoder_;
  options.new_source = [&bus] { return bus.new_source(); };
  options.id = bus.new_source();
  options.max_links = options_.max_connections;
  options.limits.max_inbound_bytes = transport::kAgentUdsFrameBytesMax;
  options.limits.max_outbound_bytes = grpc ? transport::kAgentGrpcMessageBytesMax : transport::kAgentUdsFrameBytesMax;
  const std::scoped_lock lock(mutex_);
  kinds_.emplace(options.id, StreamKind{carrier, method});
  return options;
}

Result<transport::Endpoint> AgentServerCore::serve(std::shared_ptr<transport::Listener> listener) {
  {
    const std::scoped_lock lock(mutex_);
    if (!listener || !kinds_.contains(listener->id())) {
      return Error(errc::invalid_argument, "a listener must be made with AgentServer::make_listener_options");
    }
    if (phase_ != Phase::open) return Error(errc::closed, "the agent is closing");
    const bool known = std::any_of(listeners_.begin(), listeners_.end(),
                                   [&](const auto& each) { return each->id() == listener->id(); });
    if (known) {
      return Error(errc::invalid_argument, "each listener needs AgentServer::make_listener_options of its own");
    }
    listeners_.push_back(listener);
  }
  auto endpoint = listener->listen();
  if (!endpoint) {
    const std::scoped_lock lock(mutex_);
    std::erase(listeners_, listener);
  }
  return endpoint;
}

Result<> AgentServerCore::register_with(SharingBus& bus, std::shared_ptr<transport::Dialer> dialer,
                                        ReverseOptions options) {
  if (const auto valid = options.validate(); !valid) return valid.error();
  ReverseRegistration registration;
  registration.agent_id = options_.capabilities.agent_id;
  registration.capabilities = options_.capabilities;
  registration.auth_token = options.auth_token;
  registration.metadata_json = options.metadata_json;
  auto frame = transport::encode_agent_message(registration, transport::AgentWire::json);
  if (!frame) return frame.error();
  std::vector<std::shared_ptr<ReverseSlot>> slots;
  for (std::size_t i = 0; i < options.connections; ++i)
    slots.push_back(std::make_shared<ReverseSlot>(shared_from_this(), bus, dialer, options, *frame));
  {
    const std::scoped_lock lock(mutex_);
    if (phase_ != Phase::open) return Error(errc::closed, "the agent is closing");
    dialers_.push_back(std::move(dialer));
    slots_.insert(slots_.end(), slots.begin(), slots.end());
  }
  for (auto& slot : slots)
    asio::post(executor_, [slot = std::move(slot)] { slot->dial(); });
  return {};
}

void AgentServerCore::stream_opened(SharingBus& bus, const BusEvent& event) {
  const auto& opened = *event.get_if<transport::StreamOpened>();
  auto link = opened.link.lock();
  if (!link) return;
  StreamKind kind{};
  {
    const std::scoped_lock lock(mutex_);
    const auto found = kinds_.find(opened.listener);
    if (found == kinds_.end()) return;
    kind = found->second;
  }
  Error refused;
  if (const auto session = make_session(kind, link->uid(), refused)) {
    return session->accept(bus, std::move(link), opened.peer);
  }
  link->cancel(refused);
  // Not from within the bus's turn: a callback's publishing has little room.
  post([peer = opened.peer, refused, uid = link->uid()](AgentServerCore& self) mutable {
    ProxyRefused refusal{std::move(peer), std::move(refused), false, {}};
    self.log(refusal);
    self.publish(std::move(refusal), uid);
  });
}

std::shared_ptr<ServerSession> AgentServerCore::make_session(StreamKind kind, const Uuid& uid, Error& refused) {
  Presence alive = enter();
  const std::scoped_lock lock(mutex_);
  if (phase_ != Phase::open || !alive.entry) {
    refused = Error(errc::closed, "the agent is closing");
  } else if (sessions_.size() >= options_.max_connections) {
    refused =
        Error(errc::capacity_exceeded, "the agent has " + std::to_string(sessions_.size()) + " connections already");
  } else {
    auto session = std::make_shared<ServerSession>(shared_from_this(), std::move(alive), kind, uid);
    sessions_.emplace(uid, session);
    return session;
  }
  return nullptr;
}

void AgentServerCore::stream_closed(const BusEvent& event) {
  std::shared_ptr<ServerSession> session;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = event.routing().connector_uid ? sessions_.find(*event.routing().connector_uid) : sessions_.end();
    if (found != sessions_.end()) session = found->second;
  }
  if (session) session->closed_early(event.get_if<transport::StreamClosed>()->error);
}

void AgentServerCore::connected() {
  if (options_.capabilities.features.health_reporting) {
    arm_report(health_timer_, options_.health_interval, &AgentServerCore::report_health);
  }
  if (options_.capabilities.features.metrics_export) {
    arm_report(metrics_timer_, options_.metrics_interval, &AgentServerCore::report_metrics);
  }
}

bool AgentServerCore::paused() const {
  const std::scoped_lock lock(mutex_);
  return paused_;
}

void AgentServerCore::remove(const ServerSession& session) {
  std::shared_ptr<ServerSession> forgotten;
  const std::scoped_lock lock(mutex_);
  const auto found = sessions_.find(session.uid());
  if (found == sessions_.end()) return;
  forgotten = std::move(found->second);
  sessions_.erase(found);
}

std::vector<std::shared_ptr<ServerSession>> AgentServerCore::sessions() const {
  std::vector<std::shared_ptr<ServerSession>> out;
  const std::scoped_lock lock(mutex_);
  out.reserve(sessions_.size());
  for (const auto& [uid, session] : sessions_)
    out.push_back(session);
  return out;
}

std::size_t AgentServerCore::connection_count() const {
  const std::scoped_lock lock(mutex_);
  return sessions_.size();
}

void AgentServerCore::set_paused(bool paused) {
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(paused_, paused) == paused) return;
  }
  for (const auto& session : sessions())
    session->flow_changed();
}

// One report at a time of each kind, and none while nobody is there to read it.
void AgentServerCore::arm_report(TimerId& timer, Duration interval, void (AgentServerCore::*send)()) {
  if (interval <= Duration::zero()) return;
  const std::scoped_lock lock(mutex_);
  if (timer != 0 || phase_ == Phase::closed || sessions_.empty()) return;
  timer = timers_.schedule_at(timers_.now() + interval, [weak = weak_from_this(), send, &timer] {
    const auto self = weak.lock();
    if (!self) return;
    self->post([send, &timer](AgentServerCore& core) {
      {
        const std::scoped_lock at_work(core.mutex_);
        core.timers_.fired(std::exchange(timer, 0));
      }
      (core.*send)();
    });
  });
}

void AgentServerCore::report_health() {
  arm_report(health_timer_, options_.health_interval, &AgentServerCore::report_health);
  if (connection_count() == 0) return;
  auto presence = std::make_shared<Presence>(enter());
  if (!presence->entry) return;
  const LoadMetrics load = load_.load();
  auto done = [self = shared_from_this(), presence, load](std::exception_ptr exception, HealthStatus status) {
    if (exception) {
      self->log_failure("health", exception);
      status.state = HealthState::unhealthy;
      status.unhealthy_reason = "the agent cannot tell its health";
      status.recoverable = true;
    }
    status.agent_id = self->options_.capabilities.agent_id;
    status.timestamp_ms = static_cast<std::uint64_t>(self->timers_.moment().unix_ms);
    if (!status.load) status.load = load;
    for (const auto& session : self->sessions())
      session->report(status);
  };
  const asio::any_io_executor& handlers = options_.handlers ? options_.handlers : executor_;
  asio::co_spawn(asio::make_strand(handlers), ask_health(handler_, load), std::move(done));
}

void AgentServerCore::report_metrics() {
  arm_report(metrics_timer_, options_.metrics_interval, &AgentServerCore::report_metrics);
  const auto all = sessions();
  if (all.empty()) return;
  MetricsReport report;
  report.agent_id = options_.capabilities.agent_id;
  report.timestamp_ms = static_cast<std::uint64_t>(timers_.moment().unix_ms);
  report.interval_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(options_.metrics_interval).count());
  load_.fill(report);
  for (const auto& session : all)
    session->report(report);
}

void AgentServerCore::log(const ProxyConnected& event) {
  comings_.line(timers_.now(), "proxy connected proxy_id=" + printable(event.proxy_id) +
                                   " version=" + printable(event.proxy_version) + " peer=" + printable(event.peer) +
                                   " encoding=" + std::string(event.encoding) +
                                   " reverse=" + (event.reverse ? "true" : "false"));
}

void AgentServerCore::log(const ProxyRefused& event) {
  refusals_.line(timers_.now(),
                 "proxy refused peer=" + printable(event.peer) + " error=" + printable(to_string(event.error)));
}

void AgentServerCore::log(const ProxyDisconnected& event) {
  comings_.line(timers_.now(), "proxy disconnected proxy_id=" + printable(event.proxy_id) +
                                   " peer=" + printable(event.peer) + " error=" + printable(to_string(event.error)));
}

void AgentServerCore::log_failure(std::string_view where, const std::exception_ptr& exception) {
  std::string what = "not a std::exception";
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& failure) {
    what = failure.what();
  } catch (...) {
  }
  failures_.line(timers_.now(), "agent handler threw in=" + std::string(where) + " error=" + printable(what));
}

}  // namespace sharingbus::connector::internal
