#pragma once

#include <string>

#include "connector/registration/options.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector {

/// The register message of a registration (spec 2, Register message; protocol-connector §4.2, §4.3). The endpoint's
/// scheme tells transport and TLS, which the instance metadata names.
[[nodiscard]] transport::messages::RegisterRequest make_register_request(const Registration& registration,
                                                                         const std::string& session_token,
                                                                         const transport::Endpoint& endpoint);

}  // namespace sharingbus::connector
