// Echoes WebSocket messages, as the Autobahn cases want it: what is text comes back as text.
//   websocket_echo listen            serves on a free port, prints its address, ends with SIGTERM
//   websocket_echo connect HOST:PORT runs all cases of an Autobahn server
#include <csignal>
#include <cstdint>
#include <deque>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "bus/sharing_bus.hpp"
#include "tests/support/context_threads.hpp"
#include "tests/support/text_frames.hpp"
#include "transport/websocket/message_protocol.hpp"
#include "transport/websocket/websocket_dialer.hpp"
#include "transport/websocket/websocket_listener.hpp"

namespace {

using namespace sharingbus;
using test::TextFrame;
using transport::StreamClosed;
using transport::StreamOpened;
using transport::StreamWritable;

constexpr std::uint32_t kCredit = 64;
constexpr transport::StreamLimits kLimits{
    .max_inbound_bytes = 64 * 1024 * 1024, .max_outbound_bytes = 64 * 1024 * 1024, .outbound_capacity = 256};

/// A message is a frame whose first character says whether it is text or binary.
class MarkedChannel final : public transport::MessageChannel {
 public:
  transport::ProtocolStep begin() override {
    transport::ProtocolStep step;
    step.opened = true;
    return step;
  }
  transport::ProtocolStep receive(std::string_view bytes, bool binary) override {
    frame_.assign(1, binary ? 'b' : 't').append(bytes);
    transport::ProtocolStep step;
    step.frame = frame_;
    return step;
  }
  transport::WebSocketMessage encode(std::string frame) override {
    const bool binary = frame.front() == 'b';
    frame.erase(0, 1);
    return {std::move(frame), binary};
  }
  std::optional<transport::WebSocketMessage> heartbeat() override { return std::nullopt; }
  std::optional<transport::WebSocketMessage> farewell() override { return std::nullopt; }

 private:
  std::string frame_;
};

class MarkedProtocol final : public transport::MessageProtocol {
 public:
  explicit MarkedProtocol(std::string target) : target_(std::move(target)) {}

  std::unique_ptr<transport::MessageChannel> make_channel(Role /*role*/) const override {
    return std::make_unique<MarkedChannel>();
  }
  std::string target() const override { return target_; }
  Error check_target(std::string_view /*target*/) const override { return {}; }
  std::size_t max_message_bytes(std::size_t frame_bytes) const override { return frame_bytes; }
  Duration heartbeat_interval(Role /*role*/) const override { return {}; }

 private:
  const std::string target_;
};

/// What is between a stream's messages and their echoes.
struct Stream {
  std::shared_ptr<transport::Link> link;
  std::deque<std::string> waiting;
  /// The first message, without its mark.
  std::string first;

  void echo(std::string frame) {
    if (first.empty()) first = frame.substr(1);
    waiting.push_back(std::move(frame));
    flush();
  }
  void flush() {
    while (!waiting.empty()) {
      if (link->send(waiting.front()) == transport::SendStatus::full) return;
      waiting.pop_front();
      link->grant({.controls = 1});
    }
  }
};

class Echo {
 public:
  explicit Echo(bool answers) : answers_(answers) {}

  [[nodiscard]] SharingBus& bus() { return bus_; }

  /// Until a stream has ended, or the bus; the first message of that stream, and whether there was one.
  std::pair<std::string, bool> run() {
    while (true) {
      const Received received = events_.receive();
      if (received.event() == nullptr) return {"", false};
      const BusEvent& event = **received.event();
      const Uuid uid = event.routing().connector_uid.value();
      if (const auto* opened = event.get_if<StreamOpened>()) {
        if (auto link = opened->link.lock()) open(uid, std::move(link));
      } else if (const auto* frame = event.get_if<TextFrame>()) {
        if (answers_) {
          streams_[uid].echo(frame->text);
        } else {
          streams_[uid].first = frame->text.substr(1);
        }
      } else if (event.is<StreamWritable>()) {
        streams_[uid].flush();
      } else if (event.is<StreamClosed>()) {
        std::string first = std::move(streams_[uid].first);
        streams_.erase(uid);
        return {std::move(first), true};
      }
    }
  }

 private:
  void open(const Uuid& uid, std::shared_ptr<transport::Link> link) {
    link->grant({.requests = 1, .controls = kCredit});
    streams_[uid].link = std::move(link);
  }

  const bool answers_;
  SharingBus bus_;
  Subscription events_{bus_.subscribe(Filter::all(), std::size_t{1} << 16)};
  std::map<Uuid, Stream> streams_;
};

template <class Closable>
void close(Closable& closable) {
  std::promise<void> closed;
  closable.close([&closed] { closed.set_value(); });
  closed.get_future().wait();
}

int listen() {
  // Before there are threads, which inherit it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  test::ContextThreads threads(1);
  Echo echo(true);
  transport::WebSocketListenerOptions options;
  options.protocol = std::make_shared<MarkedProtocol>("/");
  options.base.publisher = echo.bus().publisher();
  options.base.decoder = std::make_shared<test::TextFrameDecoder>();
  options.base.limits = kLimits;
  transport::WebSocketListener listener(threads.executor(), threads.timers(), {"ws", "127.0.0.1", 0}, options);
  const auto bound = listener.listen();
  if (!bound) {
    std::cerr << to_string(bound.error()) << '\n';
    return 1;
  }
  std::cout << "listening " << authority(*bound) << '\n' << std::flush;
  const std::jthread echoing([&echo] {
    while (echo.run().second) {
    }
  });
  int number = 0;
  sigwait(&signals, &number);
  close(listener);
  echo.bus().close();
  return 0;
}

/// One stream to that path, to its end; the first message.
std::string visit(test::ContextThreads& threads, const transport::Endpoint& server, std::string path, bool answers) {
  Echo echo(answers);
  transport::WebSocketDialerOptions options;
  options.protocol = std::make_shared<MarkedProtocol>(std::move(path));
  transport::WebSocketDialer dialer(threads.executor(), threads.timers(), server, options);
  transport::StreamOptions stream;
  stream.publisher = echo.bus().publisher();
  stream.decoder = std::make_shared<test::TextFrameDecoder>();
  stream.limits = kLimits;
  dialer.open(std::move(stream), "");
  std::string first = echo.run().first;
  close(dialer);
  return first;
}

int connect(const std::string& address) {
  const auto server = transport::parse_endpoint("ws://" + address);
  if (!server) {
    std::cerr << to_string(server.error()) << '\n';
    return 2;
  }
  test::ContextThreads threads(1);
  const int cases = std::stoi(visit(threads, *server, "/getCaseCount", false));
  for (int i = 1; i <= cases; ++i)
    visit(threads, *server, "/runCase?agent=SharingBus&case=" + std::to_string(i), true);
  visit(threads, *server, "/updateReports?agent=SharingBus", false);
  std::cout << cases << " cases\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && argv[1] == std::string_view("listen")) return listen();
  if (argc == 3 && argv[1] == std::string_view("connect")) return connect(argv[2]);
  std::cerr << "usage: websocket_echo listen | connect HOST:PORT\n";
  return 2;
}
