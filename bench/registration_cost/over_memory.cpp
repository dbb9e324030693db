#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "bench/registration_cost/figures.hpp"
#include "bench/registration_cost/roles.hpp"
#include "bus/async_timer_service.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "transport/codec/connector_frame_decoder.hpp"
#include "transport/codec/connector_protobuf.hpp"
#include "transport/memory/memory_network.hpp"

namespace registration_cost {
namespace {

using namespace sharingbus;
using namespace std::chrono_literals;
namespace messages = transport::messages;

/// A peer that says yes to registrations and answers heartbeats, with as little memory as possible.
class Peer {
 public:
  Peer(SharingBus& bus, transport::MemoryNetwork& network) {
    transport::ListenerOptions options;
    options.publisher = bus.publisher();
    options.decoder = std::make_shared<transport::ConnectorFrameDecoder>();
    options.origin = EventOrigin::gateway;
    subscription_ = bus.subscribe_inline({.name = "peer", .filter = Filter::origin(EventOrigin::gateway)},
                                         [this](const EventRef& event) { receive(*event); });
    listener_ = network.make_listener("peer", std::move(options));
    if (!listener_->listen()) std::abort();
  }
  void close() { listener_->close(nullptr); }
  std::size_t heartbeats = 0;

 private:
  void receive(const BusEvent& event) {
    if (const auto* opened = event.get_if<transport::StreamOpened>()) {
      links_.emplace(*event.routing().connector_uid, opened->link);
      if (const auto link = opened->link.lock()) link->grant({1'000'000, 1'000'000});
      return;
    }
    const auto found = links_.find(event.routing().connector_uid.value_or(Uuid{}));
    const auto link = found == links_.end() ? nullptr : found->second.lock();
    if (!link) return;
    if (event.is<messages::RegisterRequest>()) {
      messages::RegisterResponse yes;
      yes.success = true;
      link->send(transport::encode_connector_message(yes));
    } else if (event.is<messages::HeartbeatRequest>()) {
      ++heartbeats;
      link->send(transport::encode_connector_message(messages::HeartbeatResponse{}));
    }
  }

  Subscription subscription_;
  std::unordered_map<Uuid, std::weak_ptr<transport::Link>> links_;
  std::unique_ptr<transport::Listener> listener_;
};

struct World {
  boost::asio::io_context io;
  AsyncTimerService timers{io.get_executor()};
  SharingBus bus{BusOptions{.log = nullptr}};
  transport::MemoryNetwork network{io.get_executor()};
  Peer peer{bus, network};
  std::unique_ptr<transport::Dialer> dialer = network.make_dialer("peer");

  void settle() {
    io.restart();
    while (io.poll() != 0 || bus.poll() != 0) {
    }
  }
};

double bare_streams(std::size_t count) {
  World world;
  std::vector<std::shared_ptr<transport::Link>> links;
  links.reserve(count);
  const auto decoder = std::make_shared<transport::ConnectorFrameDecoder>();
  world.settle();
  const std::size_t before = heap_bytes();
  for (std::size_t i = 0; i < count; ++i) {
    transport::StreamOptions options;
    options.publisher = world.bus.publisher();
    options.decoder = decoder;
    options.initial_credit = {100, 100};
    links.push_back(world.dialer->open(std::move(options), {}));
  }
  world.settle();
  const std::size_t after = heap_bytes();
  world.dialer->close(nullptr);
  world.peer.close();
  world.settle();
  return static_cast<double>(after - before) / static_cast<double>(count);
}

void register_all(std::size_t count, double bare, std::chrono::seconds watch) {
  World world;
  connector::RunnerOptions options;
  options.log = nullptr;
  const auto connector = connector::make_connector(
      "echo",
      [](boost::json::value payload, std::optional<std::string>) -> boost::asio::awaitable<Result<boost::json::value>> {
        co_return payload;
      });
  world.settle();
  const std::size_t before = heap_bytes();
  const auto began = std::chrono::steady_clock::now();
  std::vector<connector::Registration> all;
  for (std::size_t i = 0; i < count; ++i)
    all.push_back({{.tenant = "acme", .type = "echo", .instance = std::to_string(i)}, connector});
  connector::MultiConnectorRunner runner(world.io.get_executor(), world.bus, world.timers, *world.dialer, options,
                                         std::move(all));
  all.shrink_to_fit();
  bool ended = false;
  runner.run([&](const Error&) { ended = true; });
  world.settle();
  const auto took = std::chrono::steady_clock::now() - began;
  const double each = static_cast<double>(heap_bytes() - before) / static_cast<double>(count);
  std::printf("memory transport, both ends in one process\n");
  std::printf("bare stream, both ends        %8.0f bytes\n", bare);
  std::printf("idle registration above that  %8.0f bytes\n", each - bare);
  std::printf("all registered in             %8.3f s\n", std::chrono::duration<double>(took).count());
  const double cpu = cpu_seconds();
  // Until each has sent one heartbeat, both ends and the timers included.
  world.io.restart();
  world.io.run_for(watch);
  std::printf("CPU for heartbeats every 30 s %8.2f %% of a core, both ends (%zu heartbeats in %lld s)\n",
              100 * (cpu_seconds() - cpu) / static_cast<double>(watch.count()), world.peer.heartbeats,
              static_cast<long long>(watch.count()));
  runner.shutdown_handle().shutdown();
  world.settle();
  world.peer.close();
  world.dialer->close(nullptr);
  world.settle();
  if (!ended) std::abort();
}

}  // namespace

void over_memory(std::size_t count, long watch_seconds) {
  register_all(count, bare_streams(count), std::chrono::seconds(watch_seconds));
}

}  // namespace registration_cost
