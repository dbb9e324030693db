// What the machine itself costs: reference counts, a cache line going between two cores, and the
// raw hop through two well-known queues.
#include <atomic>
#include <linux/futex.h>
#include <memory>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include <concurrentqueue/concurrentqueue.h>
#include <readerwriterqueue/readerwriterqueue.h>

#include "bench/peers/common/bench.hpp"

using namespace bench;

struct Event {
  std::uint64_t seq, ts, src;
  unsigned char body[40];
};
struct Counted {
  std::atomic<std::uint32_t> refs{1};
  std::uint64_t seq = 0;
};
using Ptr = std::shared_ptr<Event>;

template <class T>
inline void keep(T const& v) {
  asm volatile("" : : "r,m"(v) : "memory");
}

template <class F>
void micro(const char* metric, std::uint64_t n, F f) {
  std::vector<double> v;
  for (int i = 0; i < reps(); ++i) {
    auto a = now_ns();
    f(n);
    v.push_back(double(now_ns() - a) / double(n));
  }
  report("FLOOR", "floor", metric, v);
}

constexpr std::uint64_t kWindow = 512;

// One producing thread, one consuming thread, at most 512 events not yet consumed. The events are
// allocated by the producer and freed by the consumer.
template <class Push, class Pop>
Outcome hop(double seconds, Push push, Pop pop, bool pinned) {
  alignas(128) std::atomic<std::uint64_t> acked{0};
  alignas(128) std::atomic<bool> stop{false};
  std::uint64_t sum = 0, got = 0;
  std::thread consumer([&] {
    if (pinned) pin(1);
    for (;;) {
      std::uint64_t k = pop(sum);
      if (k) {
        got += k;
        acked.store(got, std::memory_order_release);
      } else if (stop.load(std::memory_order_acquire)) {
        break;
      } else {
        relax();
      }
    }
  });
  cpu_set_t old;
  pthread_getaffinity_np(pthread_self(), sizeof old, &old);
  if (pinned) pin(0);
  std::uint64_t sent = 0, seen = 0;
  auto t0 = now_ns();
  auto end = t0 + std::uint64_t(seconds * 1e9);
  for (;;) {
    while (sent - seen >= kWindow) {
      seen = acked.load(std::memory_order_acquire);
      if (sent - seen >= kWindow) relax();
    }
    push(sent++);
    if (sent % 32 == 0 && now_ns() >= end) break;
  }
  while (acked.load(std::memory_order_acquire) < sent)
    relax();
  double t = double(now_ns() - t0) * 1e-9;
  stop.store(true, std::memory_order_release);
  consumer.join();
  pthread_setaffinity_np(pthread_self(), sizeof old, &old);
  if (got != sent || sum != sent * (sent - 1) / 2) std::abort();
  return {sent, t};
}

// A cache line to the other core and back, in nanoseconds.
double round_trip(std::uint64_t n) {
  alignas(128) std::atomic<std::uint64_t> ping{0};
  alignas(128) std::atomic<std::uint64_t> pong{0};
  std::thread b([&] {
    pin(1);
    for (std::uint64_t i = 1; i <= n; ++i) {
      while (ping.load(std::memory_order_acquire) != i) {
      }
      pong.store(i, std::memory_order_release);
    }
  });
  std::uint64_t t = 0;
  std::thread a([&] {
    pin(0);
    auto t0 = now_ns();
    for (std::uint64_t i = 1; i <= n; ++i) {
      ping.store(i, std::memory_order_release);
      while (pong.load(std::memory_order_acquire) != i) {
      }
    }
    t = now_ns() - t0;
  });
  a.join();
  b.join();
  return double(t) / double(n);
}

// A thread parked in a futex; the other one wakes it 10,000 times a second. Latency from just before
// the wake to the woken thread's next clock reading: nothing that parks its consumer can be faster.
std::vector<std::uint64_t> futex_wake(bool pinned) {
  auto n = std::uint64_t(latsecs() * 10'000);
  std::vector<std::vector<std::uint64_t>> lat(1);
  lat[0].reserve(n);
  alignas(128) std::atomic<std::uint32_t> word{0};
  alignas(128) std::atomic<std::uint64_t> ts{0};
  std::thread t([&] {
    if (pinned) pin(1);
    for (std::uint32_t i = 0; i < n; ++i) {
      while (word.load(std::memory_order_acquire) == i)
        syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, i, nullptr, nullptr, 0);
      lat[0].push_back(now_ns() - ts.load(std::memory_order_relaxed));
    }
  });
  cpu_set_t old;
  pthread_getaffinity_np(pthread_self(), sizeof old, &old);
  if (pinned) pin(0);
  pace_10k(n, pinned, [&](std::uint64_t) {
    ts.store(now_ns(), std::memory_order_relaxed);
    word.fetch_add(1, std::memory_order_release);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  });
  t.join();
  pthread_setaffinity_np(pthread_self(), sizeof old, &old);
  return merge_last(lat);
}

