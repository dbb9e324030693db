#include "cli/demo_report.hpp"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <iostream>
#include <vector>

namespace sharingbus::cli {
namespace {

namespace json = boost::json;

double percentile_us(const std::vector<std::uint64_t>& sorted_ns, double share) {
  if (sorted_ns.empty()) return 0;
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(sorted_ns.size()));
  return static_cast<double>(sorted_ns[std::min(rank, sorted_ns.size() - 1)]) / 1000.0;
}

/// The subscriptions that ended with the runner and the gateway, as one row.
SubscriptionStats retired_row(const RetiredTotals& gone) {
  SubscriptionStats row;
  row.name = "ended (" + std::to_string(gone.subscriptions) + ")";
  row.matched = gone.matched;
  row.received = gone.received;
  row.lagged = gone.lagged;
  row.discarded = gone.discarded;
  return row;
}

const std::vector<std::uint64_t>& sort_latencies(DemoReport& report) {
  std::sort(report.load.latencies_ns.begin(), report.load.latencies_ns.end());
  return report.load.latencies_ns;
}

/// Every subscriber, and those that are gone.
std::vector<SubscriptionStats> rows_of(const DemoReport& report) {
  auto rows = report.bus.subscriptions;
  rows.push_back(retired_row(report.bus.retired));
  return rows;
}

}  // namespace

double DemoReport::rps() const {
  const double seconds = std::chrono::duration<double>(load.elapsed).count();
  return seconds > 0 ? static_cast<double>(load.answered) / seconds : 0;
}

bool DemoReport::balanced() const {
  const RetiredTotals& gone = bus.retired;
  return std::all_of(bus.subscriptions.begin(), bus.subscriptions.end(), [](const auto& s) { return s.balanced(); }) &&
         gone.matched == gone.received + gone.lagged + gone.discarded &&
         bus.published == bus.dispatched + bus.ingress_lost + bus.ingress_depth &&
         load.requests == load.answered + load.failed && load.requests == load.audited;
}

void print_json(DemoReport& report) {
  const auto& sorted = sort_latencies(report);
  json::array subscribers;
  for (const SubscriptionStats& s : rows_of(report)) {
    subscribers.push_back(json::object{{"name", s.name},
                                       {"filter", s.filter},
                                       {"capacity", s.capacity},
                                       {"matched", s.matched},
                                       {"received", s.received},
                                       {"lagged", s.lagged},
                                       {"discarded", s.discarded},
                                       {"queued", s.queued},
                                       {"high_water", s.high_water}});
  }
  const json::object document{
      {"transport", report.transport},
      {"connectors", report.connectors},
      {"channels", report.channels},
      {"requests", report.load.requests},
      {"answered", report.load.answered},
      {"failed", report.load.failed},
      {"rps", report.rps()},
      {"latency_us", json::object{{"p50", percentile_us(sorted, 0.5)},
                                  {"p99", percentile_us(sorted, 0.99)},
                                  {"p999", percentile_us(sorted, 0.999)}}},
      {"bus", json::object{{"published", report.bus.published},
                           {"dispatched", report.bus.dispatched},
                           {"ingress_refused", report.bus.ingress_refused}}},
      {"subscribers", std::move(subscribers)},
      {"balanced", report.balanced()}};
  std::cout << json::serialize(document) << '\n';
}

void print_table(DemoReport& report) {
  const auto& sorted = sort_latencies(report);
  std::printf("%s: %llu requests to %zu connectors over %llu connections\n", report.transport.c_str(),
              static_cast<unsigned long long>(report.load.requests), report.connectors,
              static_cast<unsigned long long>(report.channels));
  std::printf("  answered   %llu, failed %llu, %.0f per second\n", static_cast<unsigned long long>(report.load.answered),
              static_cast<unsigned long long>(report.load.failed), report.rps());
  std::printf("  latency    p50 %.0f us, p99 %.0f us, p99.9 %.0f us\n", percentile_us(sorted, 0.5),
              percentile_us(sorted, 0.99), percentile_us(sorted, 0.999));
  std::printf("  bus        %llu published, %llu dispatched\n\n", static_cast<unsigned long long>(report.bus.published),
              static_cast<unsigned long long>(report.bus.dispatched));
  std::printf("  %-22s %9s %10s %10s %10s %7s %10s\n", "subscriber", "capacity", "matched", "received", "lagged",
              "queued", "high water");
  for (const SubscriptionStats& s : rows_of(report)) {
    const std::string capacity = s.id == 0 ? "" : s.capacity == 0 ? "inline" : std::to_string(s.capacity);
    std::printf("  %-22s %9s %10llu %10llu %10llu %7llu %10llu\n", s.name.c_str(), capacity.c_str(),
                static_cast<unsigned long long>(s.matched), static_cast<unsigned long long>(s.received),
                static_cast<unsigned long long>(s.lagged), static_cast<unsigned long long>(s.queued),
                static_cast<unsigned long long>(s.high_water));
  }
  std::printf("\n%s\n", report.balanced() ? "balanced: nothing was lost uncounted" : "NOT BALANCED");
}

}  // namespace sharingbus::cli
