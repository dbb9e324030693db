#pragma once

#include "connector/agent/agent_handler.hpp"

namespace sharingbus::cli {

/// The agent of `sharingbus agent`: a request with the header `x-malicious` is blocked with 403, all others get the
/// request header `x-inspected: true`; a body chunk with `attack` in it is blocked with 400; responses get the header
/// `x-agent: sharingbus`. Any thread.
class DemoAgent final : public connector::AgentHandler {
 public:
  [[nodiscard]] bool may_block() const override { return false; }
  Answer request_headers(const transport::agent_messages::RequestHeaders& event,
                         const connector::ProxyInfo& proxy) override;
  Answer request_body_chunk(const transport::agent_messages::RequestBodyChunk& event,
                            const connector::ProxyInfo& proxy) override;
  Answer response_headers(const transport::agent_messages::ResponseHeaders& event,
                          const connector::ProxyInfo& proxy) override;
};

}  // namespace sharingbus::cli