int main(int argc, char** argv) {
  if (argc == 2 && !std::strcmp(argv[1], "PROBE")) {
    std::printf("%.0f\n", round_trip(100'000));
    return 0;
  }
  if (want(argc, argv, "MICRO")) {
    auto sp = std::make_shared<Event>();
    std::thread([] {}).join();  // from here on shared_ptr counts atomically
    micro("shared_ptr_copy_and_drop_ns", 50'000'000, [&](std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i) {
        Ptr c = sp;
        keep(c.get());
      }
    });
    Counted k;
    micro("intrusive_inc_and_dec_ns", 50'000'000, [&](std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i) {
        k.refs.fetch_add(1, std::memory_order_relaxed);
        keep(&k);
        k.refs.fetch_sub(1, std::memory_order_acq_rel);
      }
    });
    micro("intrusive_inc_ns", 50'000'000, [&](std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i) {
        k.refs.fetch_add(1, std::memory_order_relaxed);
        keep(&k);
      }
    });
    micro("make_shared_and_free_ns", 20'000'000, [&](std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i) {
        auto p = std::make_shared<Event>();
        keep(p.get());
      }
    });
    micro("clock_gettime_ns", 20'000'000, [&](std::uint64_t n) {
      for (std::uint64_t i = 0; i < n; ++i)
        keep(now_ns());
    });
    // Refcount bumped by both cores at once.
    {
      std::vector<double> v;
      for (int r = 0; r < reps(); ++r) {
        constexpr std::uint64_t n = 20'000'000;
        std::atomic<std::uint32_t> c{0};
        auto work = [&](int cpu) {
          pin(cpu);
          for (std::uint64_t i = 0; i < n; ++i)
            c.fetch_add(1, std::memory_order_relaxed);
        };
        auto t0 = now_ns();
        std::thread a(work, 0), b(work, 1);
        a.join();
        b.join();
        v.push_back(double(now_ns() - t0) / double(2 * n));
      }
      report("FLOOR", "floor", "contended_fetch_add_ns_per_op", v);
    }
    std::vector<double> trips;
    for (int r = 0; r < reps(); ++r)
      trips.push_back(round_trip(2'000'000));
    report("FLOOR", "floor", "cacheline_round_trip_ns", trips);
    // Uncontended enqueue + dequeue in one thread.
    {
      moodycamel::ConcurrentQueue<Ptr> q(1024);
      moodycamel::ProducerToken pt(q);
      moodycamel::ConsumerToken ct(q);
      auto p = std::make_shared<Event>();
      Ptr out;
      micro("concurrentqueue_enq_deq_shared_ptr_ns", 20'000'000, [&](std::uint64_t n) {
        for (std::uint64_t i = 0; i < n; ++i) {
          q.enqueue(pt, p);
          q.try_dequeue(ct, out);
        }
      });
      moodycamel::ReaderWriterQueue<Ptr> rw(1024);
      micro("readerwriterqueue_enq_deq_shared_ptr_ns", 20'000'000, [&](std::uint64_t n) {
        for (std::uint64_t i = 0; i < n; ++i) {
          rw.try_enqueue(p);
          rw.try_dequeue(out);
        }
      });
      moodycamel::ReaderWriterQueue<Event*> rp(1024);
      Event* po = nullptr;
      micro("readerwriterqueue_enq_deq_pointer_ns", 20'000'000, [&](std::uint64_t n) {
        for (std::uint64_t i = 0; i < n; ++i) {
          rp.try_enqueue(p.get());
          rp.try_dequeue(po);
          keep(po);
        }
      });
    }
  }
  if (want(argc, argv, "S1")) {
    for (bool pinned : {true, false}) {
      std::string name = pinned ? "S1.pinned.subs=1" : "S1.subs=1";
      rows(name, "moodycamel-ReaderWriterQueue", 1, [&] {
        moodycamel::ReaderWriterQueue<Ptr> q(1024);
        return hop(
            secs(),
            [&](std::uint64_t i) {
              auto p = std::make_shared<Event>();
              p->seq = i;
              std::memset(p->body, 7, sizeof p->body);
              q.try_enqueue(std::move(p));
            },
            [&](std::uint64_t& sum) -> std::uint64_t {
              Ptr p;
              if (!q.try_dequeue(p)) return 0;
              sum += p->seq;
              return 1;
            },
            pinned);
      });
      rows(name, "moodycamel-ConcurrentQueue", 1, [&] {
        moodycamel::ConcurrentQueue<Ptr> q(1024);
        moodycamel::ProducerToken pt(q);
        moodycamel::ConsumerToken ct(q);
        return hop(
            secs(),
            [&](std::uint64_t i) {
              auto p = std::make_shared<Event>();
              p->seq = i;
              std::memset(p->body, 7, sizeof p->body);
              q.enqueue(pt, std::move(p));
            },
            [&](std::uint64_t& sum) -> std::uint64_t {
              Ptr buf[64];
              auto k = q.try_dequeue_bulk(ct, buf, 64);
              for (std::size_t i = 0; i < k; ++i)
                sum += buf[i]->seq;
              return k;
            },
            pinned);
      });
      rows(name, "moodycamel-ReaderWriterQueue(index only)", 1, [&] {
        moodycamel::ReaderWriterQueue<std::uint64_t> q(1024);
        return hop(
            secs(), [&](std::uint64_t i) { q.try_enqueue(i); },
            [&](std::uint64_t& sum) -> std::uint64_t {
              std::uint64_t p;
              if (!q.try_dequeue(p)) return 0;
              sum += p;
              return 1;
            },
            pinned);
      });
    }
  }
  if (want(argc, argv, "S4"))
    for (bool pinned : {true, false})
      latency_rows(std::string("S4.") + (pinned ? "pinned" : "sleep") + ".subs=1", "raw-futex-wake",
                   [&] { return futex_wake(pinned); });
}
