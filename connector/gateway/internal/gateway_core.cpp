#include "connector/gateway/internal/gateway_core.hpp"

#include <exception>
#include <limits>

#include <boost/asio/post.hpp>

#include "bus/base/bounded.hpp"
#include "transport/listener_events.hpp"
#include "transport/turn.hpp"

namespace sharingbus::connector::internal {
namespace {

GatewayOptions with_bounded_times(GatewayOptions options) {
  for (Duration* const each : {&options.heartbeat_interval, &options.session_timeout, &options.register_timeout})
    *each = bounded(*each);
  return options;
}

/// Of a sanitised address.
std::string tenant_of(const std::string& address) {
  return address.substr(0, address.find('.'));
}

}  // namespace

GatewayCore::GatewayCore(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                         GatewayOptions options)
    : executor_(std::move(executor)),
      strands_(bus, executor_),
      publisher_(bus.publisher()),
      source_(bus.new_source()),
      options_(with_bounded_times(std::move(options))),
      id_suffix_("-" + to_string(random_uuid()).substr(0, 8)),
      timers_(timers),
      comings_(options_.log, LogLevel::info),
      refusals_(options_.log, LogLevel::warn),
      failures_(options_.log, LogLevel::error) {}

template <class Fn>
void GatewayCore::post(Fn fn) {
  boost::asio::post(executor_, [self = shared_from_this(), fn = std::move(fn)]() mutable { fn(*self); });
}

void GatewayCore::start(SharingBus& bus) {
  const auto weak = weak_from_this();
  // The bus outlives these: letting an inline subscription go waits for a callback that runs.
  opened_ = bus.subscribe_inline({.name = "gateway", .filter = Filter::type<transport::StreamOpened>()},
                                 [weak](const EventRef& event) {
                                   if (const auto self = weak.lock()) self->stream_opened(*event);
                                 });
  refused_ = bus.subscribe_inline({.name = "gateway-refused", .filter = Filter::type<transport::ConnectionRefused>()},
                                  [weak](const EventRef& event) {
                                    if (const auto self = weak.lock()) self->connection_refused(*event);
                                  });
  closed_ = bus.subscribe_inline({.name = "gateway-closed", .filter = Filter::type<transport::StreamClosed>()},
                                 [weak](const EventRef& event) {
                                   if (const auto self = weak.lock()) self->stream_closed(*event);
                                 });
}

transport::ListenerOptions GatewayCore::make_listener_options(SharingBus& bus) const {
  transport::ListenerOptions options;
  options.publisher = publisher_;
  options.decoder = decoder_;
  options.new_source = [&bus] { return bus.new_source(); };
  options.id = bus.new_source();
  options.max_links = options_.max_sessions;
  return options;
}

Result<transport::Endpoint> GatewayCore::serve(std::shared_ptr<transport::Listener> listener) {
  if (!listener || listener->id() == 0) {
    return Error(errc::invalid_argument, "a listener must be made with Gateway::make_listener_options");
  }
  {
    const std::scoped_lock lock(mutex_);
    if (phase_ != Phase::open) return Error(errc::closed, "the gateway is closing");
    if (!listener_ids_.insert(listener->id()).second) {
      return Error(errc::invalid_argument, "each listener needs Gateway::make_listener_options of its own");
    }
    listeners_.push_back(listener);
  }
  auto endpoint = listener->listen();
  if (!endpoint) {
    const std::scoped_lock lock(mutex_);
    listener_ids_.erase(listener->id());
    std::erase(listeners_, listener);
  }
  return endpoint;
}

void GatewayCore::stream_opened(const BusEvent& event) {
  const auto& opened = *event.get_if<transport::StreamOpened>();
  auto link = opened.link.lock();
  if (!link) return;
  Error refused;
  if (const auto session = make_session(opened, link, refused)) return session->start();
  if (!refused) return;
  link->cancel(refused);
  publish_refusal(opened.peer, std::move(refused), link->uid());
}

void GatewayCore::connection_refused(const BusEvent& event) {
  const auto& refused = *event.get_if<transport::ConnectionRefused>();
  {
    const std::scoped_lock lock(mutex_);
    if (!listener_ids_.contains(refused.listener)) return;
  }
  publish_refusal(refused.peer, refused.error, std::nullopt);
}

void GatewayCore::publish_refusal(std::string peer, Error why, std::optional<Uuid> uid) {
  // Not from within the bus's turn: a callback's publishing has little room.
  post([peer = std::move(peer), why = std::move(why), uid](GatewayCore& self) mutable {
    ConnectorRefused refusal{{}, std::move(peer), std::move(why)};
    self.log(refusal);
    Routing routing;
    routing.kind = ConnectorRefused::event_kind;
    routing.connector_uid = uid;
    self.publish(std::move(refusal), std::move(routing));
  });
}

std::shared_ptr<Session> GatewayCore::make_session(const transport::StreamOpened& opened,
                                                   std::shared_ptr<transport::Link> link, Error& refused) {
  const std::scoped_lock lock(mutex_);
  if (!listener_ids_.contains(opened.listener)) return nullptr;
  Admission alive{alive_, alive_->enter()};
  if (phase_ != Phase::open || !alive.entry) {
    refused = Error(errc::closed, "the gateway is closing");
  } else if (sessions_.size() >= options_.max_sessions) {
    refused =
        Error(errc::capacity_exceeded, "the gateway has " + std::to_string(sessions_.size()) + " streams already");
  } else {
    const Uuid uid = link->uid();
    auto session =
        std::make_shared<Session>(shared_from_this(), std::move(alive), std::move(link), opened.peer, opened.listener);
    sessions_.emplace(uid, session);
    return session;
  }
  return nullptr;
}

void GatewayCore::stream_closed(const BusEvent& event) {
  std::shared_ptr<Session> session;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = event.routing().connector_uid ? sessions_.find(*event.routing().connector_uid) : sessions_.end();
    if (found != sessions_.end()) session = found->second;
  }
  if (session) session->closed_early(event.get_if<transport::StreamClosed>()->error);
}

