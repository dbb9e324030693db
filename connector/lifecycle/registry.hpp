#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "connector/lifecycle/service.hpp"

namespace sharingbus::connector {

/// Which services `list` gives; what is not set does not matter, what is set must all hold.
struct ServiceFilter {
  std::optional<ServiceStatus> status{};
  /// Name of a capability.
  std::optional<std::string> capability{};
  std::optional<ServiceTransport> transport{};
};

struct RegistryStats {
  std::size_t total = 0;
  std::size_t running = 0;
  std::size_t stopped = 0;
  std::size_t errors = 0;
  std::size_t reconnecting = 0;

  bool operator==(const RegistryStats&) const = default;
};

/// The services that are known, with an index by id, name, capability and status. It keeps what it is told and decides
/// nothing: which change of status is legal is up to the manager (service_fsm.hpp). (Spec 5, Data.)
///
/// All functions: any thread. What they return are copies. Nothing is published.
class ServiceRegistry {
 public:
  /// A running service silent for longer than this fails the health check.
  static constexpr Duration kSilenceMax = std::chrono::seconds(60);

  /// `clock` must outlive it.
  explicit ServiceRegistry(const Clock& clock);
  ~ServiceRegistry();
  ServiceRegistry(const ServiceRegistry&) = delete;
  ServiceRegistry& operator=(const ServiceRegistry&) = delete;

  /// Errors: `already_exists` (the name, or the id), `invalid_argument` (no name or no id). O(log n).
  Result<> register_service(ExtensionService service);
  /// Gives back what was registered. Errors: `not_found`.
  Result<ExtensionService> unregister_service(const std::string& id);

  [[nodiscard]] std::optional<ExtensionService> get(const std::string& id) const;
  [[nodiscard]] std::optional<ExtensionService> get_by_name(const std::string& name) const;
  [[nodiscard]] std::optional<ServiceStatus> status(const std::string& id) const;
  /// Services that have a capability of this name, in the order in which they were registered. O(matches).
  [[nodiscard]] std::vector<ExtensionService> find_by_capability(const std::string& capability) const;
  /// In the order in which they were registered. O(services that the most selective index names).
  [[nodiscard]] std::vector<ExtensionService> list(const ServiceFilter& filter = {}) const;
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] RegistryStats stats() const;

  /// The service gave a sign of life now. Errors: `not_found`.
  Result<> heartbeat(const std::string& id);
  /// Errors: `not_found`.
  Result<> update_status(const std::string& id, ServiceStatus status);
  /// Errors: `not_found`.
  Result<> update_retry_count(const std::string& id, std::uint32_t count);
  /// Sets `TransportConfig::auto_reconnect`. Errors: `not_found`.
  Result<> update_auto_reconnect(const std::string& id, bool on);

  /// Running services silent for longer than `kSilenceMax`; their ids, in the order in which they were registered. A
  /// service that never sent a heartbeat counts from when it was registered or began to run. O(running).
  [[nodiscard]] std::vector<std::string> silent() const;
  /// The same, and sets them to `reconnecting`.
  std::vector<std::string> health_check();

 private:
  class Tables;
  const std::unique_ptr<Tables> tables_;
};

}  // namespace sharingbus::connector
