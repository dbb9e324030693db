#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "bus/base/timer.hpp"
#include "bus/event.hpp"
#include "connector/internal/lane_link.hpp"
#include "connector/internal/timer_access.hpp"
#include "transport/link.hpp"
#include "transport/messages/connector_messages.hpp"
#include "transport/strand.hpp"
#include "transport/stream_options.hpp"

namespace sharingbus::connector::internal {

/// Further registrations on a stream that has one already (protocol-connector §3.5). Each gets a lane: a link of its
/// own on the bus, so that the gateway gives it a session like any other. The lanes end with the stream; one lane's end
/// touches no other.
///
/// Told of what comes on the stream by its session, on the session's strand.
class Lanes final : public LaneHost, public std::enable_shared_from_this<Lanes> {
 public:
  struct Context {
    transport::Strand strand;
    std::shared_ptr<transport::Link> stream;
    /// What each lane's events are made with.
    transport::StreamOptions options;
    std::uint64_t listener = 0;
    std::string peer;
    std::size_t max_lanes = 0;
    /// Requests that may be pending, of all lanes.
    std::size_t max_requests = 0;
    /// No more often are lanes told that the peer is alive: a word for each of them.
    Duration alive_every{};
    /// The last lane has ended by itself. On the strand.
    std::function<void()> emptied;
  };
  explicit Lanes(Context context) : context_(std::move(context)) {}

  enum class Taken : std::uint8_t { no, yes, full };
  /// Hands a message of the stream to the lane that it is for, if it is for one. A registration opens one, unless there
  /// are as many as there may be (`full`).
  [[nodiscard]] Taken take(const BusEvent& event, TimerAccess& timers);
  /// On the strand.
  [[nodiscard]] bool empty() const noexcept { return lanes_.empty(); }
  /// The stream can send again.
  void writable();
  /// The stream is over, and so are all lanes. Idempotent.
  void close(const Error& why);

  void on_strand(std::function<void()> fn) override;
  bool passes(const std::shared_ptr<LaneLink>& lane, std::string_view frame) override;
  void lane_ended(LaneLink& lane, const Error& why) override;

 private:
  [[nodiscard]] Taken take_register(const transport::messages::RegisterRequest& request, const BusEvent& event);
  [[nodiscard]] std::shared_ptr<LaneLink> of_arn(const std::string& arn) const;
  void tell_alive(std::int64_t timestamp_ms, TimerAccess& timers);
  static void deliver(LaneLink& lane, const BusEvent& event);
  static void deliver(LaneLink& lane, std::string frame);
  void note_request(std::string_view request_id, const std::shared_ptr<LaneLink>& lane);
  [[nodiscard]] std::shared_ptr<LaneLink> take_request(const std::string& request_id);

  const Context context_;
  /// By ARN.
  std::map<std::string, std::shared_ptr<LaneLink>> lanes_;
  /// When they were told last that the peer is alive.
  std::optional<TimePoint> alive_at_;
  bool closed_ = false;

  std::mutex mutex_;
  // Guarded by the mutex: who has sent which request, the oldest first; forgotten when answered, or when there are too
  // many, as their answers will not come.
  struct Asked {
    std::weak_ptr<LaneLink> by;
    std::list<std::string>::iterator place;
  };
  std::unordered_map<std::string, Asked> requests_;
  std::list<std::string> order_;
};

}  // namespace sharingbus::connector::internal