GatewayCore::ClaimResult GatewayCore::claim(const std::shared_ptr<Session>& session, const ConnectorIdentity& identity,
                                            std::int64_t unix_ms) {
  std::shared_ptr<Session> old;
  {
    const std::scoped_lock lock(mutex_);
    if (phase_ != Phase::open) return {Error(errc::closed, "the gateway is closing")};
    const auto taken = addresses_.find(identity.address);
    if (taken != addresses_.end() && options_.duplicates == DuplicatePolicy::refuse_new) {
      return {Error(errc::already_exists, "a connector of this identity is registered already")};
    }
    if (taken == addresses_.end()) {
      std::size_t& of_tenant = tenants_[tenant_of(identity.address)];
      if (of_tenant >= options_.max_registrations_per_tenant) {
        return {Error(errc::capacity_exceeded, "the tenant has " + std::to_string(of_tenant) + " connectors already")};
      }
      ++of_tenant;
    }
    Registered& place = addresses_[identity.address];
    old = std::exchange(place.session, session);
    place.identity = identity;
    place.at_unix_ms = unix_ms;
  }
  if (!old) return {};
  old->supersede(
      Error(errc::stream_failed, "replaced by a newer stream of the same connector, from " + session->peer()));
  return {{}, true};
}

void GatewayCore::release(const Session& session, const std::string& address) {
  std::shared_ptr<Session> forgotten;
  const std::scoped_lock lock(mutex_);
  const auto found = addresses_.find(address);
  if (found == addresses_.end() || found->second.session.get() != &session) return;
  forgotten = std::move(found->second.session);
  addresses_.erase(found);
  const auto tenant = tenants_.find(tenant_of(address));
  if (--tenant->second == 0) tenants_.erase(tenant);
}

void GatewayCore::remove(const Session& session) {
  std::shared_ptr<Session> forgotten;
  const std::scoped_lock lock(mutex_);
  const auto found = sessions_.find(session.uid());
  if (found == sessions_.end()) return;
  forgotten = std::move(found->second);
  sessions_.erase(found);
}

std::shared_ptr<Session> GatewayCore::find(std::string_view address) const {
  const std::scoped_lock lock(mutex_);
  const auto found = addresses_.find(address);
  return found != addresses_.end() ? found->second.session : nullptr;
}

bool GatewayCore::ask_to_reconnect(const std::string& address) {
  const auto session = find(address);
  if (session) session->ask_to_reconnect();
  return session != nullptr;
}

