#include "connector/lifecycle/service.hpp"

namespace sharingbus::connector {
namespace {

constexpr std::array<std::string_view, 6> kStatusNames{"starting", "running", "stopping",
                                                       "stopped",  "error",   "reconnecting"};
constexpr std::array<std::string_view, 4> kTransportNames{"stdio", "tcp", "unix", "websocket"};

}  // namespace

std::string_view to_string(ServiceStatus status) noexcept {
  const auto index = static_cast<std::size_t>(status);
  return index < kStatusNames.size() ? kStatusNames[index] : "unknown";
}

std::string_view to_string(ServiceTransport transport) noexcept {
  const auto index = static_cast<std::size_t>(transport);
  return index < kTransportNames.size() ? kTransportNames[index] : "unknown";
}

std::optional<ServiceTransport> parse_service_transport(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kTransportNames.size(); ++i) {
    if (kTransportNames[i] == name) return static_cast<ServiceTransport>(i);
  }
  return std::nullopt;
}

}  // namespace sharingbus::connector
