#include "connector/agent/protocol_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "connector/agent/internal/prometheus_text.hpp"

namespace sharingbus::connector {
namespace {

std::string six_decimals(double value) {
  std::array<char, 64> text{};
  const int length = std::snprintf(text.data(), text.size(), "%.6f", value);
  return {text.data(), static_cast<std::size_t>(std::max(length, 0))};
}

std::string name_of(std::string_view prefix, std::string_view name) {
  return std::string(prefix).append("_").append(name);
}

template <class Number>
void append_value(std::string& out, const std::string& name, std::string_view type, std::string_view help,
                  const std::atomic<Number>& value) {
  internal::append_header(out, name, type, help);
  out.append(name).append(" ").append(std::to_string(value.load(std::memory_order_relaxed))).append("\n");
}

}  // namespace

void DurationHistogram::record(Duration duration) noexcept {
  const auto ns = static_cast<std::uint64_t>(std::max<Duration::rep>(duration.count(), 0));
  std::size_t bucket = 0;
  while (bucket < kBoundsUs.size() && ns > kBoundsUs[bucket] * 1000)
    ++bucket;
  buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_relaxed);
  sum_ns_.fetch_add(ns, std::memory_order_relaxed);
}

double DurationHistogram::sum() const noexcept {
  return static_cast<double>(sum_ns_.load(std::memory_order_relaxed)) / 1e9;
}

double DurationHistogram::mean_us() const noexcept {
  const std::uint64_t counted = count();
  return counted == 0 ? 0 : sum() * 1e6 / static_cast<double>(counted);
}

double DurationHistogram::percentile_us(double share) const noexcept {
  const std::uint64_t counted = count();
  if (counted == 0) return 0;
  const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(counted));
  double seen = 0;
  for (std::size_t i = 0; i < kBoundsUs.size(); ++i) {
    seen += static_cast<double>(buckets_[i].load(std::memory_order_relaxed));
    if (seen >= wanted && seen > 0) return static_cast<double>(kBoundsUs[i]);
  }
  return std::numeric_limits<double>::infinity();
}

void DurationHistogram::append_prometheus(std::string_view name, std::string& out) const {
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < kBoundsUs.size(); ++i) {
    below += buckets_[i].load(std::memory_order_relaxed);
    out.append(name).append("_bucket{le=\"").append(six_decimals(static_cast<double>(kBoundsUs[i]) / 1e6));
    out.append("\"} ").append(std::to_string(below)).append("\n");
  }
  // Of the buckets, not of the count beside them: the last must not be below the one before it.
  below += buckets_.back().load(std::memory_order_relaxed);
  out.append(name).append("_bucket{le=\"+Inf\"} ").append(std::to_string(below)).append("\n");
  out.append(name).append("_sum ").append(six_decimals(sum())).append("\n");
  out.append(name).append("_count ").append(std::to_string(below)).append("\n");
}

std::string ProtocolMetrics::to_prometheus(std::string_view prefix) const {
  std::string out;
  const auto counter = [&](std::string_view name, std::string_view help, const std::atomic<std::uint64_t>& value) {
    append_value(out, name_of(prefix, name), "counter", help, value);
  };
  const auto gauge = [&](std::string_view name, std::string_view help, const std::atomic<std::int64_t>& value) {
    append_value(out, name_of(prefix, name), "gauge", help, value);
  };
  const auto histogram = [&](std::string_view name, std::string_view help, const DurationHistogram& value) {
    const std::string full = name_of(prefix, name);
    internal::append_header(out, full, "histogram", help);
    value.append_prometheus(full, out);
  };
  counter("requests_total", "Calls of any kind.", requests);
  counter("responses_total", "Calls that agents answered.", responses);
  counter("errors_total", "Calls that failed.", errors);
  counter("timeouts_total", "Calls that got no answer in time.", timeouts);
  counter("connection_errors_total", "Calls that lost or found no connection.", connection_errors);
  counter("serialization_errors_total", "Calls whose event did not encode.", serialization_errors);
  counter("cancelled_total", "Calls that were cancelled.", cancelled);
  counter("flow_control_rejections_total", "Calls that a paused agent turned away.", flow_control_rejections);
  counter("flow_control_pauses_total", "Times that a connection was paused.", flow_control_pauses);
  counter("flow_control_resumes_total", "Times that a connection resumed.", flow_control_resumes);
  counter("affinity_evictions_total", "Affinities that gave way or were idle.", affinity_evictions);
  counter("retries_total", "Calls asked again on another connection.", retries);
  counter("hedges_total", "Calls asked a second time while the first was slow.", hedges);
  counter("late_answers_total", "Answers that nobody waited for.", late_answers);
  gauge("in_flight_requests", "Calls under way.", in_flight);
  gauge("correlation_affinities", "Requests that are bound to a connection.", affinities);
  gauge("healthy_connections", "Connections that are healthy.", healthy_connections);
  gauge("paused_connections", "Connections that are paused.", paused_connections);
  histogram("serialization_seconds", "Time to encode an event.", serialization);
  histogram("request_duration_seconds", "Time from the call to its answer.", request_duration);
  return out;
}

}  // namespace sharingbus::connector
