#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include "bus/async.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/lifecycle/internal/service_session.hpp"
#include "connector/lifecycle/lifecycle_manager.hpp"
#include "connector/lifecycle/service_fsm.hpp"
#include "transport/codec/json_rpc_frame_decoder.hpp"

namespace sharingbus::connector {

/// Carries out what the services' state machines decide. Everything but the constructor, `post` and the registry
/// happens on `strand_`.
class LifecycleManager::Core final : public std::enable_shared_from_this<LifecycleManager::Core> {
 public:
  Core(boost::asio::any_io_executor run_on, SharingBus& bus, TimerService& timers, LifecycleConfig options,
       DialerFactory factory);

  const boost::asio::any_io_executor executor;
  const LifecycleConfig config;
  ServiceRegistry registry;

  template <class Fn>
  void post(Fn fn) {
    boost::asio::post(strand_, [self = shared_from_this(), fn = std::move(fn)]() mutable { fn(*self); });
  }

  void start_service(ExtensionService service, ServicePolicy policy, StartDone done);
  void stop_service(const std::string& id, Done done);
  void handle_heartbeat(const std::string& id, Done done);
  void handle_error(const std::string& id, const std::string& text, Done done);
  void set_auto_reconnect(const std::string& id, bool on, Done done);
  void stop_all(Done done);
  void health_check(IdsDone done);
  void close(Duration drain, std::function<void()> done);

 private:
  struct Entry {
    Entry(ExtensionService registered, ServicePolicy its_policy, const LifecycleConfig& options,
          const ReconnectPolicy& waits)
        : service(std::move(registered)), policy(std::move(its_policy)), fsm(service, options, waits) {}

    const ExtensionService service;
    const ServicePolicy policy;
    ServiceFsm fsm;
    std::uint64_t order = 0;
    Uuid uid;
    std::unique_ptr<transport::Dialer> dialer;
    CallbackSubscription subscription;
    std::unique_ptr<internal::ServiceSession> session;
    /// Actions that are decided and not carried out yet.
    std::deque<ServiceFsm::Action> pending;
    bool stepping = false;
    bool ended = false;
    std::optional<TimePoint> due;
    /// Who this one waits for, and who waits for it.
    std::set<std::string> blockers;
    std::vector<std::string> waiters;
    std::vector<StartDone> on_started;
    std::vector<Done> on_recovered;
    std::vector<Done> on_stopped;
  };

  Entry* find(const std::string& id);
  Error check_dependencies(const ServicePolicy& policy) const;
  Error make_transport(Entry& entry);
  void subscribe(Entry& entry);

  // Inputs.
  template <class Input>
  void step(Entry& entry, Input input);
  void run(Entry& entry, ServiceFsm::Actions actions);
  void receive(const std::string& id, const Received& received);
  void lose(Entry& entry, const Error& why);

  // What the state machines want.
  void perform(Entry& entry, ServiceStatusChanged event);
  void perform(Entry& entry, ServiceHeartbeat event);
  void perform(Entry& entry, ServiceStopped event);
  void perform(Entry& entry, ServiceFsm::OpenLink action);
  void perform(Entry& entry, ServiceFsm::SendProbe action);
  void perform(Entry& entry, ServiceFsm::FinishLink action);
  void perform(Entry& entry, ServiceFsm::CancelLink action);
  void perform(Entry& entry, ServiceFsm::ReleaseTransport action);
  void perform(Entry& entry, ServiceFsm::StartEnded action);
  void perform(Entry& entry, ServiceFsm::RecoveryBegan action);
  void perform(Entry& entry, ServiceFsm::RecoveryEnded action);
  void perform(Entry& entry, ServiceFsm::RetryCount action);
  template <class Event>
  void perform(Entry& entry, Event event);
  template <class Event>
  void publish(const std::string& name, const std::optional<Uuid>& uid, Event event);

  // Waiting for others.
  void block(Entry& waiter, Entry& blocker);
  void settle();
  void settle(Entry& waiter, const std::string& blocker_id);

  // The end.
  void remove(Entry& entry);
  void stop_next(const std::shared_ptr<std::vector<std::string>>& ids, const Done& done);
  void hurry();
  void end_if_closed();

  // Time.
  void set_due(Entry& entry);
  void arm();
  void fire();

  /// Calls `done` on the strand, once all that was published until now was dispatched.
  template <class Callback, class... Results>
  void complete(Callback done, Results... results);

  const boost::asio::strand<boost::asio::any_io_executor> strand_;
  SharingBus& bus_;
  const Publisher publisher_;
  TimerService& timers_;
  const DialerFactory factory_;
  const std::uint64_t source_;
  const ReconnectPolicy policy_;
  const std::shared_ptr<const transport::FrameDecoder> decoder_ = std::make_shared<transport::JsonRpcFrameDecoder>();
  CallbackGroup streams_;

  std::unordered_map<std::string, std::unique_ptr<Entry>> entries_;
  std::map<std::uint64_t, Entry*> by_order_;
  std::unordered_map<std::string, std::string> id_by_name_;
  std::uint64_t last_order_ = 0;
  /// Entries whose waiters have to be asked again.
  std::deque<std::string> unsettled_;
  int depth_ = 0;

  /// Inputs by when they are due: one timer of the service for all of them.
  std::set<std::pair<TimePoint, Entry*>> due_;
  std::optional<TimerId> timer_;
  TimePoint armed_for_{};

  bool closing_ = false;
  bool closed_ = false;
  std::optional<TimerId> drain_timer_;
  TimePoint drain_until_{};
  std::vector<std::function<void()>> on_closed_;
  /// Completions that are waiting for the bus.
  std::size_t completing_ = 0;
};

}  // namespace sharingbus::connector
