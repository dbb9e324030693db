#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

#include "bus/async.hpp"
#include "bus/base/gate.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/agent/reverse_listener.hpp"
#include "connector/internal/timer_access.hpp"
#include "transport/codec/agent_frame_decoder.hpp"

namespace sharingbus::connector::internal {

/// The reverse listener without its handle. Any thread; the mutex is never held while bus, link, pool or timers are
/// called.
class ReverseCore final : public std::enable_shared_from_this<ReverseCore> {
 public:
  ReverseCore(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers, AgentPool& pool,
              ReverseListenerOptions options);

  void start(SharingBus& bus);
  [[nodiscard]] transport::ListenerOptions make_listener_options(SharingBus& bus) const;
  Result<transport::Endpoint> serve(std::shared_ptr<transport::Listener> listener);
  void close(std::function<void()> done);
  void abandon();

  [[nodiscard]] const ReverseListenerOptions& options() const noexcept { return options_; }

 private:
  /// A connection that has not registered yet.
  struct Guest {
    std::shared_ptr<transport::Link> link;
    std::string peer;
    // Guarded by the mutex.
    CallbackSubscription subscription;
    TimerId timer = 0;
    /// Needs neither of them any more.
    bool let_go = false;
  };
  using GuestPtr = std::shared_ptr<Guest>;

  // On the dispatching thread, inline.
  void stream_opened(SharingBus& bus, const BusEvent& event);
  void stream_closed(const Uuid& uid);
  void received(const Uuid& uid, const Received& item);
  void registered(const Uuid& uid, const transport::agent_messages::ReverseRegistration& registration);
  /// The text of the refusal; no error: it may come in. `owner` becomes what it proved itself with.
  [[nodiscard]] Error check(const Guest& guest, const transport::agent_messages::ReverseRegistration& registration,
                            std::string& owner) const;
  [[nodiscard]] Error claim(const Uuid& uid, const std::string& agent_id, const std::string& owner);
  void refuse(const Guest& guest, const std::string& agent_id, Error why);
  void drop(const Uuid& uid, Error why);
  [[nodiscard]] GuestPtr leave(const Uuid& uid);
  void let_go(const GuestPtr& guest);
  void see_off(const Uuid& uid, const GuestPtr& guest);
  void seen_off(const Uuid& uid);

  const boost::asio::any_io_executor executor_;
  const Publisher publisher_;
  const std::uint64_t source_;
  AgentPool& pool_;
  const ReverseListenerOptions options_;
  const std::shared_ptr<const transport::FrameDecoder> decoder_;
  TimerAccess timers_;
  /// Registrations that are at work with the pool.
  Gate registering_;

  mutable std::mutex mutex_;
  bool closing_ = false;
  std::unordered_map<Uuid, GuestPtr> guests_;
  /// Refused, and to end by themselves, for a while.
  std::unordered_map<Uuid, GuestPtr> leaving_;
  /// Whose each id is while it is connected, and with which streams.
  struct Owner {
    std::string proof;
    std::unordered_set<Uuid> streams;
  };
  std::map<std::string, Owner, std::less<>> owners_;
  std::unordered_map<Uuid, std::string> streams_;
  std::vector<std::shared_ptr<transport::Listener>> listeners_;
  std::unordered_set<std::uint64_t> listener_ids_;
  Subscription opened_;
  Subscription closed_;
};

}  // namespace sharingbus::connector::internal
