#pragma once

#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "transport/messages/connector_messages.hpp"

/// The connector protocol's wire form: one serialized `StreamMessage` of `proto/matrix/connectors/v1`, the same over
/// gRPC and inside WebSocket frames. Size limits belong to the link, which knows its peer; this codec accepts what
/// Protobuf can represent, 2 GiB. Decoding and encoding may be called by any thread.
namespace sharingbus::transport {

/// More task types in one RegisterRequest are refused: an empty one is two bytes on the wire and some 300 in memory.
inline constexpr int kTaskTypesMax = 4096;

/// Decodes one serialized StreamMessage.
///
/// Fields that this version does not know are skipped. An unknown kind of message and an empty one are answers, not
/// errors: both become `messages::UnknownMessage`. Enum values that nobody here knows are kept.
///
/// Errors: `errc::malformed_frame` for bytes that are no Protobuf, for a kind of message with the wrong wire type, for
/// text that is not UTF-8 and for more than `kTaskTypesMax` task types; the message says where, as far as that can be
/// told. Bytes never make it throw; only running out of memory does.
[[nodiscard]] Result<messages::ConnectorMessage> decode_connector_message(std::string_view bytes);

/// Serializes `message`: fields by number, map entries by key, so equal messages give equal bytes.
///
/// Text that is not UTF-8 is repaired with U+FFFD, since peers end the whole stream over one bad byte, and such text
/// comes out of connectors' error strings. `UnknownMessage` becomes an empty message, or one empty field of its
/// number. A message beyond 2 GiB gives empty bytes.
[[nodiscard]] std::string encode_connector_message(const messages::ConnectorMessage& message);
/// The same of one that is not in a variant yet.
[[nodiscard]] std::string encode_connector_message(const messages::ExecuteResponse& message);

/// Silences Protobuf's own log for the whole process. It writes a line to stderr for each text that is not UTF-8, which
/// a peer can send as often as it likes; the same is in our `Error`. For `main`, before it starts threads.
void mute_protobuf_log();

}  // namespace sharingbus::transport
