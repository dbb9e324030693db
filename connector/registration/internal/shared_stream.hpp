#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <boost/asio/any_io_executor.hpp>

#include "bus/async.hpp"
#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/internal/lane_link.hpp"
#include "transport/dialer.hpp"
#include "transport/messages/connector_messages.hpp"
#include "transport/strand.hpp"

namespace sharingbus::connector::internal {

class SharedStream;

/// Who has the streams. Any thread.
class SharedStreamOwner {
 public:
  virtual ~SharedStreamOwner() = default;
  /// True: it was the stream's last one, and no other will come.
  [[nodiscard]] virtual bool registration_ended(const SharedStream& stream, const std::string& arn) = 0;
  /// It is to be left: no registration shall come to it any more.
  virtual void stream_leaving(const SharedStream& stream) = 0;
  virtual void stream_ended(const SharedStream& stream) = 0;
};

/// One stream and the registrations that share it. A bus subscriber of the stream below; what comes is handed to the
/// registration that it is for, which publishes it as its own.
class SharedStream final : public LaneHost, public std::enable_shared_from_this<SharedStream> {
 public:
  SharedStream(const boost::asio::any_io_executor& executor, TimerService& timers,
               std::weak_ptr<SharedStreamOwner> owner, std::size_t max_registrations);

  /// Opens the stream below, as `options` have it. Once, before all else. Bus and dialer must outlive the stream.
  void dial(SharingBus& bus, transport::Dialer& streams, const transport::StreamOptions& options);
  /// A further registration; `first_frame` registers it. Any thread.
  std::shared_ptr<transport::Link> add(std::string arn, transport::StreamOptions options, std::string first_frame);
  /// Ends the stream, and with it every registration. Any thread.
  void cancel(Error why);

  void on_strand(std::function<void()> fn) override;
  bool passes(const std::shared_ptr<LaneLink>& lane, std::string_view frame) override;
  void lane_ended(LaneLink& lane, const Error& why) override;

 private:
  /// A registration whose answer is not there yet, with the frame that asks for it.
  struct Waiting {
    std::string arn;
    std::weak_ptr<LaneLink> lane;
    std::string frame;
    bool sent = false;
  };

  void open();
  /// A stream whose gateway refused the first and ended it is nothing to those who were not answered: another in its
  /// place. False when there is nobody who waits, or no reason to.
  [[nodiscard]] bool open_again();
  /// What may go out of what waits.
  void ask();
  static void ask(Waiting& waiting);
  /// Those that wait no more, as their registrations have ended.
  void forget_ended();
  /// Not when its registration has ended without an answer.
  [[nodiscard]] bool waits(const Waiting& waiting) const;
  void received(const Received& item);
  template <class Fn>
  void each_lane(Fn fn) const;
  void event(const BusEvent& event);
  void shut(const Error& why, Duration retry_after);
  void route(const BusEvent& event);
  void registered(const transport::messages::RegisterResponse& response, const BusEvent& event);
  void requested(const std::string& request_id, const transport::messages::StringMap& context, const BusEvent& event);
  void heartbeat(const transport::messages::HeartbeatResponse& response, const BusEvent& event);
  void begin(const std::shared_ptr<LaneLink>& lane, std::string first_frame);
  void leave();
  void refuse(const std::string& request_id, const std::string& why);
  void answer(const transport::messages::ConnectorMessage& message);
  [[nodiscard]] std::shared_ptr<transport::Link> link() const;
  [[nodiscard]] std::shared_ptr<LaneLink> of_arn(const std::string& arn) const;
  [[nodiscard]] std::shared_ptr<LaneLink> of_address(const std::string& address) const;
  [[nodiscard]] std::shared_ptr<LaneLink> only_one() const;
  /// False when too many wait for the lane.
  [[nodiscard]] static bool deliver(LaneLink& lane, const BusEvent& event);

  const transport::Strand strand_;
  TimerService& timers_;
  const std::weak_ptr<SharedStreamOwner> owner_;
  const std::size_t max_registrations_;

  // The strand's.
  CallbackSubscription subscription_;
  /// By ARN.
  std::map<std::string, std::shared_ptr<LaneLink>> lanes_;
  /// The oldest first.
  std::deque<Waiting> awaiting_;
  /// ARNs that asked and ended before they were answered: what comes for them is nobody's.
  std::set<std::string> unanswered_;
  /// Somebody was registered on this stream: a refusal does not end it any more.
  bool proven_ = false;
  /// Nobody was, and somebody was refused.
  bool refused_ = false;
  /// A stream before this one ended with a refusal: one asks, and the others when it was registered.
  bool cautious_ = false;
  transport::Credit owed_;
  std::string peer_;
  bool opened_ = false;
  bool going_away_ = false;
  /// Why, once it is over.
  std::optional<Error> ended_;

  // Set by `dial`.
  SharingBus* bus_ = nullptr;
  transport::Dialer* streams_ = nullptr;
  transport::StreamOptions options_;

  mutable std::mutex mutex_;
  // Guarded by the mutex. The link is there once `dial` has returned.
  bool cancelled_ = false;
  std::shared_ptr<transport::Link> link_;
  std::optional<TimePoint> heartbeat_sent_;
  std::optional<TimePoint> heartbeat_answered_;
};

}  // namespace sharingbus::connector::internal
