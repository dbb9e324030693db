#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/agent/agent_handler.hpp"
#include "connector/agent/agent_server_events.hpp"
#include "connector/agent/agent_server_options.hpp"
#include "transport/codec/agent_frame_decoder.hpp"
#include "transport/dialer.hpp"
#include "transport/endpoint.hpp"
#include "transport/listener.hpp"

namespace sharingbus::connector {

namespace internal {
class AgentServerCore;
}  // namespace internal

/// A policy agent that proxies ask, over version 2 of the agent protocol: on gRPC and Unix sockets where it listens,
/// and on connections that it dials itself (reverse). It sees its streams only through the bus that it is given, and
/// publishes what it does (agent_server_events.hpp).
///
/// Every event gets exactly one answer with its correlation id, those of one id in their order; one that came broken,
/// and after a Cancel those of the id that have none yet, the failure answer. Messages that it cannot name are skipped.
/// While a configuration is with the handler, what came behind it waits.
///
/// Started by `serve` and `register_with`, stopped by `close`. All functions: any thread. It owns its listeners,
/// dialers and connections; bus, timers and the executor's context must outlive it. Connections work on a strand each,
/// so the executor may have many threads; a transport that has read an event works on it itself, unless the handler may
/// block there (`AgentHandler::may_block`). Not destroyed by a handler.
class AgentServer {
 public:
  /// Throws `std::invalid_argument` when `options.validate()` fails, or without a handler.
  AgentServer(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
              std::shared_ptr<AgentHandler> handler, AgentServerOptions options);
  /// After a completed `close`: frees memory. Otherwise it cancels everything and does not wait.
  ~AgentServer();
  AgentServer(const AgentServer&) = delete;
  AgentServer& operator=(const AgentServer&) = delete;

  /// What a listener must be made with to be served: publisher, decoder, ids, and the protocol's limits, which may be
  /// changed. `AgentCarrier::grpc`: a gRPC listener, with both of `kAgentMethod` and `kAgentMethodLegacy` as methods;
  /// `uds`: any listener of byte streams with `LengthPrefixFraming`.
  /// The other methods of gRPC go into `GrpcListenerOptions::services`, with `kAgentEventMethod` and
  /// `kAgentControlMethod` of `transport/codec/agent_control.hpp`.
  [[nodiscard]] transport::ListenerOptions make_listener_options(transport::AgentCarrier carrier,
                                                                 AgentMethod method = AgentMethod::process_stream);
  /// Takes the listener, starts it and returns the endpoint that was bound. As many listeners as you like. Errors:
  /// those of `Listener::listen`; `invalid_argument` for one that was not made with `make_listener_options`; `closed`.
  Result<transport::Endpoint> serve(std::unique_ptr<transport::Listener> listener);

  /// Dials a proxy over byte streams with `LengthPrefixFraming`, registers, and stays registered: what ends is dialled
  /// anew with backoff. Errors: `invalid_argument`, naming the field; `closed`.
  Result<> register_with(std::unique_ptr<transport::Dialer> dialer, ReverseOptions options = {});

  /// Tells all proxies, present and future ones, to pause, or to resume, which those with a long line
  /// (`AgentServerOptions::pause_waiting`) are told only when it is short again. They may go on all the same.
  void set_paused(bool paused);

  /// Proxies that are connected or about to be.
  [[nodiscard]] std::size_t connection_count() const;

  /// Refuses new connections, tells the proxies and the handler, answers what is there for up to `drain`, cancels what
  /// is left, and calls `done` on the executor when every connection, handler, listener, dialer and timer is gone.
  /// Idempotent: every `done` is called, and the earliest end of a drain counts.
  void close(Duration drain, std::function<void()> done);

 private:
  SharingBus& bus_;
  const std::shared_ptr<internal::AgentServerCore> core_;
};

}  // namespace sharingbus::connector
