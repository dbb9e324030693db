#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "transport/messages/agent_messages.hpp"

namespace sharingbus::connector {

struct MetricsCollectorOptions {
  /// Series that were not reported for this long are forgotten.
  Duration max_age = std::chrono::minutes(5);
  /// New series beyond this are dropped, counted.
  std::size_t max_series = 10'000;
  /// Adds the label `agent_id`, so that agents cannot be mistaken for one another.
  bool agent_label = true;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// What agents report of themselves, last value of each series, and the Prometheus text of it. A series belongs to the
/// agent that the pool knows, whatever the report says. Names, labels and help are made what Prometheus allows; a name
/// keeps the kind that it came with first. Any thread. (Spec 4, Config and metrics.)
class MetricsCollector {
 public:
  explicit MetricsCollector(MetricsCollectorOptions options = {}) : options_(options) {}

  void record(std::string_view agent_id, const transport::agent_messages::MetricsReport& report, TimePoint now);
  /// Forgets what is older than `max_age`; how many. O(series).
  std::size_t expire(TimePoint now);
  /// O(series).
  void forget_agent(std::string_view agent_id);

  /// O(series); nothing is held that `record` would wait for longer than that.
  [[nodiscard]] std::string export_prometheus() const;
  [[nodiscard]] std::size_t series_count() const;
  [[nodiscard]] std::uint64_t dropped_series() const;

 private:
  enum class Kind : std::uint8_t { counter, gauge, histogram };
  struct Histogram {
    double sum = 0;
    std::uint64_t count = 0;
    std::map<double, std::uint64_t> buckets;
  };
  struct Series {
    std::variant<std::uint64_t, double, Histogram> value;
    std::string help;
    TimePoint at{};
  };
  using Labels = std::map<std::string, std::string>;
  /// Kind first, then name: the order of the export.
  using Key = std::tuple<Kind, std::string, std::string, Labels>;

  /// Null when there is no room.
  [[nodiscard]] Series* place(Kind kind, std::string_view agent_id, std::string_view name,
                              const transport::agent_messages::StringMap& labels);
  template <class Metric, class Value>
  void put(Kind kind, std::string_view agent_id, const Metric& metric, Value value, TimePoint now);

  const MetricsCollectorOptions options_;
  mutable std::mutex mutex_;
  std::map<Key, Series> series_;
  struct Name {
    Kind kind = Kind::counter;
    std::size_t series = 0;
  };
  std::map<std::string, Name, std::less<>> names_;
  std::uint64_t dropped_ = 0;

  void forget(std::map<Key, Series>::iterator& at);
};

}  // namespace sharingbus::connector
