// An agent of your own: a small firewall that proxies ask about every request, on a Unix socket or gRPC. Here a reader
// of the bus plays the proxy, over memory.
#include <cstdio>
#include <memory>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "bus/async.hpp"
#include "bus/async_timer_service.hpp"
#include "connector/agent/agent_server.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/memory/memory_network.hpp"

namespace asio = boost::asio;
using namespace sharingbus;
using namespace sharingbus::connector;
using namespace sharingbus::transport::agent_messages;

/// Blocks what looks like SQL injection. What it throws blocks, too: the server fails closed.
class Firewall final : public AgentHandler {
 public:
  Answer request_headers(const RequestHeaders& event, const ProxyInfo&) override {
    if (event.uri.find("union+select") == std::string::npos) co_return allow();
    Response response = block(403, "not today");
    response.audit.rule_ids = {"942100"};
    co_return response;
  }
};

asio::awaitable<void> play_proxy(SharingBus& bus, transport::Dialer& dialer, AgentServer& server, int& blocked) {
  transport::StreamOptions options;
  options.publisher = bus.publisher();
  options.decoder =
      std::make_shared<transport::AgentFrameDecoder>(transport::AgentRole::proxy, transport::AgentCarrier::uds);
  options.routing.connector_uid = random_uuid();
  options.initial_credit = {100, 100};
  Subscription inbox = bus.subscribe(Filter::connector_uid(*options.routing.connector_uid));
  const auto encode = [](const auto& message) {
    return transport::encode_agent_message(message, transport::AgentWire::json).value();
  };
  HandshakeRequest hello;
  hello.supported_versions = {2};
  hello.proxy_id = "example";
  const auto link = dialer.open(std::move(options), encode(hello));
  for (const char* uri : {"/shop?item=1", "/shop?item=1+union+select+*"}) {
    RequestHeaders event;
    event.metadata.correlation_id = uri;
    event.uri = uri;
    while (true) {
      const Received received = co_await async_receive(inbox, asio::use_awaitable);
      if (received.get_if<HandshakeResponse>() != nullptr || received.get_if<AgentResponse>() != nullptr) break;
    }
    link->send(encode(event));
  }
  while (true) {
    const Received received = co_await async_receive(inbox, asio::use_awaitable);
    const auto* response = received.get_if<AgentResponse>();
    if (response == nullptr) continue;
    const bool block = std::holds_alternative<Block>(response->decision);
    std::printf("%s: %s\n", response->correlation_id.c_str(), block ? "blocked" : "allowed");
    blocked = block ? 1 : 0;
    break;
  }
  link->finish();
  server.close(std::chrono::seconds(1), nullptr);
}

int main() {
  asio::io_context context;
  AsyncTimerService timers(context.get_executor());
  SharingBus bus;
  transport::MemoryNetwork network(context.get_executor());
  AgentServerOptions options;
  options.capabilities.agent_id = options.capabilities.name = "waf";
  AgentServer server(context.get_executor(), bus, timers, std::make_shared<Firewall>(), options);
  // Over a Unix socket it is a transport::UdsListener with LengthPrefixFraming.
  auto listener = network.make_listener("waf", server.make_listener_options(transport::AgentCarrier::uds));
  if (!server.serve(std::move(listener))) return 1;
  const auto dialer = network.make_dialer("waf");
  int blocked = 0;
  asio::co_spawn(context, play_proxy(bus, *dialer, server, blocked), [](std::exception_ptr) {});
  context.run();
  return blocked == 1 ? 0 : 1;
}
