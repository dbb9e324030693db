#include "connector/lifecycle/internal/lifecycle_core.hpp"

#include <algorithm>
#include <exception>
#include <tuple>
#include <variant>

#include <boost/asio/bind_executor.hpp>

#include "bus/base/bounded.hpp"

namespace sharingbus::connector {

namespace asio = boost::asio;
using internal::ServiceSession;

namespace {

Error internal_error(const Error& why) {
  return {errc::internal, "Internal error: " + to_string(why)};
}
Error not_found(const std::string& id) {
  return {errc::not_found, "Service '" + id + "' not found"};
}
Error invalid_state(const std::string& what) {
  return {errc::invalid_state, "Invalid state: " + what};
}

}  // namespace

LifecycleManager::Core::Core(asio::any_io_executor run_on, SharingBus& bus, TimerService& timers,
                             LifecycleConfig options, DialerFactory factory)
    : executor(std::move(run_on)),
      config(std::move(options)),
      registry(timers),
      strand_(asio::make_strand(executor)),
      bus_(bus),
      publisher_(bus.publisher()),
      timers_(timers),
      factory_(std::move(factory)),
      source_(bus.new_source()),
      policy_(config.reconnect, seeded_random()),
      streams_(bus, strand_) {}

template <class Callback, class... Results>
void LifecycleManager::Core::complete(Callback done, Results... results) {
  ++completing_;
  async_flush(bus_, asio::bind_executor(strand_, [self = shared_from_this(), done = std::move(done),
                                                  all = std::make_tuple(std::move(results)...)](auto) mutable {
                --self->completing_;
                if (done) std::apply(done, std::move(all));
                self->end_if_closed();
              }));
}

// Operations.

void LifecycleManager::Core::start_service(ExtensionService service, ServicePolicy policy, StartDone done) {
  const std::string id = service.id;
  if (closing_) return complete(std::move(done), Error(errc::closed, "Invalid state: the manager is closing"), id);
  if (Error error = check_dependencies(policy)) return complete(std::move(done), std::move(error), id);
  service.status = ServiceStatus::starting;
  service.last_heartbeat.reset();
  service.retry_count = 0;
  if (const auto registered = registry.register_service(service); !registered) {
    return complete(std::move(done), internal_error(registered.error()), id);
  }
  auto owned = std::make_unique<Entry>(std::move(service), std::move(policy), config, policy_);
  if (Error error = make_transport(*owned)) {
    [[maybe_unused]] const auto gone = registry.unregister_service(id);
    return complete(std::move(done), std::move(error), id);
  }
  Entry& entry = *owned;
  entry.order = ++last_order_;
  entry.uid = parse_uuid(id).value_or(random_uuid());
  if (done) entry.on_started.push_back(std::move(done));
  entries_.emplace(id, std::move(owned));
  by_order_.emplace(entry.order, &entry);
  id_by_name_.emplace(entry.service.name, id);
  if (entry.dialer) subscribe(entry);
  for (const std::string& name : entry.policy.depends_on) {
    Entry& dependency = *find(id_by_name_.at(name));
    if (dependency.fsm.status() != ServiceStatus::running) block(entry, dependency);
  }
  step(entry, [&](auto& out) { entry.fsm.start(timers_.now(), !entry.blockers.empty(), out); });
}

Error LifecycleManager::Core::check_dependencies(const ServicePolicy& policy) const {
  for (const std::string& name : policy.depends_on) {
    const auto found = id_by_name_.find(name);
    if (found == id_by_name_.end()) return invalid_state("dependency '" + name + "' has not been started");
    const ServiceFsm& fsm = entries_.at(found->second)->fsm;
    const bool hopeful = fsm.status() == ServiceStatus::running || fsm.status() == ServiceStatus::starting ||
                         fsm.status() == ServiceStatus::reconnecting;
    if (!hopeful) {
      return invalid_state("dependency '" + name + "' has status " + std::string(to_string(fsm.status())));
    }
  }
  return {};
}

Error LifecycleManager::Core::make_transport(Entry& entry) {
  if (entry.service.transport.driven_from_outside()) return {};
  const auto failed = [](errc code, const std::string& why) { return Error(code, "Connection failed: " + why); };
  if (!factory_) return failed(errc::unimplemented, "the manager has no transports");
  try {
    auto made = factory_(entry.service.transport);
    if (!made) {
      Error error = made.error();
      error.message = "Connection failed: " + to_string(error);
      return error;
    }
    if (*made == nullptr) return failed(errc::unimplemented, "the transport cannot be made");
    entry.dialer = std::move(*made);
    return {};
  } catch (const std::exception& e) {
    return failed(errc::invalid_argument, e.what());
  }
}

void LifecycleManager::Core::subscribe(Entry& entry) {
  SubscriptionOptions options;
  options.name = "service " + entry.service.name;
  options.filter = Filter::connector_uid(entry.uid) && Filter::origin(EventOrigin::transport);
  options.capacity = internal::kServiceQueue;
  entry.subscription = streams_.subscribe(std::move(options),
                                          [weak = weak_from_this(), id = entry.service.id](const Received& received) {
                                            if (const auto self = weak.lock()) self->receive(id, received);
                                          });
}

void LifecycleManager::Core::stop_service(const std::string& id, Done done) {
  Entry* entry = find(id);
  if (entry == nullptr) return complete(std::move(done), not_found(id));
  entry->on_stopped.push_back(std::move(done));
  step(*entry, [&](auto& out) { entry->fsm.stop(timers_.now(), out); });
}

void LifecycleManager::Core::handle_heartbeat(const std::string& id, Done done) {
  Entry* entry = find(id);
  if (entry == nullptr) return complete(std::move(done), internal_error(not_found(id)));
  step(*entry, [&](auto& out) { entry->fsm.heartbeat(timers_.now(), out); });
  // Nobody waits for the dispatch, and heartbeats are many.
  if (done) complete(std::move(done), Error());
}

void LifecycleManager::Core::handle_error(const std::string& id, const std::string& text, Done done) {
  Entry* entry = find(id);
  if (entry == nullptr) {
    publish("", parse_uuid(id), ServiceError{id, text});
    return complete(std::move(done), not_found(id));
  }
  ServiceFsm::Actions actions;
  Error refused = entry->fsm.fail(text, timers_.now(), actions);
  if (!refused) entry->on_recovered.push_back(std::move(done));
  run(*entry, std::move(actions));
  if (refused) complete(std::move(done), std::move(refused));
}

void LifecycleManager::Core::set_auto_reconnect(const std::string& id, bool on, Done done) {
  Entry* entry = find(id);
  if (entry == nullptr) return complete(std::move(done), not_found(id));
  entry->fsm.set_auto_reconnect(on);
  [[maybe_unused]] const auto known = registry.update_auto_reconnect(id, on);
  complete(std::move(done), Error());
}

void LifecycleManager::Core::health_check(IdsDone done) {
  std::vector<std::string> ids = registry.silent();
  for (const std::string& id : ids) {
    if (Entry* entry = find(id)) step(*entry, [&](auto& out) { entry->fsm.time_out(timers_.now(), out); });
  }
  complete(std::move(done), Error(), std::move(ids));
}

// Inputs.

LifecycleManager::Core::Entry* LifecycleManager::Core::find(const std::string& id) {
  const auto found = entries_.find(id);
  return found != entries_.end() ? found->second.get() : nullptr;
}

template <class Input>
void LifecycleManager::Core::step(Entry& entry, Input input) {
  ServiceFsm::Actions actions;
  input(actions);
  run(entry, std::move(actions));
}

/// Inputs that come while actions are carried out are taken as they come: the actions already decided go first.
void LifecycleManager::Core::run(Entry& entry, ServiceFsm::Actions actions) {
  for (auto& action : actions)
    entry.pending.push_back(std::move(action));
  if (std::exchange(entry.stepping, true)) return;
  ++depth_;
  while (!entry.pending.empty()) {
    ServiceFsm::Action action = std::move(entry.pending.front());
    entry.pending.pop_front();
    std::visit([&](auto&& what) { perform(entry, std::forward<decltype(what)>(what)); }, std::move(action));
  }
  entry.stepping = false;
  if (!entry.waiters.empty()) unsettled_.push_back(entry.service.id);
  set_due(entry);
  if (entry.ended) remove(entry);
  if (--depth_ == 0) {
    settle();
    arm();
  }
}

void LifecycleManager::Core::receive(const std::string& id, const Received& received) {
  Entry* entry = find(id);
  if (entry == nullptr || !entry->session) return;
  // Nobody would hear of the stream's end.
  if (received.closed() != nullptr) return lose(*entry, Error(errc::closed, "the bus is closed"));
  if (received.gap() != nullptr) return lose(*entry, Error(errc::internal, "the bus lost events of the stream"));
  const EventRef* event = received.event();
  if (event == nullptr || (*event)->source() != entry->session->link().id()) return;
  if (const auto* closed = (*event)->get_if<transport::StreamClosed>()) {
    entry->session.reset();
    return step(*entry, [&](auto& out) { entry->fsm.link_lost(closed->error, timers_.now(), out); });
  }
  switch (entry->session->receive(**event)) {
    case ServiceSession::Heard::ready:
      return step(*entry, [&](auto& out) { entry->fsm.link_ready(timers_.now(), out); });
    case ServiceSession::Heard::alive:
      return step(*entry, [&](auto& out) { entry->fsm.probe_answered(timers_.now(), out); });
    case ServiceSession::Heard::nothing:
      return;
  }
}

/// Goes on without hearing the link's own end.
void LifecycleManager::Core::lose(Entry& entry, const Error& why) {
  if (!entry.session) return;
  entry.session->link().cancel(why);
  entry.session.reset();
  step(entry, [&](auto& out) { entry.fsm.link_lost(why, timers_.now(), out); });
}

// What the state machines want.

template <class Event>
void LifecycleManager::Core::publish(const std::string& name, const std::optional<Uuid>& uid, Event event) {
  Routing routing = routing_for<Event>();
  routing.connector_uid = uid;
  if (!name.empty()) routing.connector_id = name;
  publisher_.publish(std::move(event), std::move(routing), EventOrigin::service, source_);
}

template <class Event>
void LifecycleManager::Core::perform(Entry& entry, Event event) {
  publish(entry.service.name, entry.uid, std::move(event));
}

void LifecycleManager::Core::perform(Entry& entry, ServiceStatusChanged event) {
  [[maybe_unused]] const auto known = registry.update_status(event.id, event.new_status);
  publish(entry.service.name, entry.uid, std::move(event));
}

void LifecycleManager::Core::perform(Entry& entry, ServiceHeartbeat event) {
  [[maybe_unused]] const auto known = registry.heartbeat(event.id);
  publish(entry.service.name, entry.uid, std::move(event));
}

void LifecycleManager::Core::perform(Entry& entry, ServiceStopped event) {
  [[maybe_unused]] const auto gone = registry.unregister_service(event.id);
  entry.ended = true;
  publish(entry.service.name, entry.uid, std::move(event));
}

void LifecycleManager::Core::perform(Entry& entry, ServiceFsm::OpenLink) {
  transport::StreamOptions stream;
  stream.publisher = publisher_;
  stream.decoder = decoder_;
  stream.id = bus_.new_source();
  stream.routing.connector_uid = entry.uid;
  stream.routing.connector_id = entry.service.name;
  stream.initial_credit = internal::kServiceCredit;
  stream.limits = config.limits;
  stream.connect_timeout = entry.service.transport.timeout;
  entry.session = std::make_unique<ServiceSession>(entry.dialer->open(std::move(stream), {}), entry.policy.greeting);
  // Its stream would end without anybody hearing of it.
  if (entry.subscription.stats().closed) lose(entry, Error(errc::closed, "the bus is closed"));
}

void LifecycleManager::Core::perform(Entry& entry, ServiceFsm::SendProbe) {
  if (entry.session) entry.session->probe();
}
void LifecycleManager::Core::perform(Entry& entry, ServiceFsm::FinishLink) {
  if (entry.session) entry.session->link().finish();
}
void LifecycleManager::Core::perform(Entry& entry, ServiceFsm::CancelLink action) {
  if (entry.session) entry.session->link().cancel(std::move(action.why));
}

void LifecycleManager::Core::perform(Entry& entry, ServiceFsm::ReleaseTransport) {
  entry.subscription = {};
  if (!entry.dialer) return step(entry, [&](auto& out) { entry.fsm.released(out); });
  entry.dialer->close([weak = weak_from_this(), id = entry.service.id] {
    const auto self = weak.lock();
    if (!self) return;
    // Posted, because it may be the dialer's own function that calls.
    self->post([id](Core& core) {
      if (Entry* stopped = core.find(id)) core.step(*stopped, [&](auto& out) { stopped->fsm.released(out); });
    });
  });
}

void LifecycleManager::Core::perform(Entry& entry, ServiceFsm::StartEnded action) {
  for (StartDone& done : std::exchange(entry.on_started, {}))
    complete(std::move(done), action.error, entry.service.id);
}

void LifecycleManager::Core::perform(Entry& entry, ServiceFsm::RecoveryEnded action) {
  for (Done& done : std::exchange(entry.on_recovered, {}))
    complete(std::move(done), action.error);
}

void LifecycleManager::Core::perform(Entry& entry, ServiceFsm::RetryCount action) {
  [[maybe_unused]] const auto known = registry.update_retry_count(entry.service.id, action.count);
}

/// Takes down those that were started after it, the last one first; each comes back after the one before it.
void LifecycleManager::Core::perform(Entry& entry, ServiceFsm::RecoveryBegan) {
  if (config.supervision.strategy != SupervisionStrategy::rest_for_one) return;
  std::vector<Entry*> rest;
  Entry* before = &entry;
  for (auto next = by_order_.upper_bound(entry.order); next != by_order_.end(); ++next) {
    if (!next->second->fsm.may_hold()) continue;
    block(*next->second, *before);
    before = next->second;
    rest.push_back(before);
  }
  for (auto held = rest.rbegin(); held != rest.rend(); ++held)
    step(**held, [&](auto& out) { (*held)->fsm.hold(timers_.now(), out); });
}

// Waiting for others.

void LifecycleManager::Core::block(Entry& waiter, Entry& blocker) {
  if (waiter.blockers.insert(blocker.service.id).second) blocker.waiters.push_back(waiter.service.id);
}

void LifecycleManager::Core::settle() {
  while (!unsettled_.empty()) {
    const std::string id = std::move(unsettled_.front());
    unsettled_.pop_front();
    Entry* blocker = find(id);
    if (blocker == nullptr) continue;
    const bool undecided = blocker->fsm.status() == ServiceStatus::starting || blocker->fsm.recovering();
    if (undecided) continue;
    for (const std::string& waiter : std::exchange(blocker->waiters, {})) {
      if (Entry* entry = find(waiter)) settle(*entry, id);
    }
  }
}

void LifecycleManager::Core::settle(Entry& waiter, const std::string& blocker_id) {
  waiter.blockers.erase(blocker_id);
  const Entry* blocker = find(blocker_id);
  const ServiceStatus status = blocker != nullptr ? blocker->fsm.status() : ServiceStatus::stopped;
  const std::string name = blocker != nullptr ? blocker->service.name : blocker_id;
  // What came back after another one does without it once that is stopped; what needs it to start does not.
  const bool goes_on = status == ServiceStatus::running ||
                       (status != ServiceStatus::error && waiter.fsm.status() == ServiceStatus::reconnecting);
  if (!goes_on) {
    const std::string why = "service '" + name + "', which it waits for, has status " + std::string(to_string(status));
    return step(waiter, [&](auto& out) { waiter.fsm.give_up(why, out); });
  }
  if (waiter.blockers.empty()) step(waiter, [&](auto& out) { waiter.fsm.unblock(timers_.now(), out); });
}

// The end.

void LifecycleManager::Core::remove(Entry& entry) {
  if (entry.due) due_.erase({*entry.due, &entry});
  by_order_.erase(entry.order);
  id_by_name_.erase(entry.service.name);
  for (const std::string& waiter : entry.waiters) {
    if (Entry* waiting = find(waiter)) settle(*waiting, entry.service.id);
  }
  for (Done& done : std::exchange(entry.on_stopped, {}))
    complete(std::move(done), Error());
  entries_.erase(entry.service.id);
}

void LifecycleManager::Core::stop_all(Done done) {
  auto ids = std::make_shared<std::vector<std::string>>();
  for (const auto& [order, entry] : by_order_)
    ids->push_back(entry->service.id);
  stop_next(ids, done);
}

void LifecycleManager::Core::stop_next(const std::shared_ptr<std::vector<std::string>>& ids, const Done& done) {
  while (!ids->empty() && find(ids->back()) == nullptr)
    ids->pop_back();
  if (ids->empty()) return complete(done, Error());
  const std::string id = std::move(ids->back());
  ids->pop_back();
  stop_service(id, [self = shared_from_this(), ids, done](const Error&) { self->stop_next(ids, done); });
}

void LifecycleManager::Core::close(Duration drain, std::function<void()> done) {
  if (closed_) {
    if (done) asio::post(executor, std::move(done));
    return;
  }
  if (done) on_closed_.push_back(std::move(done));
  if (!std::exchange(closing_, true)) stop_all({});
  const TimePoint until = timers_.now() + bounded(drain);
  if (drain <= Duration::zero()) {
    hurry();
  } else if (!drain_timer_ || until < drain_until_) {
    if (drain_timer_) timers_.cancel(*drain_timer_);
    drain_until_ = until;
    drain_timer_ = timers_.schedule_at(until, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->post([](Core& core) { core.hurry(); });
    });
  }
}

