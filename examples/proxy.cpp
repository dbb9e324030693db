// What a proxy embeds: a pool that asks agents about each request, here one agent in the same process, over memory.
// With a UdsDialer or a GrpcDialer from the factory it is any agent anywhere.
#include <cstdio>
#include <memory>
#include <string>
#include <variant>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "bus/async_timer_service.hpp"
#include "connector/agent/agent_pool.hpp"
#include "connector/agent/agent_server.hpp"
#include "transport/memory/memory_network.hpp"

namespace asio = boost::asio;
using namespace sharingbus;
using namespace sharingbus::connector;
using namespace sharingbus::transport::agent_messages;

/// Wants no administrators from outside.
class Gatekeeper final : public AgentHandler {
 public:
  Answer request_headers(const RequestHeaders& event, const ProxyInfo&) override {
    if (event.uri.starts_with("/admin")) co_return block(403, "not from here");
    co_return allow();
  }
};

/// The path of one request through the proxy: true when it may pass.
asio::awaitable<bool> ask(AgentPool& pool, std::string id, std::string uri) {
  RequestHeaders event;
  event.metadata.client_ip = "192.0.2.7";
  event.method = "GET";
  event.uri = std::move(uri);
  constexpr auto token = asio::as_tuple(asio::use_awaitable);
  const auto [error, reply] = co_await pool.send_request_headers("gatekeeper", id, event, token);
  // No answer is no permission.
  const bool pass = !error && std::holds_alternative<Allow>(reply->decision);
  std::printf("%s: %s\n", event.uri.c_str(), error ? to_string(error).c_str() : pass ? "pass" : "blocked");
  co_return pass;
}

asio::awaitable<void> serve(AgentPool& pool, AgentServer& server, bool& as_expected) {
  constexpr auto token = asio::as_tuple(asio::use_awaitable);
  if (const auto [error] = co_await pool.async_add_agent("gatekeeper", "unix:gatekeeper", token); error) co_return;
  const bool shop = co_await ask(pool, "request-1", "/shop");
  const bool admin = co_await ask(pool, "request-2", "/admin/users");
  const bool late = pool.total_errors() != 0;
  as_expected = shop && !admin && !late;
  co_await pool.async_close(token);
  server.close(std::chrono::seconds(1), nullptr);
}

int main() {
  asio::io_context context;
  AsyncTimerService timers(context.get_executor());
  SharingBus bus;
  transport::MemoryNetwork network(context.get_executor());
  AgentServerOptions options;
  options.capabilities.agent_id = options.capabilities.name = "gatekeeper";
  AgentServer server(context.get_executor(), bus, timers, std::make_shared<Gatekeeper>(), options);
  if (!server.serve(network.make_listener("gatekeeper", server.make_listener_options(transport::AgentCarrier::uds)))) {
    return 1;
  }
  AgentPool pool(context.get_executor(), bus, timers,
                 [&](const AgentEndpoint& where) -> Result<std::unique_ptr<transport::Dialer>> {
                   return network.make_dialer(where.endpoint.host);
                 });
  bool as_expected = false;
  asio::co_spawn(context, serve(pool, server, as_expected), [](std::exception_ptr) {});
  context.run();
  return as_expected ? 0 : 1;
}
