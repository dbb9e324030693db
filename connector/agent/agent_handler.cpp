#include "connector/agent/agent_handler.hpp"

#include <utility>

namespace sharingbus::connector {

namespace asio = boost::asio;
using namespace transport::agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

AgentHandler::Response allow() {
  return {};
}

AgentHandler::Response block(std::uint16_t status, std::optional<std::string> body) {
  AgentHandler::Response response;
  response.decision = Block{status, std::move(body), {}};
  return response;
}

AgentHandler::Answer AgentHandler::request_headers(const RequestHeaders&, const ProxyInfo&) {
  co_return allow();
}

AgentHandler::Answer AgentHandler::request_body_chunk(const RequestBodyChunk&, const ProxyInfo&) {
  co_return allow();
}

AgentHandler::Answer AgentHandler::response_headers(const ResponseHeaders&, const ProxyInfo&) {
  co_return allow();
}

AgentHandler::Answer AgentHandler::response_body_chunk(const ResponseBodyChunk&, const ProxyInfo&) {
  co_return allow();
}

AgentHandler::Answer AgentHandler::websocket_frame(const WebSocketFrame&, const ProxyInfo&) {
  co_return allow();
}

AgentHandler::Answer AgentHandler::guardrail_inspect(const GuardrailInspect&, const ProxyInfo&) {
  co_return allow();
}

AgentHandler::Answer AgentHandler::request_complete(const RequestComplete&, const ProxyInfo&) {
  co_return allow();
}

asio::awaitable<Result<>> AgentHandler::configure(const Configure&, const ProxyInfo&) {
  co_return Result<>{};
}

asio::awaitable<Result<>> AgentHandler::config_requested(const ConfigUpdateRequest&, const ProxyInfo&) {
  co_return Result<>{};
}

asio::awaitable<void> AgentHandler::cancelled(const Cancel&, const ProxyInfo&) {
  co_return;
}

asio::awaitable<HealthStatus> AgentHandler::health(const LoadMetrics&) {
  HealthStatus status;
  status.state = HealthState::healthy;
  co_return status;
}

asio::awaitable<void> AgentHandler::drain(Duration) {
  co_return;
}

}  // namespace sharingbus::connector
