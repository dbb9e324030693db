#include "cli/demo_agent.hpp"

#include <algorithm>
#include <string>
#include <string_view>

namespace sharingbus::cli {

using namespace transport::agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary
using connector::block;
using connector::ProxyInfo;

namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// `name` is in lower case.
bool has(const Headers& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(), [name](const Header& header) {
    return std::equal(header.name.begin(), header.name.end(), name.begin(), name.end(),
                      [](char a, char b) { return lower(a) == b; });
  });
}

}  // namespace

connector::AgentHandler::Answer DemoAgent::request_headers(const RequestHeaders& event, const ProxyInfo&) {
  if (has(event.headers, "x-malicious")) co_return block(403, "blocked by the demo agent");
  Response response;
  response.request_headers.push_back({HeaderOp::Action::set, "x-inspected", "true"});
  co_return response;
}

connector::AgentHandler::Answer DemoAgent::request_body_chunk(const RequestBodyChunk& event, const ProxyInfo&) {
  if (event.data.find("attack") != std::string::npos) co_return block(400, "blocked by the demo agent");
  Response response;
  response.needs_more = !event.is_last;
  co_return response;
}

connector::AgentHandler::Answer DemoAgent::response_headers(const ResponseHeaders&, const ProxyInfo&) {
  Response response;
  response.response_headers.push_back({HeaderOp::Action::set, "x-agent", "sharingbus"});
  co_return response;
}

}  // namespace sharingbus::cli
