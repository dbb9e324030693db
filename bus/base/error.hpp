#pragma once

#include <boost/system/error_code.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sharingbus {

/// Everything that can go wrong because of the environment, a peer or a caller's choice. Adapters map foreign codes
/// (gRPC status, errno, WebSocket close codes) to one of these at their edge and nowhere else.
enum class errc {
  /// A value in an options struct, flag or argument is not usable; the message names it.
  invalid_argument = 1,
  /// An address or URL does not parse, or names a scheme nobody serves.
  invalid_endpoint,
  /// The operation needs another state, e.g. `add` after `run` has begun.
  invalid_state,
  /// `run` was called while running.
  already_running,
  /// Something of that identity exists already.
  already_exists,
  /// No such connector, session, subscription or service.
  not_found,
  /// The local address is taken.
  address_in_use,
  /// The peer refused, does not listen, or cannot be resolved or reached.
  connection_refused,
  /// No connection or no answer to opening a stream within the connect timeout.
  connect_timeout,
  /// The stream ended because the peer closed it in good order.
  stream_closed,
  /// The stream ended by a transport error; the message has the peer's own text.
  stream_failed,
  /// Bytes that are no message of the protocol.
  malformed_frame,
  /// A well-formed message that is not allowed at this point.
  protocol_violation,
  /// A message larger than the configured limit.
  message_too_large,
  /// A bounded queue, table or limit is full.
  capacity_exceeded,
  /// The peer does not serve what was asked for.
  unimplemented,
  /// The peer does not know us, or not any more.
  unauthenticated,
  /// The peer knows us and says no.
  rejected,
  /// A deadline passed.
  timed_out,
  /// Cancelled by this side.
  cancelled,
  /// The component is closing or closed.
  closed,
  /// A payload does not decode.
  deserialization_failed,
  /// A result does not encode.
  serialization_failed,
  /// A payload encoding that this side does not speak.
  unsupported_encoding,
  /// Every attempt to reconnect a service was used up.
  reconnect_failed,
  /// A user's handler failed or threw.
  handler_failed,
  /// Something that should not happen; the message says where.
  internal,
};

/// How a caller should react to an error.
enum class Reaction {
  /// The same call may succeed at once.
  retry_now,
  /// The same call may succeed later.
  retry_with_backoff,
  /// New credentials are needed first.
  reauthenticate,
  /// Repeating it will not help.
  give_up,
};

/// The category of `errc`; one object per process, so that categories compare by address.
[[nodiscard]] const boost::system::error_category& error_category() noexcept;

/// Found by ADL from `boost::system::error_code`.
[[nodiscard]] boost::system::error_code make_error_code(errc code) noexcept;

/// The reaction class of a code; codes of other categories are `retry_with_backoff`. O(1), any thread.
[[nodiscard]] Reaction classify(const boost::system::error_code& code) noexcept;

/// An `errc` with the text that a human needs: the message names the field, frame or peer.
/// A value; a default-constructed one means success.
struct Error {
  boost::system::error_code code;
  std::string message;

  Error() = default;
  Error(errc c, std::string text) : code(make_error_code(c)), message(std::move(text)) {}

  /// True when this is an error.
  explicit operator bool() const noexcept { return code.failed(); }
  [[nodiscard]] bool is(errc c) const noexcept { return code == make_error_code(c); }
  bool operator==(const Error&) const = default;
};

/// The message, or the code's own text where there is none.
[[nodiscard]] std::string to_string(const Error& error);

/// The enumerator's name, e.g. `connect_timeout`; stable, for logs and JSON.
[[nodiscard]] std::string_view to_string(errc code) noexcept;

}  // namespace sharingbus

namespace boost::system {
template <>
struct is_error_code_enum<sharingbus::errc> : std::true_type {};
}  // namespace boost::system
