// Spec 4, Config and metrics: the pool's own metrics and what agents report; D40, D41.

#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "connector/agent/metrics_collector.hpp"
#include "connector/agent/protocol_metrics.hpp"

namespace sharingbus::connector {
namespace {

using namespace std::chrono_literals;
using namespace transport::agent_messages;

const TimePoint t0 = TimePoint{} + 1h;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(DurationHistogram, CountsSumsAndPercentiles) {
  DurationHistogram sut;
  EXPECT_EQ(sut.percentile_us(0.99), 0);
  for (int i = 0; i < 90; ++i)
    sut.record(40us);
  for (int i = 0; i < 10; ++i)
    sut.record(900us);
  EXPECT_EQ(sut.count(), 100U);
  EXPECT_DOUBLE_EQ(sut.mean_us(), 126);
  EXPECT_EQ(sut.percentile_us(0.5), 50);
  EXPECT_EQ(sut.percentile_us(0.99), 1000);
}

TEST(DurationHistogram, D40_LongDurations_AreNotCappedAtASecond) {
  DurationHistogram sut;
  sut.record(20s);
  EXPECT_EQ(sut.percentile_us(1), 30'000'000);
  sut.record(1h);
  EXPECT_EQ(sut.percentile_us(1), std::numeric_limits<double>::infinity());
}

TEST(ProtocolMetrics, D40_EverythingCounted_IsExported) {
  ProtocolMetrics sut;
  sut.requests = 7;
  sut.serialization_errors = 2;
  sut.flow_control_resumes = 3;
  sut.in_flight = 1;
  sut.request_duration.record(700us);
  const std::string text = sut.to_prometheus("pool");
  EXPECT_TRUE(has(text, "# TYPE pool_requests_total counter\npool_requests_total 7\n"));
  EXPECT_TRUE(has(text, "pool_serialization_errors_total 2\n"));
  EXPECT_TRUE(has(text, "pool_flow_control_resumes_total 3\n"));
  EXPECT_TRUE(has(text, "pool_in_flight_requests 1\n"));
  EXPECT_TRUE(has(text, "pool_request_duration_seconds_bucket{le=\"0.000500\"} 0\n"));
  EXPECT_TRUE(has(text, "pool_request_duration_seconds_bucket{le=\"0.001000\"} 1\n"));
  EXPECT_TRUE(has(text, "pool_request_duration_seconds_bucket{le=\"+Inf\"} 1\n"));
  EXPECT_TRUE(has(text, "pool_request_duration_seconds_sum 0.000700\n"));
}

MetricsReport report(CounterMetric counter) {
  MetricsReport result;
  result.agent_id = "somebody-else";
  result.counters.push_back(std::move(counter));
  return result;
}

TEST(MetricsCollector, LastValueOfEachSeries) {
  MetricsCollector sut;
  sut.record("waf", report({"agent_requests_total", "Requests.", {{"route", "a"}}, 1}), t0);
  sut.record("waf", report({"agent_requests_total", "Requests.", {{"route", "a"}}, 5}), t0);
  sut.record("waf", report({"agent_requests_total", "Requests.", {{"route", "b"}}, 2}), t0);
  EXPECT_EQ(sut.series_count(), 2U);
  EXPECT_EQ(sut.export_prometheus(),
            "# HELP agent_requests_total Requests.\n# TYPE agent_requests_total counter\n"
            "agent_requests_total{agent_id=\"waf\",route=\"a\"} 5\n"
            "agent_requests_total{agent_id=\"waf\",route=\"b\"} 2\n");
}

TEST(MetricsCollector, D41_NamesLabelsAndHelp_AreMadeSafe) {
  MetricsCollector sut;
  sut.record("w\"af", report({"bad name\n1", "two\nlines", {{"a-b", "x\\\"\n"}, {"agent_id", "fake"}}, 1}), t0);
  EXPECT_EQ(sut.export_prometheus(),
            "# HELP bad_name_1 two\\nlines\n# TYPE bad_name_1 counter\n"
            "bad_name_1{a_b=\"x\\\\\\\"\\n\",agent_id=\"w\\\"af\",exported_agent_id=\"fake\"} 1\n");
}

TEST(MetricsCollector, D41_LabelsWithCommasAndEqualSigns_AreNotConfused) {
  MetricsCollector sut;
  sut.record("waf", report({"c", {}, {{"a", "1,b=2"}}, 1}), t0);
  sut.record("waf", report({"c", {}, {{"a", "1"}, {"b", "2"}}, 2}), t0);
  EXPECT_EQ(sut.series_count(), 2U);
}

TEST(MetricsCollector, D41_LargeCounters_AreExact) {
  MetricsCollector sut;
  sut.record("waf", report({"c", {}, {}, std::numeric_limits<std::uint64_t>::max()}), t0);
  EXPECT_TRUE(has(sut.export_prometheus(), " 18446744073709551615\n"));
}

TEST(MetricsCollector, Histograms_RiseAndEndWithAll) {
  MetricsCollector sut;
  MetricsReport reported;
  reported.histograms.push_back({"h", {}, {}, 1.5, 9, {{0.5, 7}, {0.1, 3}, {1.0, 5}}});
  sut.record("waf", reported, t0);
  EXPECT_EQ(sut.export_prometheus(),
            "# TYPE h histogram\nh_bucket{agent_id=\"waf\",le=\"0.1\"} 3\nh_bucket{agent_id=\"waf\",le=\"0.5\"} 7\n"
            "h_bucket{agent_id=\"waf\",le=\"1\"} 7\nh_bucket{agent_id=\"waf\",le=\"+Inf\"} 9\n"
            "h_sum{agent_id=\"waf\"} 1.5\nh_count{agent_id=\"waf\"} 9\n");
}

TEST(MetricsCollector, Gauges_AlsoOddOnes) {
  MetricsCollector sut;
  MetricsReport reported;
  reported.gauges.push_back({"a", {}, {}, std::numeric_limits<double>::infinity()});
  reported.gauges.push_back({"b", {}, {}, 1e300});
  reported.gauges.push_back({"c", {}, {}, 3});
  sut.record("waf", reported, t0);
  const std::string text = sut.export_prometheus();
  EXPECT_TRUE(has(text, "a{agent_id=\"waf\"} +Inf\n"));
  EXPECT_TRUE(has(text, "b{agent_id=\"waf\"} 1e+300\n"));
  EXPECT_TRUE(has(text, "c{agent_id=\"waf\"} 3\n"));
}

TEST(MetricsCollector, Bound_DropsNewSeriesAndCountsThem) {
  MetricsCollector sut({.max_series = 2});
  for (const char* name : {"a", "b", "c"})
    sut.record("waf", report({name, {}, {}, 1}), t0);
  sut.record("waf", report({"a", {}, {}, 2}), t0);
  EXPECT_EQ(sut.series_count(), 2U);
  EXPECT_EQ(sut.dropped_series(), 1U);
  EXPECT_TRUE(has(sut.export_prometheus(), "a{agent_id=\"waf\"} 2\n"));
}

TEST(MetricsCollector, ANameKeepsItsKind) {
  MetricsCollector sut;
  sut.record("waf", report({"x", {}, {}, 1}), t0);
  MetricsReport reported;
  reported.gauges.push_back({"x", {}, {}, 3});
  sut.record("other", reported, t0);
  EXPECT_EQ(sut.series_count(), 1U);
  sut.forget_agent("waf");
  sut.record("other", reported, t0);
  EXPECT_TRUE(has(sut.export_prometheus(), "# TYPE x gauge"));
}

TEST(MetricsCollector, OldSeriesAndRemovedAgents_AreForgotten) {
  MetricsCollector sut({.max_age = 300s});
  sut.record("waf", report({"a", {}, {}, 1}), t0);
  sut.record("waf", report({"b", {}, {}, 1}), t0 + 200s);
  sut.record("auth", report({"b", {}, {}, 1}), t0 + 200s);
  EXPECT_EQ(sut.expire(t0 + 299s), 0U);
  EXPECT_EQ(sut.expire(t0 + 300s), 1U);
  sut.forget_agent("waf");
  EXPECT_EQ(sut.series_count(), 1U);
}

}  // namespace
}  // namespace sharingbus::connector
