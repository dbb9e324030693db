// Boost.Signals2: synchronous dispatch in the publisher's thread.
#include <memory>

#include <boost/signals2.hpp>

#include "bench/peers/common/bench.hpp"

using namespace bench;
namespace sig = boost::signals2;

struct Event {
  std::uint64_t seq, ts, src;
  unsigned char body[40];
};
using Ptr = std::shared_ptr<const Event>;

template <class Signal>
Outcome run(int subs, double seconds) {
  Signal s;
  std::vector<Padded> got(static_cast<std::size_t>(subs));
  for (auto& g : got)
    s.connect([&g](const Ptr& e) { g.v += e->seq; });
  std::uint64_t sent = 0;
  auto t0 = now_ns();
  auto end = t0 + std::uint64_t(seconds * 1e9);
  while (sent % 32 || now_ns() < end) {
    auto e = std::make_shared<Event>();
    e->seq = sent++;
    std::memset(e->body, 7, sizeof e->body);
    s(std::move(e));
  }
  double t = double(now_ns() - t0) * 1e-9;
  for (auto& g : got)
    if (g.v != sent * (sent - 1) / 2) std::abort();
  return {sent, t};
}

int main() {
  using Mutex = sig::signal<void(Ptr)>;
  using NoMutex = sig::signal_type<void(Ptr), sig::keywords::mutex_type<sig::dummy_mutex>>::type;
  for (int s : sizes({1, 4, 16, 64, 256})) {
    auto name = "S1.subs=" + std::to_string(s);
    rows(name, "boost-signals2(sync)", s, [&] { return run<Mutex>(s, secs()); });
    rows(name, "boost-signals2(sync,dummy_mutex)", s, [&] { return run<NoMutex>(s, secs()); });
  }
}
