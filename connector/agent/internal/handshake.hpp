#pragma once

#include <string>

#include "connector/agent/agent_server_options.hpp"
#include "transport/messages/agent_messages.hpp"

namespace sharingbus::connector::internal {

/// The answer to a proxy's handshake, its configuration aside. `over_uds`: the encoding is chosen, too.
///
/// Versions: 2, or none named at all. Encodings: the first offered that is spoken; published proxies before 0.6.45
/// write MessagePack that cannot be read in all cases, and get JSON.
[[nodiscard]] transport::agent_messages::HandshakeResponse negotiate(
    const transport::agent_messages::HandshakeRequest& request, const AgentServerOptions& options, bool over_uds);

}  // namespace sharingbus::connector::internal
