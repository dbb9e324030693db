#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/base/uuid.hpp"
#include "transport/messages/agent_messages.hpp"

namespace sharingbus::connector {

/// Which connection an event came on.
struct ProxyInfo {
  /// Of the connection's link: what its events have as `connector_uid`.
  Uuid connection;
  std::string peer;
  /// As the proxy gave them in its handshake; of a reverse connection, in the answer to the registration.
  std::string proxy_id;
  std::string proxy_version;
};

/// What an agent decides: a policy author overrides what he cares about. Defaults allow everything.
///
/// Each call is a coroutine. Those of one request (correlation id) on one connection run one after another, in the
/// order of arrival; those of different requests run at the same time, as far as the executor has threads
/// (`AgentServerOptions::handlers`, but see `may_block`). A request's response events, and its Cancel, may come on
/// another connection than its headers, so what is kept about a request belongs to its correlation id alone.
///
/// What they are given by reference lives until the coroutine has ended. The answer's `correlation_id` is set by the
/// server. What they throw, and what takes longer than `AgentServerOptions::processing_timeout`, becomes the failure
/// answer. Cancellation: the terminal type, when the proxy cancels the request, the time is over, or the connection or
/// the server ends; whatever is answered then is dropped.
class AgentHandler {
 public:
  using Response = transport::agent_messages::AgentResponse;
  using Answer = boost::asio::awaitable<Response>;

  virtual ~AgentHandler() = default;

  /// Whether handlers may hold up their thread, by blocking or by long work. When not, the thread that has read an
  /// event begins its handler, which saves the hand-over to the executor; that may be a thread of the transport's, and
  /// so those of several connections run at once even where the executor has one thread. After its first wait
  /// (`co_await`) a handler goes on on its connection's strand: on the executor, or where the strand is just then.
  /// `configure`, `config_requested`, `health` and `drain` are on the executor always, and so may run at the same time
  /// as a handler that waits or goes on. Asked once. Without meaning where `AgentServerOptions::handlers` are.
  [[nodiscard]] virtual bool may_block() const { return true; }

  virtual Answer request_headers(const transport::agent_messages::RequestHeaders& event, const ProxyInfo& proxy);
  virtual Answer request_body_chunk(const transport::agent_messages::RequestBodyChunk& event, const ProxyInfo& proxy);
  virtual Answer response_headers(const transport::agent_messages::ResponseHeaders& event, const ProxyInfo& proxy);
  virtual Answer response_body_chunk(const transport::agent_messages::ResponseBodyChunk& event, const ProxyInfo& proxy);
  virtual Answer websocket_frame(const transport::agent_messages::WebSocketFrame& event, const ProxyInfo& proxy);
  virtual Answer guardrail_inspect(const transport::agent_messages::GuardrailInspect& event, const ProxyInfo& proxy);
  /// The request is over; what is answered changes nothing.
  virtual Answer request_complete(const transport::agent_messages::RequestComplete& event, const ProxyInfo& proxy);

  /// A configuration, from a handshake (`is_initial`) or later. What comes behind it on its connection waits until this
  /// has ended. An error refuses it: the proxy is told, and a gRPC connection ends. Each of a proxy's connections may
  /// bring the same one.
  virtual boost::asio::awaitable<Result<>> configure(const transport::agent_messages::Configure& event,
                                                     const ProxyInfo& proxy);
  /// Whoever dialled a control stream (`AgentMethod::control_stream`) asks for, or tells of, configuration. One at a
  /// time, in the order of arrival. An error refuses it, and its text goes along; by default all are accepted.
  virtual boost::asio::awaitable<Result<>> config_requested(
      const transport::agent_messages::ConfigUpdateRequest& request, const ProxyInfo& dialler);
  /// The proxy gave up on a request. Its handlers have been cancelled.
  virtual boost::asio::awaitable<void> cancelled(const transport::agent_messages::Cancel& event,
                                                 const ProxyInfo& proxy);
  /// The state that proxies are told, once each report interval; `load` is what the server knows, and goes along.
  virtual boost::asio::awaitable<transport::agent_messages::HealthStatus> health(
      const transport::agent_messages::LoadMetrics& load);
  /// The server drains; it may take `limit` until handlers are cancelled.
  virtual boost::asio::awaitable<void> drain(Duration limit);
};

// Short forms of answers.

[[nodiscard]] AgentHandler::Response allow();
[[nodiscard]] AgentHandler::Response block(std::uint16_t status, std::optional<std::string> body = std::nullopt);

}  // namespace sharingbus::connector
