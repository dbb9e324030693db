#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bus/sharing_bus.hpp"
#include "connector/registration/execute_pool.hpp"
#include "connector/registration/options.hpp"
#include "connector/registration/registration_fsm.hpp"
#include "transport/dialer.hpp"

namespace sharingbus::connector::internal {

/// Messages other than requests that may be on their way on one stream at once, and its own events beside them.
inline constexpr std::uint32_t kControlWindow = 128;
inline constexpr std::size_t kStreamEventReserve = 8;

/// What all streams of a registration share. Owned by its driver, which outlives them.
struct RegistrationContext {
  RegistrationContext(SharingBus& on, TimerService& time, transport::Dialer& through, Registration what,
                      const RunnerOptions& how);

  template <class Event>
  void publish(Event event) const {
    Routing routing = routing_for<Event>();
    routing.connector_uid = uid;
    routing.connector_id = address;
    routing.address = address;
    publisher.publish(std::move(event), std::move(routing), EventOrigin::connector, source);
  }

  SharingBus& bus;
  const Publisher publisher;
  TimerService& timers;
  transport::Dialer& dialer;
  const Registration registration;
  const RunnerOptions options;
  const transport::Endpoint endpoint;
  const std::string address;
  const Uuid uid = random_uuid();
  const std::uint64_t source;
  const std::shared_ptr<const transport::FrameDecoder> decoder;
  std::shared_ptr<ExecutePool> pool;
};

/// Carries out what one state machine decides: its streams, one at a time, with their credit and what waits for room on
/// them. Everything on the driver's strand.
class RegistrationStream {
 public:
  /// Who drives it.
  class Owner {
   public:
    /// The gateway wants `stream` replaced.
    virtual void replace_wanted(RegistrationStream& stream) = 0;
    virtual void registered(RegistrationStream& stream) = 0;
    /// The gateway said no to its registration.
    virtual void refused(RegistrationStream& stream) = 0;
    /// After each turn: deadlines, in-flight counts or the state may have changed.
    virtual void settled() = 0;

   protected:
    ~Owner() = default;
  };

  RegistrationStream(const RegistrationContext& context, Owner& owner, RegistrationFsm fsm);

  void start();
  void shutdown();
  /// See `RegistrationFsm::retire`.
  void retire();
  void tick();
  /// A stream that replaces this one's. Its state machine waits already.
  [[nodiscard]] std::unique_ptr<RegistrationStream> replacement();

  /// Whether the event is its stream's own.
  [[nodiscard]] bool owns(const BusEvent& event) const { return link_ != nullptr && event.source() == link_->id(); }
  void event(const BusEvent& event);
  /// Goes on without hearing the stream's own end.
  void abandon(const Error& why);

  /// An answer of the pool's to a request of this stream; `room_changed` follows.
  void answer(std::string frame);
  /// Something in the pool got free, here or on another stream.
  void room_changed();

  [[nodiscard]] const RegistrationFsm& fsm() const noexcept { return fsm_; }
  /// Id of the present stream; 0 without one.
  [[nodiscard]] ExecutePool::StreamId id() const noexcept { return id_; }
  [[nodiscard]] bool open() const noexcept { return link_ != nullptr; }
  /// Set once it is over, with the reason.
  [[nodiscard]] const std::optional<Error>& end() const noexcept { return end_; }

 private:
  using Fsm = RegistrationFsm;

  void requested(const transport::messages::ExecuteRequest& request);
  void received(transport::messages::ConnectorMessage message, bool request);
  void stream_closed(const Error& error, Duration retry_after = Duration::zero());
  void return_credit();
  void watch_reading();
  void report_in_flight();
  [[nodiscard]] std::size_t request_room() const;

  template <class Input>
  void step(Input&& input);
  void carry_out(Fsm::Actions actions);
  void perform(Fsm::OpenStream&& open);
  void perform(Fsm::Send&& send_action);
  void perform(Fsm::Execute&& execute);
  void perform(Fsm::DrainExecutes&& drain);
  void perform(Fsm::CancelExecutes&& cancel);
  void perform(Fsm::FinishStream&& finish);
  void perform(Fsm::CancelStream&& cancel);
  void perform(Fsm::ReplaceStream&& replace);
  void perform(Fsm::End&& end);
  void perform(Registered&& event);
  void perform(RegistrationFailed&& event);
  template <class Event>
  void perform(Event&& event);
  [[nodiscard]] Result<std::string> register_frame(const std::string& session_token) const;

  void send(std::string frame);
  [[nodiscard]] transport::SendStatus offer(const std::string& frame);
  void flush();
  void everything_sent();

  const RegistrationContext& context_;
  Owner& owner_;
  RegistrationFsm fsm_;
  /// What was decided while actions were carried out.
  Fsm::Actions pending_;
  bool stepping_ = false;

  std::shared_ptr<transport::Link> link_;
  ExecutePool::StreamId id_ = 0;
  /// Credit that the link has for requests, and what it is owed for other messages.
  std::size_t request_credit_ = 0;
  std::uint32_t owed_controls_ = 0;
  /// What the state machine knows.
  bool reading_paused_ = false;
  /// What the link had no room for: answers, which hold back credit, and one heartbeat.
  std::list<std::string> outbox_;
  /// Messages that the link took.
  std::uint64_t frames_queued_ = 0;
  bool blocked_ = false;
  bool heartbeat_waits_ = false;
  bool finishing_ = false;
  std::optional<Error> end_;
};

}  // namespace sharingbus::connector::internal
