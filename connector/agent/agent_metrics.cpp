#include "connector/agent/agent_metrics.hpp"

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "connector/agent/agent_pool_events.hpp"
#include "connector/agent/agent_server_events.hpp"
#include "connector/agent/internal/prometheus_text.hpp"
#include "connector/internal/error_reason.hpp"

namespace sharingbus::connector {
namespace {

using internal::reason_of;
using Labels = std::vector<std::pair<std::string_view, std::string_view>>;
using Counters = std::map<std::string, std::uint64_t>;

/// Writes metrics of one prefix as Prometheus text.
class Text {
 public:
  explicit Text(std::string_view prefix) : prefix_(prefix) {}

  void begin(std::string_view name, std::string_view type, std::string_view help) {
    name_ = std::string(prefix_).append("_").append(name);
    internal::append_header(out_, name_, type, help);
  }
  void sample(const Labels& labels, const std::string& value) {
    out_.append(name_);
    char separator = '{';
    for (const auto& [label, content] : labels) {
      out_.push_back(std::exchange(separator, ','));
      out_.append(label).append("=\"");
      internal::append_escaped(out_, content, true);
      out_.push_back('"');
    }
    if (!labels.empty()) out_.push_back('}');
    out_.append(" ").append(value).append("\n");
  }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  std::string_view prefix_;
  std::string name_;
  std::string out_;
};

SubscriptionOptions agent_events(std::string name) {
  SubscriptionOptions options;
  options.name = std::move(name);
  options.filter = Filter::origin(EventOrigin::agent);
  return options;
}

}  // namespace

// --- pools -----------------------------------------------------------------------------------------------------------

class PoolMetricsObserver::Table {
 public:
  explicit Table(std::size_t agents_max) : agents_max_(agents_max) {}

  void apply(const BusEvent& event) {
    const std::scoped_lock lock(mutex_);
    if (const auto* up = event.get_if<AgentConnectionUp>()) {
      PoolAgentMetrics& agent = of(up->agent_id);
      ++agent.connections_opened;
      ++agent.connections;
    } else if (const auto* down = event.get_if<AgentConnectionDown>()) {
      PoolAgentMetrics& agent = of(down->agent_id);
      ++agent.connections_closed[reason_of(down->error)];
      --agent.connections;
    } else if (const auto* failed = event.get_if<AgentConnectFailed>()) {
      ++of(failed->agent_id).connect_failures[reason_of(failed->error)];
    } else if (const auto* unhealthy = event.get_if<AgentConnectionUnhealthy>()) {
      ++of(unhealthy->agent_id).unhealthy;
    } else if (const auto* paused = event.get_if<AgentPaused>()) {
      ++of(paused->agent_id).pauses;
    } else if (const auto* ejected = event.get_if<AgentConnectionEjected>()) {
      ++of(ejected->agent_id).ejections;
    } else if (const auto* circuit = event.get_if<AgentCircuitChanged>()) {
      ++of(circuit->agent_id).circuit_changes;
    } else if (const auto* push = event.get_if<AgentConfigPushEnded>()) {
      PoolAgentMetrics& agent = of(push->result.agent_id);
      ++(push->result.status == PushStatus::acknowledged ? agent.pushes_acknowledged : agent.pushes_failed);
    } else if (const auto* request = event.get_if<AgentConfigRequested>()) {
      ++of(request->agent_id).config_requests;
    }
  }
  PoolAgentMetrics read(std::string_view agent_id) const {
    const std::scoped_lock lock(mutex_);
    const auto found = agents_.find(agent_id);
    return found != agents_.end() ? found->second : PoolAgentMetrics{};
  }
  std::string to_prometheus(std::string_view prefix) const {
    Text text(prefix);
    const std::scoped_lock lock(mutex_);
    const auto single = [&](std::string_view name, std::string_view type, std::string_view help, auto field) {
      text.begin(name, type, help);
      for (const auto& [id, agent] : agents_)
        text.sample({{"agent", id}}, std::to_string(agent.*field));
    };
    const auto by_reason = [&](std::string_view name, std::string_view help, Counters PoolAgentMetrics::*field) {
      text.begin(name, "counter", help);
      for (const auto& [id, agent] : agents_) {
        for (const auto& [reason, count] : agent.*field)
          text.sample({{"agent", id}, {"reason", reason}}, std::to_string(count));
      }
    };
    single("connections", "gauge", "Connections that are up", &PoolAgentMetrics::connections);
    single("connections_opened_total", "counter", "Connections that came up", &PoolAgentMetrics::connections_opened);
    by_reason("connections_closed_total", "Connections that ended", &PoolAgentMetrics::connections_closed);
    by_reason("connect_failures_total", "Rounds of connecting that failed", &PoolAgentMetrics::connect_failures);
    single("unhealthy_total", "counter", "Times that a connection became unhealthy", &PoolAgentMetrics::unhealthy);
    single("pauses_total", "counter", "Times that an agent paused a connection", &PoolAgentMetrics::pauses);
    single("ejections_total", "counter", "Times that an outlier was ejected", &PoolAgentMetrics::ejections);
    single("circuit_changes_total", "counter", "Changes of the circuit breaker", &PoolAgentMetrics::circuit_changes);
    single("pushes_acknowledged_total", "counter", "Configurations that were accepted",
           &PoolAgentMetrics::pushes_acknowledged);
    single("pushes_failed_total", "counter", "Configurations that were refused, or given up",
           &PoolAgentMetrics::pushes_failed);
    single("config_requests_total", "counter", "Requests of agents about their configuration",
           &PoolAgentMetrics::config_requests);
    return text.take();
  }

