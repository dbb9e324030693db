#include "connector/gateway/gateway_options.hpp"

#include <string>
#include <string_view>

namespace sharingbus::connector {
namespace {

constexpr std::size_t kMaxWindow = 1'000'000;

Error invalid(std::string_view field, std::string_view rule) {
  return {errc::invalid_argument, std::string(field) + " must be " + std::string(rule)};
}

}  // namespace

Result<> GatewayOptions::validate() const {
  if (heartbeat_interval <= Duration::zero()) return invalid("heartbeat_interval", "above 0");
  if (session_timeout <= Duration::zero()) return invalid("session_timeout", "above 0");
  if (register_timeout <= Duration::zero()) return invalid("register_timeout", "above 0");
  if (session_token_lifetime < std::chrono::seconds(1)) return invalid("session_token_lifetime", "at least 1 s");
  if (duplicates != DuplicatePolicy::replace_old && duplicates != DuplicatePolicy::refuse_new) {
    return invalid("duplicates", "replace_old or refuse_new");
  }
  if (max_sessions == 0) return invalid("max_sessions", "at least 1");
  if (max_registrations_per_tenant == 0) return invalid("max_registrations_per_tenant", "at least 1");
  if (max_registrations_per_stream == 0) return invalid("max_registrations_per_stream", "at least 1");
  if (max_register_bytes == 0) return invalid("max_register_bytes", "at least 1");
  if (max_pending == 0) return invalid("max_pending", "at least 1");
  if (max_pending_per_session == 0) return invalid("max_pending_per_session", "at least 1");
  if (max_invokes_per_session == 0) return invalid("max_invokes_per_session", "at least 1");
  if (window.requests == 0) return invalid("window.requests", "at least 1");
  if (window.controls == 0) return invalid("window.controls", "at least 1");
  if (std::size_t{window.requests} + window.controls > kMaxWindow) {
    return invalid("window", "at most 1000000 messages in all");
  }
  return {};
}

}  // namespace sharingbus::connector