void GatewayCore::execute(std::string address, ExecuteCall call, std::unique_ptr<AnswerTaker> taker, bool anywhere) {
  auto request = std::make_unique<Request>();
  request->admission = {requests_, requests_->enter()};
  request->id = request_id();
  request->started = timers_.now();
  request->deadline = request->started + bounded(call.timeout);
  const bool valid = call.timeout > Duration::zero();
  request->call = std::move(call);
  request->taker = std::move(taker);
  request->anywhere = anywhere;
  const auto refused = [&](errc code, std::string why) {
    refuse(std::move(request), std::move(address), Error(code, std::move(why)));
  };
  if (!request->admission.entry) return refused(errc::closed, "the gateway is closing");
  if (!valid) return refused(errc::invalid_argument, "ExecuteCall::timeout must be above 0");
  if (requests_->count() > options_.max_pending) {
    return refused(errc::capacity_exceeded,
                   "the gateway has " + std::to_string(options_.max_pending) + " requests pending");
  }
  const auto session = find(address);
  if (!session) return refused(errc::not_found, "no connector is registered at '" + address + "'");
  if (!session->reserve()) {
    return refused(errc::capacity_exceeded, "connector " + address + " has " +
                                                std::to_string(options_.max_pending_per_session) + " requests pending");
  }
  session->execute(std::move(request));
}

void GatewayCore::refuse(RequestPtr request, std::string address, Error error) {
  // Not in the caller's turn, which may be the bus's own.
  post([request = std::move(request), address = std::move(address),
        error = std::move(error)](GatewayCore& self) mutable {
    Routing routing;
    routing.kind = RequestRefused::event_kind;
    routing.address = address;
    self.publish(RequestRefused{request->id, std::move(address), error}, std::move(routing));
    self.deliver(std::move(request), std::move(error), ExecuteReply{});
  });
}

void GatewayCore::deliver(RequestPtr request, Error&& error, ExecuteReply&& reply) {
  if (request->anywhere || !transport::Turn::elsewhere()) {
    return call_back(*request, std::move(error), std::move(reply));
  }
  post([request = std::move(request), error = std::move(error), reply = std::move(reply)](GatewayCore& self) mutable {
    self.call_back(*request, std::move(error), std::move(reply));
  });
}

void GatewayCore::call_back(const Request& request, Error&& error, ExecuteReply&& reply) noexcept {
  if (request.taker == nullptr) return;
  std::string what = "not a std::exception";
  try {
    return request.taker->take(std::move(error), std::move(reply));
  } catch (const std::exception& failure) {
    what = failure.what();
  } catch (...) {
  }
  failures_.line(timers_.now(), "execute callback threw request_id=" + request.id + " error=" + printable(what));
}

std::string GatewayCore::request_id() {
  const std::string number = std::to_string(last_request_.fetch_add(1, std::memory_order_relaxed) + 1);
  constexpr std::string_view kPrefix = "exec-";
  std::string id;
  id.reserve(kPrefix.size() + number.size() + id_suffix_.size());
  id.append(kPrefix).append(number).append(id_suffix_);
  return id;
}

std::vector<SessionInfo> GatewayCore::sessions() const {
  std::vector<SessionInfo> infos;
  const std::scoped_lock lock(mutex_);
  infos.reserve(addresses_.size());
  for (const auto& [address, registered] : addresses_) {
    const SessionCounters counters = registered.session->counters();
    infos.push_back({address, registered.identity.arn, registered.identity.display_name, registered.identity.version,
                     registered.session->peer(), registered.session->uid(), registered.at_unix_ms, counters.pending,
                     counters.answered, counters.failed, counters.late_answers});
  }
  return infos;
}

std::size_t GatewayCore::session_count() const {
  const std::scoped_lock lock(mutex_);
  return addresses_.size();
}

Routing GatewayCore::routing(const Uuid& uid, const std::string& address, EventKind kind) const {
  Routing routing;
  routing.kind = kind;
  routing.connector_uid = uid;
  if (!address.empty()) {
    routing.connector_id = address;
    routing.address = address;
  }
  return routing;
}

transport::StreamOptions GatewayCore::lane_options(std::uint64_t source) const {
  transport::StreamOptions options;
  options.publisher = publisher_;
  options.decoder = decoder_;
  options.id = source;
  // The stream's own limit has been kept.
  options.limits.max_inbound_bytes = std::numeric_limits<std::size_t>::max();
  return options;
}

void GatewayCore::log(const ConnectorRegistered& event) {
  comings_.line(timers_.now(), "connector registered address=" + printable(event.address) + " peer=" +
                                   printable(event.peer) + " replaced=" + (event.replaced ? "true" : "false"));
}

void GatewayCore::log(const ConnectorRefused& event) {
  refusals_.line(timers_.now(), "connector refused address=" + printable(event.address) +
                                    " peer=" + printable(event.peer) + " error=" + printable(to_string(event.error)));
}

void GatewayCore::log(const ConnectorDisconnected& event) {
  comings_.line(timers_.now(), "connector disconnected address=" + printable(event.address) +
                                   " peer=" + printable(event.peer) + " error=" + printable(to_string(event.error)));
}

}  // namespace sharingbus::connector::internal
