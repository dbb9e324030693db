// ZeroMQ inproc PUB/SUB, 64-byte messages, one thread per subscriber.
#include <atomic>
#include <memory>
#include <thread>

#include <zmq.hpp>

#include "bench/peers/common/bench.hpp"

using namespace bench;
constexpr std::uint64_t kWindow = 512, kHello = ~0ull, kBye = ~0ull - 1;
const char* const kPeer = "zeromq-inproc";

struct Msg {
  std::uint64_t seq, ts, src;
  unsigned char body[40];
};
static_assert(sizeof(Msg) == 64);
struct alignas(128) Ack {
  std::atomic<std::uint64_t> v{0};
};

void send(zmq::socket_t& s, std::uint64_t seq, bool stamp) {
  zmq::message_t m(sizeof(Msg));
  auto* p = static_cast<Msg*>(m.data());
  p->seq = seq;
  p->src = 0;
  std::memset(p->body, 7, sizeof p->body);
  p->ts = stamp ? now_ns() : 0;
  s.send(m, zmq::send_flags::none);
}

// Starts the subscribers, waits until every one of them hears the publisher, runs body(pub, acks).
template <class Body>
void with(int subs, int cpu, std::vector<std::vector<std::uint64_t>>* lat, std::vector<std::uint64_t>* sums,
          Body body) {
  zmq::context_t ctx(1);
  zmq::socket_t pub(ctx, zmq::socket_type::pub);
  pub.set(zmq::sockopt::sndhwm, 0);
  pub.bind("inproc://bus");
  std::unique_ptr<Ack[]> acks(new Ack[std::size_t(subs)]);
  std::unique_ptr<Ack[]> ready(new Ack[std::size_t(subs)]);
  std::vector<std::thread> ts;
  for (int i = 0; i < subs; ++i)
    ts.emplace_back([&, i] {
      if (cpu >= 0) pin(cpu);
      zmq::socket_t sub(ctx, zmq::socket_type::sub);
      sub.set(zmq::sockopt::rcvhwm, 0);
      sub.set(zmq::sockopt::subscribe, "");
      sub.connect("inproc://bus");
      std::uint64_t n = 0, sum = 0;
      zmq::message_t m;
      for (;;) {
        (void)sub.recv(m, zmq::recv_flags::none);
        auto* p = static_cast<const Msg*>(m.data());
        if (p->seq == kHello) {
          ready[std::size_t(i)].v.store(1);
          continue;
        }
        if (p->seq == kBye) break;
        if (lat) (*lat)[std::size_t(i)].push_back(now_ns() - p->ts);
        sum += p->seq;
        acks[std::size_t(i)].v.store(++n, std::memory_order_release);
      }
      if (sums) (*sums)[std::size_t(i)] = sum;
    });
  for (int i = 0; i < subs; ++i)
    while (!ready[std::size_t(i)].v.load()) {
      send(pub, kHello, false);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  auto acked = [&] {
    std::uint64_t m = ~0ull;
    for (int i = 0; i < subs; ++i)
      m = std::min(m, acks[std::size_t(i)].v.load(std::memory_order_acquire));
    return m;
  };
  body(pub, acked);
  send(pub, kBye, false);
  for (auto& t : ts)
    t.join();
}

Outcome fanout(int subs, double seconds) {
  Outcome o{};
  std::vector<std::uint64_t> sums(std::size_t(subs), 0);
  with(subs, -1, nullptr, &sums, [&](zmq::socket_t& pub, auto acked) {
    std::uint64_t sent = 0, seen = 0;
    auto t0 = now_ns();
    auto end = t0 + std::uint64_t(seconds * 1e9);
    for (;;) {
      while (sent - seen >= kWindow) {
        seen = acked();
        if (sent - seen >= kWindow) sched_yield();
      }
      send(pub, sent++, false);
      if (sent % 32 == 0 && now_ns() >= end) break;
    }
    while (acked() < sent)
      sched_yield();
    o = {sent, double(now_ns() - t0) * 1e-9};
  });
  for (auto s : sums)
    if (s != o.events * (o.events - 1) / 2) std::abort();
  return o;
}

std::vector<std::uint64_t> latency(int subs, bool pinned) {
  auto n = std::uint64_t(latsecs() * 10'000);
  std::vector<std::vector<std::uint64_t>> lat(std::size_t(subs), std::vector<std::uint64_t>{});
  for (auto& v : lat)
    v.reserve(n);
  with(subs, pinned ? 1 : -1, &lat, nullptr, [&](zmq::socket_t& pub, auto acked) {
    cpu_set_t old;
    pthread_getaffinity_np(pthread_self(), sizeof old, &old);
    if (pinned) pin(0);
    pace_10k(n, pinned, [&](std::uint64_t i) { send(pub, i, true); });
    while (acked() < n)
      sched_yield();
    pthread_setaffinity_np(pthread_self(), sizeof old, &old);
  });
  return merge_last(lat);
}

int main(int argc, char** argv) {
  if (want(argc, argv, "S1"))
    for (int s : sizes({1, 4, 16}))
      rows("S1.subs=" + std::to_string(s), kPeer, s, [&] { return fanout(s, secs()); });
  if (want(argc, argv, "S4"))
    for (bool pinned : {true, false})
      for (int s : sizes({1, 16}))
        latency_rows(std::string("S4.") + (pinned ? "pinned" : "sleep") + ".subs=" + std::to_string(s), kPeer,
                     [&] { return latency(s, pinned); });
}
