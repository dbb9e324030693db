#include "connector/agent/internal/server_load.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

namespace sharingbus::connector::internal {
namespace {

using namespace transport::agent_messages;  // NOLINT(google-build-using-namespace): the subject's vocabulary

std::uint64_t relaxed(const std::atomic<std::uint64_t>& value) {
  return value.load(std::memory_order_relaxed);
}
template <class Number>
Number gauge(const std::atomic<std::ptrdiff_t>& value) {
  return static_cast<Number>(std::max<std::ptrdiff_t>(value.load(std::memory_order_relaxed), 0));
}
void add_one(std::atomic<std::uint64_t>& value, std::uint64_t by = 1) {
  value.fetch_add(by, std::memory_order_relaxed);
}

}  // namespace

void ServerLoad::answered(AgentOutcome outcome, bool timed_out, Duration duration) noexcept {
  add_one(answered_);
  if (outcome == AgentOutcome::blocked) add_one(blocked_);
  if (outcome == AgentOutcome::failed) add_one(failed_);
  if (timed_out) add_one(timed_out_);
  const auto us = static_cast<std::uint64_t>(
      std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(duration).count(), 0));
  add_one(total_us_, us);
  const auto* const bound = std::lower_bound(kBounds.begin(), kBounds.end(), us);
  add_one(buckets_.at(static_cast<std::size_t>(bound - kBounds.begin())));
}

float ServerLoad::percentile_ms(double share) const {
  std::uint64_t total = 0;
  for (const auto& bucket : buckets_)
    total += relaxed(bucket);
  const double wanted = share * static_cast<double>(total);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBounds.size(); ++i) {
    seen += relaxed(buckets_.at(i));
    if (static_cast<double>(seen) >= wanted) return static_cast<float>(kBounds.at(i)) / 1000;
  }
  return static_cast<float>(kBounds.back()) / 1000;
}

LoadMetrics ServerLoad::load() const {
  LoadMetrics out;
  out.in_flight = gauge<std::uint32_t>(running_);
  out.queue_depth = gauge<std::uint32_t>(waiting_);
  out.requests_processed = relaxed(answered_);
  out.requests_rejected = relaxed(failed_);
  out.requests_timed_out = relaxed(timed_out_);
  if (out.requests_processed == 0) return out;
  out.avg_latency_ms = static_cast<float>(relaxed(total_us_)) / 1000 / static_cast<float>(out.requests_processed);
  out.p50_latency_ms = percentile_ms(0.5);
  out.p95_latency_ms = percentile_ms(0.95);
  out.p99_latency_ms = percentile_ms(0.99);
  return out;
}

void ServerLoad::fill(MetricsReport& report) const {
  report.counters.push_back({"agent_requests_total", "Events answered", {}, relaxed(answered_)});
  report.counters.push_back({"agent_requests_blocked_total", "Events blocked", {}, relaxed(blocked_)});
  report.counters.push_back({"agent_errors_total", "Events without a decision", {}, relaxed(failed_)});
  report.gauges.push_back({"agent_in_flight_requests", "Handlers that run", {}, gauge<double>(running_)});
  report.gauges.push_back({"agent_queue_depth", "Events that wait", {}, gauge<double>(waiting_)});
  HistogramMetric histogram;
  histogram.name = "agent_requests_duration_seconds";
  histogram.help = "From an event's arrival to its answer";
  histogram.sum = static_cast<double>(relaxed(total_us_)) / 1e6;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    histogram.count += relaxed(buckets_.at(i));
    const double bound =
        i < kBounds.size() ? static_cast<double>(kBounds.at(i)) / 1e6 : std::numeric_limits<double>::infinity();
    histogram.buckets.push_back({bound, histogram.count});
  }
  report.histograms.push_back(std::move(histogram));
}

}  // namespace sharingbus::connector::internal
