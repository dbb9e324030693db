#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sharingbus::connector::internal {

/// A session token as existing clients can read it: `base64url(JSON {"exp", "sub"}) "." base64url(32 random bytes)`,
/// unpadded (protocol-connector G12). Empty when the system has no random bytes to give. Any thread.
[[nodiscard]] std::string make_session_token(std::string_view address, std::int64_t expires_unix_seconds);

/// RFC 4648 §5 without padding.
[[nodiscard]] std::string base64url(std::string_view bytes);

}  // namespace sharingbus::connector::internal
