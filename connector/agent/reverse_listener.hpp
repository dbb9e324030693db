#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/agent/agent_pool.hpp"
#include "transport/framing.hpp"
#include "transport/listener.hpp"

namespace sharingbus::connector {

namespace internal {
class ReverseCore;
}  // namespace internal

/// A secret that agents show in their registration.
struct ReverseToken {
  std::string token;
  /// The agent that it is for; empty: any that is allowed.
  std::string agent_id{};
};

/// Who may register. Closed by default: without `allowed_agents` and at least one proof of who a peer is, the listener
/// refuses to start. Of the proofs that are asked for, a peer has to give every one.
struct ReverseListenerOptions {
  /// Exact ids.
  std::set<std::string, std::less<>> allowed_agents{};
  /// Proof: one of these.
  std::vector<ReverseToken> tokens{};
  /// Proof: the peer on a Unix socket runs as the same user, as the kernel says.
  bool same_user = false;
  /// Proof: the transport of every listener that is served demands client certificates and checks them.
  bool client_certificates = false;

  /// From a connection to its registration; then it is dropped.
  Duration registration_timeout = std::chrono::seconds(10);
  /// Of the registration. `ReverseListener::framing` holds the transport to it.
  std::size_t max_registration_bytes = 8 * 1024;
  /// Connections that have not registered yet, or were refused and have not ended, for which they get a second; those
  /// beyond are dropped.
  std::size_t max_unregistered = 64;
  /// Whether agents that are dialled may have connections of their own accord besides.
  bool may_join_dialled = false;

  /// `invalid_argument`, saying what to set.
  [[nodiscard]] Result<> validate() const;
};

/// A peer was not let in, or went before it had registered.
struct ReverseAgentRefused {
  static constexpr std::string_view event_name = "agent.reverse_refused";
  static constexpr EventKind event_kind = EventKind::agent;
  /// As it said; empty when it did not come to that.
  std::string agent_id;
  std::string peer;
  Error error;
};

/// Lets agents connect by themselves: takes their registrations and gives the connections to a pool. An agent that has
/// registered with one proof (a token, a user) keeps its id from those with another for as long as it is connected, and
/// the id of a dialled agent is not to be had. (Spec 4, last lines; protocol-agent-v2 §4.)
///
/// Started by `serve`, stopped by `close`. All functions: any thread. Owns its listeners, which own the links; bus,
/// timers, pool and the executor's context must outlive it.
class ReverseListener {
 public:
  ReverseListener(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers, AgentPool& pool,
                  ReverseListenerOptions options);
  /// After a completed `close`: frees memory. Otherwise closes and does not wait.
  ~ReverseListener();
  ReverseListener(const ReverseListener&) = delete;
  ReverseListener& operator=(const ReverseListener&) = delete;

  /// What a listener must be made with to be served.
  [[nodiscard]] transport::ListenerOptions make_listener_options();
  /// Frames of agents on byte transports, the first of which has at most `max_registration_bytes`.
  [[nodiscard]] std::shared_ptr<const transport::Framing> framing() const;
  /// Takes the listener and starts it. Errors: those of `ReverseListenerOptions::validate` and `Listener::listen`;
  /// `invalid_argument` for one that was not made with `make_listener_options`; `closed`.
  Result<transport::Endpoint> serve(std::unique_ptr<transport::Listener> listener);
  /// Stops accepting, ends every connection, and calls `done` on the executor. Idempotent.
  void close(std::function<void()> done);

 private:
  SharingBus& bus_;
  const std::shared_ptr<internal::ReverseCore> core_;
};

}  // namespace sharingbus::connector
