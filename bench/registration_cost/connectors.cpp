// The measured side: registrations, or the streams alone.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "bench/registration_cost/child.hpp"
#include "bench/registration_cost/figures.hpp"
#include "bench/registration_cost/roles.hpp"
#include "bench/threads.hpp"
#include "bus/async_timer_service.hpp"
#include "connector/registration/events.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "connector/registration/multiplexed_dialer.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/websocket/phoenix_protocol.hpp"
#include "transport/websocket/websocket_dialer.hpp"

namespace registration_cost {
namespace {

using namespace sharingbus;
using Seconds = std::chrono::duration<double>;

/// Registrations on one socket: 10 000 take 20.
constexpr std::size_t kOnOneSocket = 512;

std::unique_ptr<transport::Dialer> make_dialer(const std::string& transport, const transport::Endpoint& to,
                                               bench::Threads& threads, TimerService& timers) {
  if (transport == "grpc") return std::make_unique<transport::GrpcDialer>(to, transport::GrpcDialerOptions{}, timers);
  transport::WebSocketDialerOptions options;
  options.protocol = transport::make_phoenix_protocol();
  return std::make_unique<transport::WebSocketDialer>(threads.executor(), timers, to, std::move(options));
}

transport::Endpoint endpoint_of(const std::string& text) {
  const auto endpoint = transport::parse_endpoint(text);
  if (!endpoint) fail(to_string(endpoint.error()));
  return *endpoint;
}

/// Counts events of one type, and says when there were enough. Any thread.
template <class Event>
class Count {
 public:
  Count(SharingBus& bus, std::size_t enough) : enough_(enough) {
    SubscriptionOptions options;
    options.filter = Filter::type<Event>() && Filter::origin(origin_of());
    subscription_ = bus.subscribe_inline(std::move(options), [this](const EventRef&) {
      if (++seen_ == enough_) all_.set_value();
    });
  }
  void wait() { all_.get_future().wait(); }
  [[nodiscard]] std::size_t seen() const { return seen_; }

 private:
  static constexpr EventOrigin origin_of() {
    return std::is_same_v<Event, connector::Registered> ? EventOrigin::connector : EventOrigin::transport;
  }
  const std::size_t enough_;
  std::atomic<std::size_t> seen_{0};
  std::promise<void> all_;
  Subscription subscription_;
};

template <class Closed>
void close_and_wait(Closed& what) {
  std::promise<void> closed;
  what.close([&] { closed.set_value(); });
  closed.get_future().wait();
}

void say_memory(std::size_t heap_before, std::size_t resident_before, std::size_t count) {
  // What was freed on the way, such as handshakes, is not counted.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const auto each = [count](std::size_t now, std::size_t before) {
    return (static_cast<double>(now) - static_cast<double>(before)) / static_cast<double>(count);
  };
  say("heap", each(heap_bytes(), heap_before));
  say("resident", each(resident_bytes(), resident_before));
}

}  // namespace

int registrations(const Arguments& arguments) {
  const std::string& transport = arguments.at(1);
  const transport::Endpoint to = endpoint_of(arguments.at(2));
  const std::size_t count = std::strtoul(arguments.at(3).c_str(), nullptr, 10);
  const long watch = std::strtol(arguments.at(4).c_str(), nullptr, 10);
  connector::RunnerOptions options;
  options.log = nullptr;
  options.host = transport::to_string(to);
  options.reconnect_delay = std::chrono::milliseconds(std::strtol(arguments.at(5).c_str(), nullptr, 10));

  bench::Threads threads;
  SharingBus bus(BusOptions{.log = nullptr});
  AsyncTimerService timers(threads.executor());
  const auto dialer = make_dialer(transport, to, threads, timers);
  std::unique_ptr<connector::MultiplexedDialer> shared;
  if (transport == "websocket") {
    shared = std::make_unique<connector::MultiplexedDialer>(threads.executor(), bus, timers, *dialer, kOnOneSocket);
  }
  Count<connector::Registered> registered(bus, count);
  const auto connector = connector::make_connector(
      "echo",
      [](boost::json::value payload, std::optional<std::string>) -> boost::asio::awaitable<Result<boost::json::value>> {
        co_return payload;
      });
  const std::size_t heap = heap_bytes();
  const std::size_t resident = resident_bytes();
  const auto began = std::chrono::steady_clock::now();
  std::vector<connector::Registration> all;
  for (std::size_t i = 0; i < count; ++i)
    all.push_back(
        {{.tenant = arguments.at(0) == "others" ? "others" : "many", .type = "echo", .instance = std::to_string(i)},
         connector});
  connector::MultiConnectorRunner runner(threads.executor(), bus, timers,
                                         shared ? static_cast<transport::Dialer&>(*shared) : *dialer, options,
                                         std::move(all));
  std::vector<connector::Registration>().swap(all);
  std::promise<void> ended;
  runner.run([&](const Error&) { ended.set_value(); });
  registered.wait();
  say("registered", Seconds(std::chrono::steady_clock::now() - began).count());
  say("channels", static_cast<double>(dialer->stats().channels));
  say_memory(heap, resident, count);
  if (watch > 0) {
    const double cpu = cpu_seconds();
    std::this_thread::sleep_for(std::chrono::seconds(watch));
    say("cpu", 100 * (cpu_seconds() - cpu) / static_cast<double>(watch));
  }
  while (!heard().empty()) {
  }
  runner.shutdown_handle().shutdown();
  ended.get_future().wait();
  if (shared) close_and_wait(*shared);
  close_and_wait(*dialer);
  return 0;
}

int links(const Arguments& arguments) {
  const transport::Endpoint to = endpoint_of(arguments.at(2));
  const std::size_t count = std::strtoul(arguments.at(3).c_str(), nullptr, 10);
  bench::Threads threads;
  SharingBus bus(BusOptions{.log = nullptr});
  AsyncTimerService timers(threads.executor());
  const auto dialer = make_dialer(arguments.at(1), to, threads, timers);
  Count<transport::StreamOpened> opened(bus, count);
  const auto decoder = std::make_shared<transport::ConnectorFrameDecoder>();
  std::vector<std::shared_ptr<transport::Link>> all;
  all.reserve(count);
  const std::size_t heap = heap_bytes();
  const std::size_t resident = resident_bytes();
  for (std::size_t i = 0; i < count; ++i) {
    transport::StreamOptions options;
    options.publisher = bus.publisher();
    options.decoder = decoder;
    options.initial_credit = {100, 100};
    options.connect_timeout = std::chrono::minutes(1);
    all.push_back(dialer->open(std::move(options), {}));
  }
  opened.wait();
  say_memory(heap, resident, count);
  close_and_wait(*dialer);
  return 0;
}

}  // namespace registration_cost
