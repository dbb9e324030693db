#include "connector/agent/agent_pool.hpp"

#include <stdexcept>

#include "connector/agent/internal/pool_core.hpp"

namespace sharingbus::connector {

namespace messages = transport::agent_messages;
using internal::CallKind;

namespace internal {

void add_reference(Call* call) noexcept {
  intrusive_ptr_add_ref(call);
}

void release_reference(Call* call) noexcept {
  intrusive_ptr_release(call);
}

}  // namespace internal

std::string_view to_string(PoolFailure failure) noexcept {
  switch (failure) {
    case PoolFailure::none:
      return "none";
    case PoolFailure::unknown_agent:
      return "unknown_agent";
    case PoolFailure::no_connections:
      return "no_connections";
    case PoolFailure::no_healthy_connections:
      return "no_healthy_connections";
    case PoolFailure::flow_control_paused:
      return "flow_control_paused";
    case PoolFailure::circuit_open:
      return "circuit_open";
    case PoolFailure::overloaded:
      return "overloaded";
    case PoolFailure::timeout:
      return "timeout";
    case PoolFailure::connection:
      return "connection";
    case PoolFailure::serialization:
      return "serialization";
    case PoolFailure::invalid:
      return "invalid";
    case PoolFailure::cancelled:
      return "cancelled";
    case PoolFailure::closed:
      return "closed";
  }
  return "unknown";
}

AgentPool::AgentPool(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                     AgentDialerFactory dialers, AgentPoolOptions options)
    : core_([&] {
        if (const auto valid = options.validate(); !valid) {
          throw std::invalid_argument("AgentPoolOptions: " + valid.error().message);
        }
        if (!dialers) throw std::invalid_argument("AgentPool: the dialer factory is missing");
        return std::make_shared<internal::PoolCore>(std::move(executor), bus, timers, std::move(dialers),
                                                    std::move(options));
      }()) {}

AgentPool::~AgentPool() {
  core_->abandon();
}

void AgentPool::add_agent(std::string agent_id, std::string endpoint, AgentOptions options, PoolDone done) {
  core_->add_agent(std::move(agent_id), std::move(endpoint), std::move(options), std::move(done));
}

void AgentPool::remove_agent(std::string agent_id, PoolDone done) {
  core_->remove_agent(agent_id, std::move(done));
}

Result<ConnectionKey> AgentPool::add_reverse_connection(std::string agent_id, std::shared_ptr<transport::Link> link,
                                                        messages::AgentCapabilities capabilities, std::string peer,
                                                        std::string first_frame) {
  return core_->add_reverse(agent_id, std::move(link), std::move(capabilities), std::move(peer),
                            std::move(first_frame));
}

std::vector<std::string> AgentPool::agent_ids() const {
  return core_->agent_ids();
}

std::vector<AgentStats> AgentPool::stats() const {
  return core_->stats();
}

std::optional<AgentStats> AgentPool::agent_stats(std::string_view agent_id) const {
  return core_->agent_stats(agent_id);
}

std::optional<messages::AgentCapabilities> AgentPool::agent_capabilities(std::string_view agent_id) const {
  return core_->capabilities(agent_id);
}

bool AgentPool::is_agent_healthy(std::string_view agent_id) const {
  return core_->healthy(agent_id);
}

std::optional<bool> AgentPool::is_reverse_agent(std::string_view agent_id) const {
  return core_->is_reverse(agent_id);
}

// --- calls -----------------------------------------------------------------------------------------------------------

AgentPool::Prepared AgentPool::prepare(std::string_view agent_id, std::string_view correlation_id,
                                       const messages::RequestHeaders& event, CallOptions options) {
  return Prepared(
      core_->prepare(agent_id, correlation_id, event, CallKind::request_headers, false, std::move(options)).get());
}

AgentPool::Prepared AgentPool::prepare(std::string_view agent_id, std::string_view correlation_id,
                                       const messages::RequestBodyChunk& event, CallOptions options) {
  return Prepared(
      core_->prepare(agent_id, correlation_id, event, CallKind::request_body_chunk, false, std::move(options)).get());
}

AgentPool::Prepared AgentPool::prepare(std::string_view agent_id, std::string_view correlation_id,
                                       const messages::ResponseHeaders& event, CallOptions options) {
  return Prepared(
      core_->prepare(agent_id, correlation_id, event, CallKind::response_headers, false, std::move(options)).get());
}

AgentPool::Prepared AgentPool::prepare(std::string_view agent_id, std::string_view correlation_id,
                                       const messages::ResponseBodyChunk& event, CallOptions options) {
  return Prepared(
      core_->prepare(agent_id, correlation_id, event, CallKind::response_body_chunk, event.is_last, std::move(options))
          .get());
}

AgentPool::Prepared AgentPool::prepare(std::string_view agent_id, std::string_view correlation_id,
                                       const messages::WebSocketFrame& event, CallOptions options) {
  return Prepared(
      core_->prepare(agent_id, correlation_id, event, CallKind::websocket_frame, false, std::move(options)).get());
}

AgentPool::Prepared AgentPool::prepare(std::string_view agent_id, std::string_view correlation_id,
                                       const messages::GuardrailInspect& event, CallOptions options) {
  return Prepared(
      core_->prepare(agent_id, correlation_id, event, CallKind::guardrail, false, std::move(options)).get());
}

AgentPool::Prepared AgentPool::prepare(std::string_view agent_id, std::string_view correlation_id,
                                       const messages::RequestComplete& event, CallOptions options) {
  return Prepared(
      core_->prepare(agent_id, correlation_id, event, CallKind::request_complete, true, std::move(options)).get());
}

void AgentPool::start_call(Prepared call, ReplyHandler handler) {
  core_->start(internal::CallPtr(call.get()), std::move(handler));
}

Result<std::size_t> AgentPool::cancel_request(const std::string& agent_id, const std::string& correlation_id,
                                              messages::CancelReason reason) {
  return core_->cancel_request(agent_id, correlation_id, reason);
}

std::size_t AgentPool::cancel_all(messages::CancelReason reason) {
  return core_->cancel_all(reason);
}

// --- affinity and sticky sessions ------------------------------------------------------------------------------------

std::size_t AgentPool::clear_correlation_affinity(std::string_view correlation_id) {
  return core_->clear_affinity(correlation_id);
}

std::size_t AgentPool::correlation_affinity_count() const {
  return core_->affinity_count();
}

Result<> AgentPool::create_sticky_session(const std::string& session, std::string_view agent_id) {
  return core_->create_session(session, agent_id);
}

bool AgentPool::refresh_sticky_session(std::string_view session) {
  return core_->refresh_session(session);
}

bool AgentPool::has_sticky_session(std::string_view session) {
  return core_->refresh_session(session);
}

bool AgentPool::clear_sticky_session(std::string_view session) {
  return core_->clear_session(session);
}

std::size_t AgentPool::sticky_session_count() const {
  return core_->session_count();
}

std::optional<std::string> AgentPool::sticky_session_agent(std::string_view session) const {
  return core_->session_agent(session);
}

std::size_t AgentPool::cleanup_expired_sessions() {
  return core_->expire_sessions();
}

// --- configuration ---------------------------------------------------------------------------------------------------

Result<std::string> AgentPool::push_config_to_agent(std::string_view agent_id, AgentConfig config) {
  return core_->push_config(agent_id, std::move(config));
}

std::vector<std::string> AgentPool::push_config_to_all(const AgentConfig& config) {
  return core_->push_config_to_all(config);
}

bool AgentPool::acknowledge_config_push(std::string_view push_id, bool accepted, std::string_view error) {
  return core_->acknowledge_push(push_id, accepted, error);
}

std::optional<PushResult> AgentPool::config_push(std::string_view push_id) const {
  return core_->push_result(push_id);
}

std::vector<PushResult> AgentPool::config_pushes() const {
  return core_->push_results();
}

// --- figures and life ------------------------------------------------------------------------------------------------

std::uint64_t AgentPool::total_requests() const {
  return core_->metrics().requests.load(std::memory_order_relaxed);
}

std::uint64_t AgentPool::total_errors() const {
  return core_->metrics().errors.load(std::memory_order_relaxed);
}

const ProtocolMetrics& AgentPool::protocol_metrics() const {
  return core_->metrics();
}

const MetricsCollector& AgentPool::metrics_collector() const {
  return core_->collector();
}

std::string AgentPool::export_prometheus(std::string_view prefix) const {
  return core_->metrics().to_prometheus(prefix) + core_->collector().export_prometheus();
}

MaintenanceReport AgentPool::maintain() {
  return core_->maintain();
}

void AgentPool::start_maintenance() {
  core_->start_maintenance();
}

void AgentPool::close(PoolDone done) {
  core_->close(std::move(done));
}

boost::asio::any_io_executor AgentPool::get_executor() const {
  return core_->executor();
}

const AgentPoolOptions& AgentPool::options() const {
  return core_->options();
}

}  // namespace sharingbus::connector
