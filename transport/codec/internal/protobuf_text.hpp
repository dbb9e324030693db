#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <google/protobuf/message.h>

#include "bus/base/error.hpp"

// What the Protobuf codecs share: bytes of messages, and words for what is wrong with them.
namespace sharingbus::transport::internal {

/// Protobuf's own limit.
[[nodiscard]] bool fits_protobuf(std::string_view bytes) noexcept;

/// `what: <detail>` for `bytes` that are no message.
[[nodiscard]] Error malformed(std::string_view what, std::string_view bytes, const std::string& detail);

/// Why parsing into `partial`, which has what came before the failure, failed. `what` names the protocol.
[[nodiscard]] Error parse_failure(std::string_view what, std::string_view bytes,
                                  const google::protobuf::Message& partial);

/// Of an envelope in which no kind of message is set: the first field number that it has, 0 for none at all; an error
/// when that is one of a known kind with the wrong wire type, since then the peer is broken and not newer.
struct UnsetKind {
  std::uint32_t number = 0;
  std::optional<Error> error;
};
[[nodiscard]] UnsetKind unset_kind(std::string_view what, std::string_view bytes,
                                   const google::protobuf::Message& envelope);

/// Fields by number, map entries by key. Empty when the message exceeds Protobuf's limit.
[[nodiscard]] std::string serialize(const google::protobuf::Message& message);

}  // namespace sharingbus::transport::internal
