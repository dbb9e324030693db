// A connector of your own, registered with a gateway of your own, over real gRPC on one machine.
#include <cstdio>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/object.hpp>

#include "bus/async.hpp"
#include "bus/async_timer_service.hpp"
#include "connector/gateway/gateway.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"

namespace asio = boost::asio;
namespace json = boost::json;
using namespace sharingbus;
using namespace sharingbus::connector;

/// Adds up numbers: {"numbers":[1,2,3]} → {"sum":6}. What it throws becomes a failed reply.
class Adder final : public Connector {
 public:
  std::string connector_type() const override { return "adder"; }
  asio::awaitable<Result<json::value>> execute(json::value payload, std::optional<std::string>) override {
    double sum = 0;
    for (const json::value& number : payload.at("numbers").as_array())
      sum += number.to_number<double>();
    co_return json::object{{"sum", sum}};
  }
};

asio::awaitable<void> ask(SharingBus& bus, Gateway& gateway, Subscription registered, ShutdownHandle connectors,
                          bool& answered) {
  // The gateway tells the bus when a connector has registered; whoever wants to know subscribes.
  co_await async_receive(registered, asio::use_awaitable);
  ExecuteCall call;
  call.payload.bytes = R"({"numbers":[1,2,3.5]})";
  const auto [error, reply] =
      co_await gateway.async_execute("acme.adder.one", call, asio::as_tuple(asio::use_awaitable));
  std::printf("%s\n", error ? to_string(error).c_str() : reply.payload.bytes.c_str());
  answered = !error && reply.success;
  std::printf("%d events on the bus\n", static_cast<int>(bus.snapshot().published));
  connectors.shutdown();
}

int main() {
  asio::io_context context;
  AsyncTimerService timers(context.get_executor());
  SharingBus bus;
  auto registered = bus.subscribe(Filter::type<ConnectorRegistered>());

  Gateway gateway(context.get_executor(), bus, timers);
  transport::GrpcListenerOptions listener;
  listener.base = gateway.make_listener_options();
  const auto address = gateway.serve(
      std::make_unique<transport::GrpcListener>(transport::Endpoint{"grpc", "127.0.0.1", 0}, std::move(listener)));
  if (!address) return 1;

  transport::GrpcDialer dialer(*address, {}, timers);
  MultiConnectorRunner runner(context.get_executor(), bus, timers, dialer, {.host = transport::authority(*address)},
                              {{{.tenant = "acme", .type = "adder", .instance = "one"}, std::make_shared<Adder>()}});
  const auto guard = asio::make_work_guard(context);
  runner.run([&](const Error&) { dialer.close([&] { gateway.close(Duration::zero(), [&] { context.stop(); }); }); });
  bool answered = false;
  asio::co_spawn(context, ask(bus, gateway, std::move(registered), runner.shutdown_handle(), answered),
                 [](std::exception_ptr) {});
  context.run();
  return answered ? 0 : 1;
}
