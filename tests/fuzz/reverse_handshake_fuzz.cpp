// The handshake of reverse connections, with any frames in any order: agents that dial in to our listener, and a proxy
// that our agent dials. Who has not shown the token is never let in, and every stream ends.
//
// The first byte says whose side is ours. Then frames: two bytes of length, and the bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "bus/async.hpp"
#include "connector/agent/agent_pool.hpp"
#include "connector/agent/agent_server.hpp"
#include "connector/agent/reverse_listener.hpp"
#include "tests/support/manual_clock.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/codec/agent_frame_decoder.hpp"
#include "transport/memory/memory_network.hpp"

namespace {

using namespace sharingbus;             // NOLINT(google-build-using-namespace): a program
using namespace sharingbus::connector;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;

constexpr std::string_view kToken = "open sesame";

void require(bool holds) {
  if (!holds) std::abort();
}

std::vector<std::string> frames_of(std::string_view data) {
  std::vector<std::string> frames;
  while (data.size() > 2 && frames.size() < 16) {
    const std::size_t size =
        std::size_t{static_cast<unsigned char>(data[0])} << 8 | static_cast<unsigned char>(data[1]);
    data.remove_prefix(2);
    frames.emplace_back(data.substr(0, size));
    data.remove_prefix(std::min(size, data.size()));
  }
  return frames;
}

/// The one who sends what the input says.
struct Peer {
  explicit Peer(SharingBus& bus, transport::AgentRole role) : bus_(bus), role_(role) {}

  [[nodiscard]] transport::StreamOptions dialing(const Uuid& uid) const {
    transport::StreamOptions options;
    options.publisher = bus_.publisher();
    options.decoder = decoder();
    options.id = bus_.new_source();
    options.origin = EventOrigin::service;
    options.routing.connector_uid = uid;
    options.initial_credit = {.requests = 100, .controls = 100};
    return options;
  }
  [[nodiscard]] transport::ListenerOptions listening() const {
    transport::ListenerOptions options;
    options.publisher = bus_.publisher();
    options.decoder = decoder();
    options.new_source = [&bus = bus_] { return bus.new_source(); };
    options.id = bus_.new_source();
    options.origin = EventOrigin::service;
    return options;
  }

 private:
  [[nodiscard]] std::shared_ptr<const transport::FrameDecoder> decoder() const {
    return std::make_shared<transport::AgentFrameDecoder>(role_, transport::AgentCarrier::uds);
  }

  SharingBus& bus_;
  const transport::AgentRole role_;
};

struct World {
  void run() {
    std::size_t ran = 0;
    do {
      io.restart();
      ran = io.poll() + bus.poll();
    } while (ran != 0);
  }
  void advance(Duration by) {
    time.advance(by);
    run();
  }

  boost::asio::io_context io;
  test::ManualTimerService time;
  SharingBus bus;
  transport::MemoryNetwork network{io.get_executor()};
};

/// A guest of our listener.
void guest(const std::vector<std::string>& frames, bool knows_the_token) {
  World world;
  AgentPoolOptions pool_options;
  pool_options.drain_timeout = 1s;
  AgentPool pool(
      world.io.get_executor(), world.bus, world.time,
      [](const AgentEndpoint&) -> Result<std::unique_ptr<transport::Dialer>> {
        return Error(errc::invalid_argument, "nobody is dialled");
      },
      pool_options);
  ReverseListenerOptions options;
  options.allowed_agents = {"waf"};
  options.tokens = {{std::string(kToken), "waf"}};
  ReverseListener listener(world.io.get_executor(), world.bus, world.time, pool, options);
  require(listener.serve(world.network.make_listener("proxy", listener.make_listener_options())).has_value());
  const auto dialer = world.network.make_dialer("proxy");
  const Uuid uid = random_uuid();
  std::optional<Error> closed;
  const Subscription seen = world.bus.subscribe_inline({.name = "guest", .filter = Filter::connector_uid(uid)},
                                                       [&closed](const EventRef& event) {
                                                         if (const auto* end = event->get_if<transport::StreamClosed>())
                                                           closed = end->error;
                                                       });
  const auto link = dialer->open(Peer(world.bus, transport::AgentRole::agent).dialing(uid), frames.front());
  world.run();
  for (std::size_t i = 1; i < frames.size(); ++i) {
    link->send(frames[i]);
    world.run();
  }
  require(knows_the_token || pool.agent_ids().empty());
  require(pool.agent_ids().size() <= 1);
  world.advance(11s);
  link->cancel(Error(errc::cancelled, "over"));
  listener.close(nullptr);
  pool.async_close([](const Error&) {});
  for (int i = 0; i < 4; ++i)
    world.advance(2s);
  require(closed.has_value());
  dialer->close(nullptr);
  world.run();
  require(world.time.pending() == 0);
}

/// A proxy that our agent registers with.
void proxy(const std::vector<std::string>& frames) {
  World world;
  AgentServerOptions options;
  options.log = nullptr;
  AgentServer server(world.io.get_executor(), world.bus, world.time, std::make_shared<AgentHandler>(), options);
  auto listening = Peer(world.bus, transport::AgentRole::proxy).listening();
  const std::uint64_t id = listening.id;
  std::size_t opened = 0;
  std::size_t closed = 0;
  const Subscription seen = world.bus.subscribe_inline(
      {.name = "proxy", .filter = Filter::origin(EventOrigin::service)}, [&](const EventRef& event) {
        if (event->is<transport::StreamClosed>()) ++closed;
        const auto* up = event->get_if<transport::StreamOpened>();
        if (up == nullptr || up->listener != id) return;
        ++opened;
        const auto link = up->link.lock();
        if (!link) return;
        link->grant({.requests = 100, .controls = 100});
        for (const std::string& frame : frames)
          link->send(frame);
      });
  const auto listener = world.network.make_listener("proxy", std::move(listening));
  require(listener->listen().has_value());
  ReverseOptions reverse;
  reverse.auth_token = std::string(kToken);
  reverse.connections = 1;
  require(server.register_with(world.network.make_dialer("proxy"), reverse).has_value());
  world.run();
  world.advance(40s);
  server.close(1s, nullptr);
  for (int i = 0; i < 4; ++i)
    world.advance(2s);
  listener->close(nullptr);
  world.run();
  require(opened == closed && opened != 0);
  require(world.time.pending() == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto frames = frames_of(input.substr(1));
  if (frames.empty()) return 0;
  if (input.front() % 2 == 0) {
    guest(frames, input.find(kToken) != std::string_view::npos || input.find('\\') != std::string_view::npos);
  } else {
    proxy(frames);
  }
  return 0;
}
