// nats-server on loopback, 128-byte messages. Usage: nats URL [S1] [S4]
#include <atomic>
#include <memory>
#include <thread>

#include <nats/nats.h>

#include "bench/peers/common/bench.hpp"

using namespace bench;
const char* const kPeer = "nats-loopback";

struct Msg {
  std::uint64_t seq, ts;
  unsigned char body[112];
};
static_assert(sizeof(Msg) == 128);

struct alignas(128) Sub {
  std::atomic<std::uint64_t> n{0};
  std::uint64_t sum = 0;
  std::vector<std::uint64_t>* lat = nullptr;
  natsConnection* c = nullptr;
  natsSubscription* s = nullptr;
};

void check(natsStatus s, const char* what) {
  if (s != NATS_OK) {
    std::fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(s));
    std::exit(1);
  }
}

void on_msg(natsConnection*, natsSubscription*, natsMsg* m, void* closure) {
  auto* s = static_cast<Sub*>(closure);
  Msg v;
  std::memcpy(&v, natsMsg_GetData(m), sizeof v);
  if (s->lat) s->lat->push_back(now_ns() - v.ts);
  s->sum += v.seq;
  s->n.store(s->n.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  natsMsg_Destroy(m);
}

natsConnection* connect(const char* url, bool asap) {
  natsOptions* o = nullptr;
  natsConnection* c = nullptr;
  check(natsOptions_Create(&o), "options");
  check(natsOptions_SetURL(o, url), "url");
  check(natsOptions_SetSendAsap(o, asap), "asap");
  check(natsConnection_Connect(&c, o), "connect");
  natsOptions_Destroy(o);
  return c;
}

// A connection per subscriber and one for the publisher, as separate processes would have.
template <class Body>
void with(const char* url, int subs, bool asap, std::vector<std::vector<std::uint64_t>>* lat, Body body) {
  auto* pub = connect(url, asap);
  std::unique_ptr<Sub[]> s(new Sub[std::size_t(subs)]);
  for (int i = 0; i < subs; ++i) {
    auto& x = s[std::size_t(i)];
    if (lat) x.lat = &(*lat)[std::size_t(i)];
    x.c = connect(url, false);
    check(natsConnection_Subscribe(&x.s, x.c, "bus", on_msg, &x), "subscribe");
    check(natsSubscription_SetPendingLimits(x.s, -1, -1), "limits");
    check(natsConnection_Flush(x.c), "flush");
  }
  auto acked = [&] {
    std::uint64_t m = ~0ull;
    for (int i = 0; i < subs; ++i)
      m = std::min(m, s[std::size_t(i)].n.load(std::memory_order_acquire));
    return m;
  };
  body(pub, acked);
  for (int i = 0; i < subs; ++i) {
    natsSubscription_Destroy(s[std::size_t(i)].s);
    natsConnection_Destroy(s[std::size_t(i)].c);
  }
  natsConnection_Destroy(pub);
}

Outcome fanout(const char* url, int subs, std::uint64_t window, double seconds) {
  Outcome o{};
  with(url, subs, false, nullptr, [&](natsConnection* pub, auto acked) {
    std::uint64_t sent = 0, seen = 0;
    Msg m{};
    std::memset(m.body, 7, sizeof m.body);
    auto t0 = now_ns();
    auto end = t0 + std::uint64_t(seconds * 1e9);
    for (;;) {
      while (sent - seen >= window) {
        seen = acked();
        if (sent - seen >= window) sched_yield();
      }
      m.seq = sent++;
      check(natsConnection_Publish(pub, "bus", &m, sizeof m), "publish");
      if (sent % 32 == 0 && now_ns() >= end) break;
    }
    while (acked() < sent)
      sched_yield();
    o = {sent, double(now_ns() - t0) * 1e-9};
  });
  return o;
}

std::vector<std::uint64_t> latency(const char* url, int subs) {
  auto n = std::uint64_t(latsecs() * 10'000);
  std::vector<std::vector<std::uint64_t>> lat(std::size_t(subs), std::vector<std::uint64_t>{});
  for (auto& v : lat)
    v.reserve(n);
  with(url, subs, true, &lat, [&](natsConnection* pub, auto acked) {
    Msg m{};
    pace_10k(n, false, [&](std::uint64_t i) {
      m.seq = i;
      m.ts = now_ns();
      check(natsConnection_Publish(pub, "bus", &m, sizeof m), "publish");
    });
    while (acked() < n)
      sched_yield();
  });
  return merge_last(lat);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const char* url = argv[1];
  --argc, ++argv;
  if (want(argc, argv, "S1"))
    for (int s : sizes({1, 4}))
      for (std::uint64_t w : {512u, 65536u})
        rows("S1.subs=" + std::to_string(s), std::string(kPeer) + "(window " + std::to_string(w) + ")", s,
             [&] { return fanout(url, s, w, secs()); });
  if (want(argc, argv, "S4"))
    for (int s : sizes({1, 4}))
      latency_rows("S4.sleep.subs=" + std::to_string(s), kPeer, [&] { return latency(url, s); });
  nats_Close();
}
