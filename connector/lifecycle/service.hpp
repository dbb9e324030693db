#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "bus/base/timer.hpp"
#include "bus/base/uuid.hpp"

/// What the registry and the manager know of a service. Values; spec 5, Data.
namespace sharingbus::connector {

enum class ServiceStatus : std::uint8_t { starting, running, stopping, stopped, error, reconnecting };
inline constexpr std::array kServiceStatuses{ServiceStatus::starting, ServiceStatus::running,
                                             ServiceStatus::stopping, ServiceStatus::stopped,
                                             ServiceStatus::error,    ServiceStatus::reconnecting};
/// The enumerator's name.
[[nodiscard]] std::string_view to_string(ServiceStatus status) noexcept;

/// How a service is reached. (`unix` is a macro of some compilers.)
enum class ServiceTransport : std::uint8_t { stdio, tcp, unix_socket, websocket };
/// `stdio`, `tcp`, `unix`, `websocket`.
[[nodiscard]] std::string_view to_string(ServiceTransport transport) noexcept;
/// The reverse; nothing for a name that is none.
[[nodiscard]] std::optional<ServiceTransport> parse_service_transport(std::string_view name) noexcept;

/// Something that a service can do.
struct ServiceCapability {
  std::string name{};
  std::string version{};
  boost::json::object config{};

  bool operator==(const ServiceCapability&) const = default;
};

/// Where a service is, or how it is started.
struct TransportConfig {
  ServiceTransport type = ServiceTransport::stdio;
  /// `tcp`: host. `unix`: path of the socket.
  std::string address{};
  std::uint16_t port = 0;
  /// `stdio`: the program, looked up in PATH, its arguments, what is added to its environment, and its folder.
  std::string command{};
  std::vector<std::string> args{};
  std::map<std::string, std::string> env{};
  std::string cwd{};
  /// For opening the transport, for the answer to each message of the greeting, and to a probe after a reconnect.
  Duration timeout = std::chrono::seconds(30);
  /// Off: the manager never reconnects this service.
  bool auto_reconnect = true;
  /// What the service asks for; the manager's own limit and interval govern.
  std::uint32_t max_retries = 3;
  Duration heartbeat_interval = std::chrono::seconds(30);

  bool operator==(const TransportConfig&) const = default;

  /// Names neither a command nor an address: nothing is opened and nothing probed, somebody else runs the service and
  /// reports its heartbeats and errors.
  [[nodiscard]] bool driven_from_outside() const noexcept { return command.empty() && address.empty(); }
};

struct ExtensionService {
  /// UUID text; what it is called by everywhere.
  std::string id = to_string(random_uuid());
  /// Unique within a registry.
  std::string name{};
  std::string version{};
  std::string description{};
  std::vector<ServiceCapability> capabilities{};
  TransportConfig transport{};
  std::map<std::string, std::string> metadata{};
  ServiceStatus status = ServiceStatus::starting;
  /// Nothing: none yet.
  std::optional<TimePoint> last_heartbeat{};
  /// Attempts of the reconnect that is under way.
  std::uint32_t retry_count = 0;

  bool operator==(const ExtensionService&) const = default;
};

/// One message of a service's greeting, see `ServicePolicy::greeting`.
struct GreetingMessage {
  std::string method{};
  std::optional<boost::json::value> params{};
  /// A notification has no answer to wait for.
  bool notification = false;

  bool operator==(const GreetingMessage&) const = default;
};

/// How the manager treats a service, beyond what the service says of itself.
struct ServicePolicy {
  /// Names of services that must run before this one is opened. They must have been started before it, so there are no
  /// circles.
  std::vector<std::string> depends_on{};
  /// Sent in this order whenever the transport was opened, each after the answer to the one before; any answer will do.
  /// For services that want to be initialised, such as language servers.
  std::vector<GreetingMessage> greeting{};
};

}  // namespace sharingbus::connector
