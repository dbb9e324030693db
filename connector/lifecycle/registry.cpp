#include "connector/lifecycle/registry.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

namespace sharingbus::connector {
namespace {

Error not_found(const std::string& id) {
  return {errc::not_found, "Service '" + id + "' not found"};
}
Error already_exists(const std::string& what) {
  return {errc::already_exists, "Service '" + what + "' already exists"};
}

}  // namespace

/// Records live in one map by order of registration, which every index points into.
class ServiceRegistry::Tables {
 public:
  struct Record {
    ExtensionService service;
    std::uint64_t order = 0;
    /// When it was registered, or last began to run.
    TimePoint since{};
  };
  using InOrder = std::map<std::uint64_t, Record*>;

  explicit Tables(const Clock& clock) : clock_(clock) {}

  Record* find(const std::string& id) const {
    const auto found = by_id_.find(id);
    return found != by_id_.end() ? found->second : nullptr;
  }
  Record* find_name(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found != by_name_.end() ? found->second : nullptr;
  }

  void add(ExtensionService service) {
    const std::uint64_t order = ++last_order_;
    Record& record = records_.emplace(order, Record{std::move(service), order, clock_.now()}).first->second;
    by_id_.emplace(record.service.id, &record);
    by_name_.emplace(record.service.name, &record);
    for (const ServiceCapability& capability : record.service.capabilities)
      by_capability_[capability.name].emplace(order, &record);
    with(record.service.status).emplace(order, &record);
  }

  ExtensionService remove(Record& record) {
    const std::uint64_t order = record.order;
    by_id_.erase(record.service.id);
    by_name_.erase(record.service.name);
    for (const ServiceCapability& capability : record.service.capabilities) {
      const auto found = by_capability_.find(capability.name);
      if (found == by_capability_.end()) continue;
      found->second.erase(order);
      if (found->second.empty()) by_capability_.erase(found);
    }
    with(record.service.status).erase(order);
    ExtensionService service = std::move(record.service);
    records_.erase(order);
    return service;
  }

  void set_status(Record& record, ServiceStatus status) {
    if (record.service.status == status) return;
    with(record.service.status).erase(record.order);
    record.service.status = status;
    with(status).emplace(record.order, &record);
    if (status == ServiceStatus::running) record.since = clock_.now();
  }

  [[nodiscard]] bool is_silent(const Record& record, TimePoint now) const {
    return now - record.service.last_heartbeat.value_or(record.since) > kSilenceMax;
  }
  [[nodiscard]] InOrder& with(ServiceStatus status) { return by_status_[static_cast<std::size_t>(status)]; }

