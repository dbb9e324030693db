#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>

#include "bus/async.hpp"
#include "connector/gateway/internal/lanes.hpp"
#include "connector/gateway/internal/outbox.hpp"
#include "connector/gateway/internal/pending_requests.hpp"
#include "connector/gateway/internal/session_fsm.hpp"
#include "connector/internal/strand_pool.hpp"
#include "transport/link.hpp"

namespace sharingbus::connector::internal {

class GatewayCore;

struct SessionCounters {
  std::size_t pending = 0;
  std::uint64_t answered = 0;
  std::uint64_t failed = 0;
  std::uint64_t late_answers = 0;
};

/// One accepted stream: feeds the state machine, carries out its actions, keeps the pending requests and the credit.
/// Works on a strand that it shares with others; the public functions are for any thread. Owned by the core until the
/// stream's end.
class Session final : public std::enable_shared_from_this<Session> {
 public:
  /// `listener`: `StreamOpened::listener`.
  Session(std::shared_ptr<GatewayCore> core, Admission alive, std::shared_ptr<transport::Link> link, std::string peer,
          std::uint64_t listener);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Subscribes to the link's events and then lets it read. From `StreamOpened`'s inline callback, where the bus lives.
  void start();
  /// The stream ended, as the gateway's own subscription saw it. Counts only while the session's queue has brought
  /// nothing: a stream that ended before `start` had subscribed would be missed otherwise. Later the queue has it, in
  /// order with the answers before it.
  void closed_early(Error error);
  /// False: as many requests are pending as may be.
  [[nodiscard]] bool reserve();
  /// After `reserve`.
  void execute(RequestPtr request);
  void end(Error why, bool graceful);
  /// A newer stream has the address. One that was asked to go answers what is pending first.
  void supersede(Error why);
  void ask_to_reconnect();

  [[nodiscard]] const Uuid& uid() const noexcept { return link_->uid(); }
  [[nodiscard]] const std::string& peer() const noexcept { return peer_; }
  [[nodiscard]] SessionCounters counters() const;

 private:
  /// Replies that may wait for a peer that does not read; beyond that it is not read either.
  static constexpr std::size_t kRepliesMax = 256;

  template <class Fn>
  void post(Fn fn) {
    boost::asio::post(shared_.strand, [self = shared_from_this(), fn = std::move(fn)]() mutable {
      fn(*self);
      self->settle();
    });
  }
  /// Hands `input` the state machine and carries out what it asks for.
  template <class Input>
  void feed(Input&& input);
  void settle();
  /// The registration, and with it the stream, unless others share that.
  void end_superseded(bool graceful);
  void arm_timer();
  void timer_fired(std::uint64_t round);
  void depart();

  // The link's events.
  void received(const Received& item);
  void event(const BusEvent& event);
  /// True when the message is for another registration on the same stream.
  [[nodiscard]] bool for_a_lane(const BusEvent& event);
  void answered(const transport::messages::ExecuteResponse& response, TimePoint now);
  void invoked(const transport::messages::InvokeRequest& invoke);
  void return_credit();

  // Requests.
  void begin(RequestPtr request);
  /// It did not go out: another session may have the address by now.
  void turn_away(RequestPtr request, Error error);
  void announce(const Request& request);
  void complete(RequestPtr request, Error error, ExecuteReply reply, TimePoint now);
  void finish(RequestPtr request, Error&& error, ExecuteReply&& reply);
  void expire();
  void reply(transport::messages::ConnectorMessage message);
  void refuse_too_large(Outbox::Item item);

  // The state machine's actions.
  void perform(SessionFsm::Send& action);
  void perform(SessionFsm::Claim& action);
  void perform(SessionFsm::Release& action);
  void perform(SessionFsm::FinishStream& action);
  void perform(SessionFsm::CancelStream& action);
  template <class Event>
  void perform(Event& action);

  [[nodiscard]] Routing request_routing(const Request& request, EventKind kind) const;

  const std::shared_ptr<GatewayCore> core_;
  const Admission alive_;
  const std::shared_ptr<transport::Link> link_;
  const std::string peer_;
  const std::uint64_t listener_;
  SharedStrand shared_;

  std::atomic<std::size_t> reserved_{0};
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> late_answers_{0};
  /// Something came through the queue. Set on the strand.
  std::atomic<bool> heard_{false};

  // On the strand.
  SessionFsm fsm_;
  PendingRequests pending_;
  Outbox outbox_;
  /// Null while the stream has one registration only.
  std::shared_ptr<Lanes> lanes_;
  CallbackSubscription subscription_;
  transport::Credit owed_;
  std::size_t invokes_ = 0;
  std::string address_;
  TimerId timer_ = 0;
  TimePoint timer_at_{};
  std::uint64_t timer_round_ = 0;
  /// Finish the stream as soon as the outbox is empty.
  bool finish_wanted_ = false;
  bool gone_ = false;
  /// Why this is ended when nothing is pending any more.
  std::optional<Error> superseded_;
};

}  // namespace sharingbus::connector::internal