 private:
  PoolAgentMetrics& of(const std::string& agent_id) {
    if (const auto found = agents_.find(agent_id); found != agents_.end()) return found->second;
    return agents_[agents_.size() < agents_max_ ? agent_id : std::string()];
  }

  const std::size_t agents_max_;
  mutable std::mutex mutex_;
  std::map<std::string, PoolAgentMetrics, std::less<>> agents_;
};

PoolMetricsObserver::PoolMetricsObserver(SharingBus& bus, std::size_t agents_max)
    : table_(std::make_unique<Table>(agents_max)),
      subscription_(bus.subscribe_inline(agent_events("pool metrics"),
                                         [table = table_.get()](const EventRef& event) { table->apply(*event); })) {}

PoolMetricsObserver::~PoolMetricsObserver() = default;

PoolAgentMetrics PoolMetricsObserver::metrics(std::string_view agent_id) const {
  return table_->read(agent_id);
}

std::string PoolMetricsObserver::to_prometheus(std::string_view prefix) const {
  return table_->to_prometheus(prefix);
}

// --- servers ---------------------------------------------------------------------------------------------------------

class AgentServerMetricsObserver::Table {
 public:
  void apply(const BusEvent& event) {
    const std::scoped_lock lock(mutex_);
    if (const auto* answered = event.get_if<AgentAnswered>()) {
      ++metrics_.answers[std::string(to_string(answered->outcome))];
      if (answered->outcome != AgentOutcome::dropped) metrics_.total_duration += answered->duration;
    } else if (event.is<ProxyConnected>()) {
      ++metrics_.proxies_connected;
      ++metrics_.connections;
    } else if (const auto* refused = event.get_if<ProxyRefused>()) {
      ++metrics_.proxies_refused[reason_of(refused->error)];
    } else if (const auto* gone = event.get_if<ProxyDisconnected>()) {
      ++metrics_.proxies_disconnected[reason_of(gone->error)];
      --metrics_.connections;
    } else if (const auto* flow = event.get_if<AgentFlowChanged>()) {
      if (flow->paused) ++metrics_.pauses;
    }
  }
  AgentServerMetrics read() const {
    const std::scoped_lock lock(mutex_);
    return metrics_;
  }

 private:
  mutable std::mutex mutex_;
  AgentServerMetrics metrics_;
};

AgentServerMetricsObserver::AgentServerMetricsObserver(SharingBus& bus)
    : table_(std::make_unique<Table>()),
      subscription_(bus.subscribe_inline(agent_events("agent server metrics"),
                                         [table = table_.get()](const EventRef& event) { table->apply(*event); })) {}

AgentServerMetricsObserver::~AgentServerMetricsObserver() = default;

AgentServerMetrics AgentServerMetricsObserver::metrics() const {
  return table_->read();
}

std::string AgentServerMetricsObserver::to_prometheus(std::string_view prefix) const {
  const AgentServerMetrics metrics = table_->read();
  Text text(prefix);
  const auto by = [&text](std::string_view name, std::string_view label, const Counters& counters,
                          std::string_view help) {
    text.begin(name, "counter", help);
    for (const auto& [key, count] : counters)
      text.sample({{label, key}}, std::to_string(count));
  };
  text.begin("connections", "gauge", "Proxies that are connected");
  text.sample({}, std::to_string(metrics.connections));
  text.begin("proxies_connected_total", "counter", "Handshakes and registrations that succeeded");
  text.sample({}, std::to_string(metrics.proxies_connected));
  by("proxies_refused_total", "reason", metrics.proxies_refused, "Connections that ended before that");
  by("proxies_disconnected_total", "reason", metrics.proxies_disconnected, "Connections that ended after it");
  by("answers_total", "outcome", metrics.answers, "Events, by what became of them");
  text.begin("answer_seconds_total", "counter", "From the arrival of events to their answers");
  text.sample({}, std::to_string(std::chrono::duration<double>(metrics.total_duration).count()));
  text.begin("pauses_total", "counter", "Times that proxies were told to pause");
  text.sample({}, std::to_string(metrics.pauses));
  return text.take();
}

}  // namespace sharingbus::connector
