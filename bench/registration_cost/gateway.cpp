#include "connector/gateway/gateway.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/registration_cost/child.hpp"
#include "bench/registration_cost/roles.hpp"
#include "bench/threads.hpp"
#include "bus/async_timer_service.hpp"
#include "transport/grpc/grpc_listener.hpp"
#include "transport/websocket/phoenix_protocol.hpp"
#include "transport/websocket/websocket_listener.hpp"

namespace registration_cost {
namespace {

using namespace sharingbus;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Requests a second that the others are asked.
constexpr int kRate = 500;

/// How the others are served meanwhile: requests at a fixed rate, each timed from when it was due, so that one that
/// waits does not hide those behind it.
class Asker {
 public:
  Asker(connector::Gateway& gateway, std::vector<std::string> addresses)
      : gateway_(gateway), addresses_(std::move(addresses)), thread_([this] { run(); }) {}
  ~Asker() {
    stop_ = true;
    thread_.join();
    while (under_way_ != 0)
      std::this_thread::sleep_for(milliseconds(1));
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;

  /// Of the latencies since the last call.
  double p99_us() {
    std::vector<double> taken;
    {
      const std::scoped_lock lock(mutex_);
      taken.swap(latencies_us_);
    }
    if (taken.empty()) fail("no answers");
    const auto at = taken.begin() + static_cast<std::ptrdiff_t>(0.99 * static_cast<double>(taken.size() - 1));
    std::nth_element(taken.begin(), at, taken.end());
    return *at;
  }

 private:
  void run() {
    auto due = Clock::now();
    for (std::size_t i = 0; !stop_; ++i) {
      due += std::chrono::microseconds(1'000'000 / kRate);
      std::this_thread::sleep_until(due);
      ++under_way_;
      connector::ExecuteCall call;
      call.payload.bytes = "1";
      gateway_.execute(addresses_[i % addresses_.size()], std::move(call),
                       [this, due](const Error& error, const connector::ExecuteReply&) {
                         if (error) fail("another connector failed: " + to_string(error));
                         const double took = std::chrono::duration<double, std::micro>(Clock::now() - due).count();
                         {
                           const std::scoped_lock lock(mutex_);
                           latencies_us_.push_back(took);
                         }
                         --under_way_;
                       });
    }
  }

  connector::Gateway& gateway_;
  const std::vector<std::string> addresses_;
  std::mutex mutex_;
  std::vector<double> latencies_us_;
  std::atomic<bool> stop_{false};
  std::atomic<std::size_t> under_way_{0};
  std::thread thread_;
};

/// The streams that one listener has accepted.
class Streams {
 public:
  Streams(SharingBus& bus, std::uint64_t listener) {
    SubscriptionOptions options;
    options.filter = Filter::type<transport::StreamOpened>();
    subscription_ = bus.subscribe_inline(std::move(options), [this, listener](const EventRef& event) {
      const auto& opened = *event->get_if<transport::StreamOpened>();
      if (opened.listener != listener) return;
      const std::scoped_lock lock(mutex_);
      links_.push_back(opened.link);
    });
  }
  void cancel_all() {
    std::vector<std::weak_ptr<transport::Link>> links;
    {
      const std::scoped_lock lock(mutex_);
      links.swap(links_);
    }
    for (const auto& each : links) {
      if (const auto link = each.lock()) link->cancel(Error(errc::stream_failed, "dropped"));
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<transport::Link>> links_;
  Subscription subscription_;
};

std::unique_ptr<transport::Listener> make_listener(const std::string& transport, bench::Threads& threads,
                                                   TimerService& timers, transport::ListenerOptions base) {
  if (transport == "grpc") {
    transport::GrpcListenerOptions options;
    options.base = std::move(base);
    return std::make_unique<transport::GrpcListener>(transport::Endpoint{"grpc", "127.0.0.1", 0}, std::move(options));
  }
  transport::WebSocketListenerOptions options;
  options.base = std::move(base);
  options.protocol = transport::make_phoenix_protocol();
  return std::make_unique<transport::WebSocketListener>(threads.executor(), timers,
                                                        transport::Endpoint{"ws", "127.0.0.1", 0}, std::move(options));
}

void storm(connector::Gateway& gateway, Streams& many, milliseconds before) {
  std::vector<std::string> others;
  for (const auto& info : gateway.sessions()) {
    if (info.address.compare(0, 7, "others.") == 0) others.push_back(info.address);
  }
  const std::size_t all = gateway.session_count();
  std::optional<Asker> asker(std::in_place, gateway, others);
  std::this_thread::sleep_for(milliseconds(500));
  static_cast<void>(asker->p99_us());
  std::this_thread::sleep_for(before);
  say("before", asker->p99_us());
  const auto dropped = Clock::now();
  many.cancel_all();
  while (gateway.session_count() == all)
    std::this_thread::sleep_for(milliseconds(1));
  while (gateway.session_count() < all)
    std::this_thread::sleep_for(milliseconds(20));
  say("back", std::chrono::duration<double>(Clock::now() - dropped).count());
  const double meanwhile = asker->p99_us();
  // The others go when this is said.
  asker.reset();
  say("meanwhile", meanwhile);
}

}  // namespace

int gateway(const Arguments& arguments) {
  bench::Threads threads;
  SharingBus bus(BusOptions{.log = nullptr});
  AsyncTimerService timers(threads.executor());
  connector::GatewayOptions options;
  options.log = nullptr;
  // Bare streams never register.
  options.register_timeout = std::chrono::minutes(10);
  connector::Gateway gateway(threads.executor(), bus, timers, std::move(options));
  std::unique_ptr<Streams> many;
  for (const char* whom : {"many", "others"}) {
    auto base = gateway.make_listener_options();
    if (!many) many = std::make_unique<Streams>(bus, base.id);
    const auto bound = gateway.serve(make_listener(arguments.at(1), threads, timers, std::move(base)));
    if (!bound) fail(to_string(bound.error()));
    std::printf("%s %s\n", whom, transport::to_string(*bound).c_str());
  }
  std::fflush(stdout);
  for (std::string line = heard(); !line.empty(); line = heard()) {
    if (line.compare(0, 6, "storm ") == 0) storm(gateway, *many, std::chrono::seconds(std::stol(line.substr(6))));
  }
  std::promise<void> closed;
  gateway.close(Duration::zero(), [&] { closed.set_value(); });
  closed.get_future().wait();
  return 0;
}

}  // namespace registration_cost
