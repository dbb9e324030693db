#include "connector/agent/agent_server.hpp"

#include <stdexcept>
#include <utility>

#include "connector/agent/internal/agent_server_core.hpp"

namespace sharingbus::connector {

std::string_view to_string(AgentOutcome outcome) noexcept {
  switch (outcome) {
    case AgentOutcome::allowed:
      return "allowed";
    case AgentOutcome::blocked:
      return "blocked";
    case AgentOutcome::redirected:
      return "redirected";
    case AgentOutcome::challenged:
      return "challenged";
    case AgentOutcome::accepted:
      return "accepted";
    case AgentOutcome::refused:
      return "refused";
    case AgentOutcome::failed:
      return "failed";
    case AgentOutcome::dropped:
      break;
  }
  return "dropped";
}

AgentServer::AgentServer(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                         std::shared_ptr<AgentHandler> handler, AgentServerOptions options)
    : bus_(bus), core_([&] {
        if (const auto valid = options.validate(); !valid) {
          throw std::invalid_argument("AgentServerOptions: " + valid.error().message);
        }
        if (!handler) throw std::invalid_argument("AgentServer needs a handler");
        return std::make_shared<internal::AgentServerCore>(std::move(executor), bus, timers, std::move(handler),
                                                           std::move(options));
      }()) {
  core_->start(bus);
}

AgentServer::~AgentServer() {
  core_->abandon();
}

transport::ListenerOptions AgentServer::make_listener_options(transport::AgentCarrier carrier, AgentMethod method) {
  return core_->make_listener_options(bus_, carrier, method);
}

Result<transport::Endpoint> AgentServer::serve(std::unique_ptr<transport::Listener> listener) {
  return core_->serve(std::move(listener));
}

Result<> AgentServer::register_with(std::unique_ptr<transport::Dialer> dialer, ReverseOptions options) {
  return core_->register_with(bus_, std::move(dialer), std::move(options));
}

void AgentServer::set_paused(bool paused) {
  core_->set_paused(paused);
}

std::size_t AgentServer::connection_count() const {
  return core_->connection_count();
}

void AgentServer::close(Duration drain, std::function<void()> done) {
  core_->close(drain, std::move(done));
}

}  // namespace sharingbus::connector
