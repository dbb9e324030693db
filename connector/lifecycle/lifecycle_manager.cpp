#include "connector/lifecycle/lifecycle_manager.hpp"

#include <stdexcept>

#include "connector/lifecycle/internal/lifecycle_core.hpp"

namespace sharingbus::connector {

LifecycleManager::LifecycleManager(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                                   LifecycleConfig config, DialerFactory factory)
    : core_([&] {
        if (const auto valid = config.validate(); !valid) throw std::invalid_argument(valid.error().message);
        return std::make_shared<Core>(std::move(executor), bus, timers, std::move(config), std::move(factory));
      }()) {}

LifecycleManager::~LifecycleManager() = default;

void LifecycleManager::start_service(ExtensionService service, ServicePolicy policy, StartDone done) {
  core_->post([service = std::move(service), policy = std::move(policy), done = std::move(done)](Core& core) mutable {
    core.start_service(std::move(service), std::move(policy), std::move(done));
  });
}

void LifecycleManager::stop_service(std::string id, Done done) {
  core_->post(
      [id = std::move(id), done = std::move(done)](Core& core) mutable { core.stop_service(id, std::move(done)); });
}

void LifecycleManager::handle_heartbeat(std::string id, Done done) {
  core_->post(
      [id = std::move(id), done = std::move(done)](Core& core) mutable { core.handle_heartbeat(id, std::move(done)); });
}

void LifecycleManager::handle_error(std::string id, std::string text, Done done) {
  core_->post([id = std::move(id), text = std::move(text), done = std::move(done)](Core& core) mutable {
    core.handle_error(id, text, std::move(done));
  });
}

void LifecycleManager::set_auto_reconnect(std::string id, bool on, Done done) {
  core_->post([id = std::move(id), on, done = std::move(done)](Core& core) mutable {
    core.set_auto_reconnect(id, on, std::move(done));
  });
}

void LifecycleManager::stop_all(Done done) {
  core_->post([done = std::move(done)](Core& core) mutable { core.stop_all(std::move(done)); });
}

void LifecycleManager::health_check(IdsDone done) {
  core_->post([done = std::move(done)](Core& core) mutable { core.health_check(std::move(done)); });
}

std::optional<ServiceStatus> LifecycleManager::get_status(const std::string& id) const {
  return core_->registry.status(id);
}

bool LifecycleManager::is_healthy(const std::string& id) const {
  return get_status(id) == ServiceStatus::running;
}

std::size_t LifecycleManager::count() const {
  return core_->registry.size();
}

const ServiceRegistry& LifecycleManager::registry() const {
  return core_->registry;
}

const LifecycleConfig& LifecycleManager::config() const {
  return core_->config;
}

boost::asio::any_io_executor LifecycleManager::get_executor() const {
  return core_->executor;
}

void LifecycleManager::close(Duration drain, std::function<void()> done) {
  core_->post([drain, done = std::move(done)](Core& core) mutable { core.close(drain, std::move(done)); });
}

}  // namespace sharingbus::connector