void LifecycleManager::Core::hurry() {
  std::vector<std::string> ids;
  for (auto at = by_order_.rbegin(); at != by_order_.rend(); ++at)
    ids.push_back(at->second->service.id);
  for (const std::string& id : ids) {
    if (Entry* entry = find(id)) {
      step(*entry, [&](auto& out) {
        entry->fsm.stop(timers_.now(), out);
        entry->fsm.hurry(timers_.now(), out);
      });
    }
  }
}

void LifecycleManager::Core::end_if_closed() {
  if (!closing_ || closed_ || !entries_.empty() || completing_ != 0) return;
  closed_ = true;
  if (timer_) timers_.cancel(*timer_);
  if (drain_timer_) timers_.cancel(*drain_timer_);
  for (auto& done : std::exchange(on_closed_, {}))
    asio::post(executor, std::move(done));
}

// Time.

void LifecycleManager::Core::set_due(Entry& entry) {
  const auto due = entry.fsm.next_deadline();
  if (due == entry.due) return;
  if (entry.due) due_.erase({*entry.due, &entry});
  entry.due = due;
  if (due) due_.emplace(*due, &entry);
}

void LifecycleManager::Core::arm() {
  // A timer that is armed for earlier serves too: it looks again when it fires.
  if (due_.empty() || closed_ || (timer_ && armed_for_ <= due_.begin()->first)) return;
  if (timer_) timers_.cancel(*timer_);
  armed_for_ = due_.begin()->first;
  timer_ = timers_.schedule_at(armed_for_, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->post([](Core& core) { core.fire(); });
  });
}

void LifecycleManager::Core::fire() {
  const TimePoint now = timers_.now();
  // Not armed any more for what it was armed for: a later timer is.
  if (closed_ || !timer_ || now < armed_for_) return;
  timer_.reset();
  ++depth_;
  while (!due_.empty() && due_.begin()->first <= now) {
    Entry& entry = *due_.begin()->second;
    step(entry, [&](auto& out) { entry.fsm.tick(now, out); });
  }
  if (--depth_ == 0) {
    settle();
    arm();
  }
}

}  // namespace sharingbus::connector
