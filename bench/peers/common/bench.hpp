// Small helpers shared by the C++ peers: TSV output, medians, pacing, pinning.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <pthread.h>
#include <string>
#include <utility>
#include <vector>

#include <sched.h>
#include <time.h>

namespace bench {

inline std::uint64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::uint64_t(t.tv_sec) * 1'000'000'000u + std::uint64_t(t.tv_nsec);
}

inline double env(const char* k, double d) {
  const char* v = std::getenv(k);
  return v ? std::atof(v) : d;
}
inline int reps() {
  return int(env("REPS", 5));
}
inline double secs() {
  return env("SECS", 1.0);
}
inline double latsecs() {
  return env("LATSECS", 2.0);
}

inline bool want(int argc, char** argv, const char* s) {
  if (argc < 2) return true;
  for (int i = 1; i < argc; ++i)
    if (!std::strcmp(argv[i], s)) return true;
  return false;
}

// The sizes of a scenario, or only SUBS.
inline std::vector<int> sizes(std::initializer_list<int> all) {
  const int only = int(env("SUBS", 0));
  std::vector<int> some;
  for (int size : all)
    if (only == 0 || size == only) some.push_back(size);
  return some;
}

inline void pin(int cpu) {
  cpu_set_t s;
  CPU_ZERO(&s);
  CPU_SET(cpu, &s);
  pthread_setaffinity_np(pthread_self(), sizeof s, &s);
}

inline void relax() {
  __builtin_ia32_pause();
}

// scenario  peer  metric  median  min  max
inline void report(const std::string& scenario, const std::string& peer, const std::string& metric,
                   std::vector<double> v) {
  std::sort(v.begin(), v.end());
  auto f = [](double x) {
    char b[64];
    std::snprintf(b, sizeof b, std::fabs(x) < 100 ? "%.3f" : "%.0f", x);
    return std::string(b);
  };
  std::printf("%s\t%s\t%s\t%s\t%s\t%s\n", scenario.c_str(), peer.c_str(), metric.c_str(), f(v[v.size() / 2]).c_str(),
              f(v.front()).c_str(), f(v.back()).c_str());
  std::fflush(stdout);
}

struct Outcome {
  std::uint64_t events;
  double secs;
};

template <class F>
void rows(const std::string& scenario, const std::string& peer, double per_event, F run) {
  std::vector<double> a, b, c, d;
  for (int i = 0; i < reps(); ++i) {
    Outcome o = run();
    double eps = double(o.events) / o.secs;
    a.push_back(eps);
    b.push_back(eps * per_event);
    c.push_back(1e9 / (eps * per_event));
    d.push_back(1e9 / eps);
  }
  report(scenario, peer, "events_per_s", a);
  report(scenario, peer, "deliveries_per_s", b);
  report(scenario, peer, "ns_per_delivery", c);
  report(scenario, peer, "ns_per_event", d);
}

inline double pct(const std::vector<std::uint64_t>& sorted, double p) {
  auto i = std::size_t(std::ceil(double(sorted.size()) * p));
  i = std::clamp<std::size_t>(i, 1, sorted.size());
  return double(sorted[i - 1]);
}

// Latency of the last subscriber for every event, sorted, without the first `skip`.
inline std::vector<std::uint64_t> merge_last(const std::vector<std::vector<std::uint64_t>>& v, std::size_t skip = 500) {
  std::vector<std::uint64_t> out;
  for (std::size_t i = skip; i < v[0].size(); ++i) {
    std::uint64_t m = 0;
    for (auto& s : v)
      m = std::max(m, s[i]);
    out.push_back(m);
  }
  std::sort(out.begin(), out.end());
  return out;
}

template <class F>
void latency_rows(const std::string& scenario, const std::string& peer, F run) {
  std::vector<double> a, b, c;
  for (int i = 0; i < reps(); ++i) {
    auto s = run();
    a.push_back(pct(s, .5));
    b.push_back(pct(s, .99));
    c.push_back(pct(s, .999));
  }
  report(scenario, peer, "p50_ns", a);
  report(scenario, peer, "p99_ns", b);
  report(scenario, peer, "p99.9_ns", c);
}

// 10,000 events/s: calls fire(i) at most every 100 us, spinning or sleeping in between.
template <class F>
void pace_10k(std::uint64_t n, bool spin, F fire) {
  std::uint64_t due = now_ns() + 1'000'000;
  for (std::uint64_t i = 0; i < n; ++i) {
    if (spin) {
      while (now_ns() < due)
        relax();
    } else {
      timespec t{time_t(due / 1'000'000'000u), long(due % 1'000'000'000u)};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
    }
    due = std::max(due + 100'000, now_ns());
    fire(i);
  }
}

struct alignas(128) Padded {
  std::uint64_t v = 0;
};

}  // namespace bench
