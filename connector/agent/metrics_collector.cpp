#include "connector/agent/metrics_collector.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "connector/agent/internal/prometheus_text.hpp"

namespace sharingbus::connector {
namespace {

namespace messages = transport::agent_messages;

constexpr std::string_view kAgentLabel = "agent_id";

bool letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// A name as Prometheus allows it.
std::string clean_name(std::string_view name, bool colons) {
  std::string clean;
  clean.reserve(name.size() + 1);
  for (const char c : name) {
    const bool digit = c >= '0' && c <= '9';
    if (digit && clean.empty()) clean.push_back('_');
    clean.push_back(letter(c) || digit || (colons && c == ':') ? c : '_');
  }
  return clean.empty() ? "_" : clean;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), end.ptr};
}

std::string label_text(const std::map<std::string, std::string>& labels, std::string_view le = {}) {
  if (labels.empty() && le.empty()) return {};
  std::string text = "{";
  for (const auto& [name, value] : labels) {
    if (text.size() > 1) text.push_back(',');
    text.append(name).append("=\"");
    internal::append_escaped(text, value, true);
    text.push_back('"');
  }
  if (!le.empty()) {
    if (text.size() > 1) text.push_back(',');
    text.append("le=\"").append(le).append("\"");
  }
  text.push_back('}');
  return text;
}

}  // namespace

Result<> MetricsCollectorOptions::validate() const {
  if (max_age <= Duration::zero()) return Error(errc::invalid_argument, "metrics.max_age must be above 0");
  if (max_series == 0) return Error(errc::invalid_argument, "metrics.max_series must be at least 1");
  return {};
}

MetricsCollector::Series* MetricsCollector::place(Kind kind, std::string_view agent_id, std::string_view name,
                                                  const messages::StringMap& labels) {
  std::string clean = clean_name(name, true);
  if (const auto known = names_.find(clean); known != names_.end() && known->second.kind != kind) return nullptr;
  Labels clean_labels;
  for (const auto& [label, value] : labels) {
    std::string clean_label = clean_name(label, false);
    const bool ours = options_.agent_label && clean_label == kAgentLabel;
    if (ours || (kind == Kind::histogram && clean_label == "le")) clean_label.insert(0, "exported_");
    clean_labels.emplace(std::move(clean_label), value);
  }
  if (options_.agent_label) clean_labels.emplace(kAgentLabel, agent_id);
  Key key(kind, clean, agent_id, std::move(clean_labels));
  const auto found = series_.find(key);
  if (found != series_.end()) return &found->second;
  if (series_.size() >= options_.max_series) return nullptr;
  Name& named = names_[std::move(clean)];
  named.kind = kind;
  ++named.series;
  return &series_[std::move(key)];
}

template <class Metric, class Value>
void MetricsCollector::put(Kind kind, std::string_view agent_id, const Metric& metric, Value value, TimePoint now) {
  Series* series = place(kind, agent_id, metric.name, metric.labels);
  if (series == nullptr) {
    ++dropped_;
    return;
  }
  series->value = std::move(value);
  series->help = metric.help.value_or("");
  series->at = now;
}

void MetricsCollector::record(std::string_view agent_id, const messages::MetricsReport& report, TimePoint now) {
  const std::scoped_lock lock(mutex_);
  for (const auto& counter : report.counters)
    put(Kind::counter, agent_id, counter, counter.value, now);
  for (const auto& gauge : report.gauges)
    put(Kind::gauge, agent_id, gauge, gauge.value, now);
  for (const auto& histogram : report.histograms) {
    Histogram value{histogram.sum, histogram.count, {}};
    for (const auto& bucket : histogram.buckets) {
      if (std::isnan(bucket.le)) continue;
      auto& count = value.buckets[bucket.le];
      count = std::max(count, bucket.count);
    }
    put(Kind::histogram, agent_id, histogram, std::move(value), now);
  }
}

void MetricsCollector::forget(std::map<Key, Series>::iterator& at) {
  const auto name = names_.find(std::get<1>(at->first));
  if (--name->second.series == 0) names_.erase(name);
  at = series_.erase(at);
}

std::size_t MetricsCollector::expire(TimePoint now) {
  const std::scoped_lock lock(mutex_);
  const std::size_t before = series_.size();
  for (auto at = series_.begin(); at != series_.end();) {
    if (now - at->second.at >= options_.max_age) {
      forget(at);
    } else {
      ++at;
    }
  }
  return before - series_.size();
}

void MetricsCollector::forget_agent(std::string_view agent_id) {
  const std::scoped_lock lock(mutex_);
  for (auto at = series_.begin(); at != series_.end();) {
    if (std::get<2>(at->first) == agent_id) {
      forget(at);
    } else {
      ++at;
    }
  }
}

std::string MetricsCollector::export_prometheus() const {
  static constexpr std::array<std::string_view, 3> kTypes = {"counter", "gauge", "histogram"};
  const std::scoped_lock lock(mutex_);
  std::string out;
  std::string_view last;
  for (const auto& [key, series] : series_) {
    const auto& [kind, name, agent, labels] = key;
    if (name != last) {
      internal::append_header(out, name, kTypes[static_cast<std::size_t>(kind)], series.help);
      last = name;
    }
    const auto line = [&out, &name = name](std::string_view suffix, const std::string& with, const std::string& value) {
      out.append(name).append(suffix).append(with).append(" ").append(value).append("\n");
    };
    if (const auto* counter = std::get_if<std::uint64_t>(&series.value)) {
      line("", label_text(labels), std::to_string(*counter));
    } else if (const auto* gauge = std::get_if<double>(&series.value)) {
      line("", label_text(labels), number(*gauge));
    } else if (const auto* histogram = std::get_if<Histogram>(&series.value)) {
      // Prometheus wants buckets that rise and end with all.
      std::uint64_t below = 0;
      for (const auto& [le, count] : histogram->buckets) {
        if (std::isinf(le) && le > 0) continue;
        below = std::max(below, count);
        line("_bucket", label_text(labels, number(le)), std::to_string(below));
      }
      const std::uint64_t all = std::max(below, histogram->count);
      line("_bucket", label_text(labels, "+Inf"), std::to_string(all));
      line("_sum", label_text(labels), number(histogram->sum));
      line("_count", label_text(labels), std::to_string(all));
    }
  }
  return out;
}

std::size_t MetricsCollector::series_count() const {
  const std::scoped_lock lock(mutex_);
  return series_.size();
}

std::uint64_t MetricsCollector::dropped_series() const {
  const std::scoped_lock lock(mutex_);
  return dropped_;
}

}  // namespace sharingbus::connector