  const Clock& clock_;
  mutable std::shared_mutex mutex_;
  std::uint64_t last_order_ = 0;
  std::map<std::uint64_t, Record> records_;
  std::unordered_map<std::string, Record*> by_id_;
  std::unordered_map<std::string, Record*> by_name_;
  std::unordered_map<std::string, InOrder> by_capability_;
  std::array<InOrder, kServiceStatuses.size()> by_status_;
};

namespace {

bool matches(const ExtensionService& service, const ServiceFilter& filter) {
  if (filter.status && service.status != *filter.status) return false;
  if (filter.transport && service.transport.type != *filter.transport) return false;
  return !filter.capability || std::any_of(service.capabilities.begin(), service.capabilities.end(),
                                           [&](const auto& has) { return has.name == *filter.capability; });
}

template <class Range, class ServiceOf>
std::vector<ExtensionService> select(const Range& range, const ServiceFilter& filter, ServiceOf service_of) {
  std::vector<ExtensionService> found;
  for (const auto& entry : range) {
    const ExtensionService& service = service_of(entry);
    if (matches(service, filter)) found.push_back(service);
  }
  return found;
}

}  // namespace

ServiceRegistry::ServiceRegistry(const Clock& clock) : tables_(std::make_unique<Tables>(clock)) {}
ServiceRegistry::~ServiceRegistry() = default;

Result<> ServiceRegistry::register_service(ExtensionService service) {
  if (service.id.empty()) return Error(errc::invalid_argument, "ExtensionService::id is empty");
  if (service.name.empty()) return Error(errc::invalid_argument, "ExtensionService::name is empty");
  const std::unique_lock lock(tables_->mutex_);
  if (tables_->find_name(service.name) != nullptr) return already_exists(service.name);
  if (tables_->find(service.id) != nullptr) return already_exists(service.id);
  tables_->add(std::move(service));
  return {};
}

Result<ExtensionService> ServiceRegistry::unregister_service(const std::string& id) {
  const std::unique_lock lock(tables_->mutex_);
  auto* record = tables_->find(id);
  if (record == nullptr) return not_found(id);
  return tables_->remove(*record);
}

std::optional<ExtensionService> ServiceRegistry::get(const std::string& id) const {
  const std::shared_lock lock(tables_->mutex_);
  const auto* record = tables_->find(id);
  return record != nullptr ? std::optional(record->service) : std::nullopt;
}

std::optional<ExtensionService> ServiceRegistry::get_by_name(const std::string& name) const {
  const std::shared_lock lock(tables_->mutex_);
  const auto* record = tables_->find_name(name);
  return record != nullptr ? std::optional(record->service) : std::nullopt;
}

std::optional<ServiceStatus> ServiceRegistry::status(const std::string& id) const {
  const std::shared_lock lock(tables_->mutex_);
  const auto* record = tables_->find(id);
  return record != nullptr ? std::optional(record->service.status) : std::nullopt;
}

std::vector<ExtensionService> ServiceRegistry::find_by_capability(const std::string& capability) const {
  return list({.capability = capability});
}

std::vector<ExtensionService> ServiceRegistry::list(const ServiceFilter& filter) const {
  const auto pointed_to = [](const auto& entry) -> const ExtensionService& { return entry.second->service; };
  const std::shared_lock lock(tables_->mutex_);
  const Tables::InOrder* smallest = nullptr;
  if (filter.capability) {
    const auto found = tables_->by_capability_.find(*filter.capability);
    if (found == tables_->by_capability_.end()) return {};
    smallest = &found->second;
  }
  if (filter.status) {
    const auto& having = tables_->with(*filter.status);
    if (smallest == nullptr || having.size() < smallest->size()) smallest = &having;
  }
  if (smallest != nullptr) return select(*smallest, filter, pointed_to);
  return select(tables_->records_, filter,
                [](const auto& entry) -> const ExtensionService& { return entry.second.service; });
}

std::size_t ServiceRegistry::size() const {
  const std::shared_lock lock(tables_->mutex_);
  return tables_->records_.size();
}

RegistryStats ServiceRegistry::stats() const {
  const std::shared_lock lock(tables_->mutex_);
  return {tables_->records_.size(), tables_->with(ServiceStatus::running).size(),
          tables_->with(ServiceStatus::stopped).size(), tables_->with(ServiceStatus::error).size(),
          tables_->with(ServiceStatus::reconnecting).size()};
}

Result<> ServiceRegistry::heartbeat(const std::string& id) {
  const std::unique_lock lock(tables_->mutex_);
  auto* record = tables_->find(id);
  if (record == nullptr) return not_found(id);
  record->service.last_heartbeat = tables_->clock_.now();
  return {};
}

Result<> ServiceRegistry::update_status(const std::string& id, ServiceStatus status) {
  const std::unique_lock lock(tables_->mutex_);
  auto* record = tables_->find(id);
  if (record == nullptr) return not_found(id);
  tables_->set_status(*record, status);
  return {};
}

Result<> ServiceRegistry::update_retry_count(const std::string& id, std::uint32_t count) {
  const std::unique_lock lock(tables_->mutex_);
  auto* record = tables_->find(id);
  if (record == nullptr) return not_found(id);
  record->service.retry_count = count;
  return {};
}

Result<> ServiceRegistry::update_auto_reconnect(const std::string& id, bool on) {
  const std::unique_lock lock(tables_->mutex_);
  auto* record = tables_->find(id);
  if (record == nullptr) return not_found(id);
  record->service.transport.auto_reconnect = on;
  return {};
}

std::vector<std::string> ServiceRegistry::silent() const {
  std::vector<std::string> ids;
  const std::shared_lock lock(tables_->mutex_);
  const TimePoint now = tables_->clock_.now();
  for (const auto& [order, record] : tables_->with(ServiceStatus::running)) {
    if (tables_->is_silent(*record, now)) ids.push_back(record->service.id);
  }
  return ids;
}

std::vector<std::string> ServiceRegistry::health_check() {
  std::vector<std::string> ids;
  const std::unique_lock lock(tables_->mutex_);
  const TimePoint now = tables_->clock_.now();
  std::vector<Tables::Record*> silent;
  for (const auto& [order, record] : tables_->with(ServiceStatus::running)) {
    if (tables_->is_silent(*record, now)) silent.push_back(record);
  }
  for (Tables::Record* record : silent) {
    tables_->set_status(*record, ServiceStatus::reconnecting);
    ids.push_back(record->service.id);
  }
  return ids;
}

}  // namespace sharingbus::connector
