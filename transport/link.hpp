#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "bus/base/uuid.hpp"
#include "bus/event.hpp"

namespace sharingbus::transport {

/// How many more messages a link may read. A message costs one credit of its class, and a link reads on only while it
/// has both kinds, so that whatever arrives next has room with its receiver. This is what makes a request impossible
/// to lose: the receiver grants no more than its queue has room for.
struct Credit {
  /// Messages that start work (ExecuteRequest, InvokeRequest, …).
  std::uint32_t requests = 0;
  /// All others: heartbeats, answers, registration.
  std::uint32_t controls = 0;

  bool operator==(const Credit&) const = default;
};

enum class SendStatus : std::uint8_t {
  /// The link has it; it goes out in order unless the stream ends first.
  queued,
  /// The outbound queue is full: nothing was taken. One `StreamWritable` will follow when there is room again.
  full,
  /// Larger than the outbound limit: nothing was taken.
  too_large,
  /// The stream is closing or closed: nothing was taken.
  closed,
};

/// What went over a link. `frames_…` count whole messages.
struct LinkStats {
  std::uint64_t frames_sent = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t frames_received = 0;
  std::uint64_t bytes_received = 0;

  bool operator==(const LinkStats&) const = default;
};

/// One bidirectional stream of messages, dialled or accepted. What happens on it is published on the bus as
/// `StreamOpened`, the decoded messages, `StreamWritable`, maybe one `StreamGoingAway`, and exactly one `StreamClosed`,
/// after which nothing of this link follows; all carry the link's uid as `connector_uid` and its id as `source`.
///
/// All functions: any thread, never block. Owned by its dialer or listener until `StreamClosed` was published; others
/// hold it as long as they like, it answers `closed` then.
class Link {
 public:
  virtual ~Link() = default;

  /// The id that its events have as `BusEvent::source`.
  [[nodiscard]] virtual std::uint64_t id() const noexcept = 0;
  /// The uid that its events have as `connector_uid`.
  [[nodiscard]] virtual const Uuid& uid() const noexcept = 0;
  /// Queues one encoded message. Allowed before the stream is open: it then goes out first.
  virtual SendStatus send(std::string frame) = 0;
  /// Adds to what may be read.
  virtual void grant(Credit credit) = 0;
  /// No more will be sent: what is queued goes out, as the peer's credit allows, then the stream closes in good order
  /// when the peer does, which it does by itself once it has read everything. Until then this side goes on reading
  /// while it has credit; the first message that finds none is dropped, and all after it.
  virtual void finish() = 0;
  /// Ends the stream at once; `why` becomes the error of `StreamClosed`. Idempotent; the first reason stays. The peer
  /// sees an error. As with `finish`, it may see that only behind the messages that came before, and so, when it has no
  /// credit, not before it grants some.
  virtual void cancel(Error why) = 0;
  [[nodiscard]] virtual LinkStats stats() const = 0;
};

/// The stream is open in both directions. Published before any message of the link.
struct StreamOpened {
  static constexpr std::string_view event_name = "stream.opened";
  static constexpr EventKind event_kind = EventKind::stream;

  /// Empty when nobody owns it any more.
  std::weak_ptr<Link> link;
  /// The peer's address as the transport knows it.
  std::string peer;
  /// `Listener::id()` of the listener that accepted it, 0 for a dialled one.
  std::uint64_t listener = 0;
};

/// There is room to send again, after a `send` that answered `full`.
struct StreamWritable {
  static constexpr std::string_view event_name = "stream.writable";
  static constexpr EventKind event_kind = EventKind::stream;
};

/// The peer is about to leave: the stream goes on, but its connection takes no new ones and may end soon. Whoever is to
/// stay with that peer opens another stream, which gets another connection, before it gives this one up. At most once,
/// and only from transports whose peers say so beforehand (gRPC, by GOAWAY).
struct StreamGoingAway {
  static constexpr std::string_view event_name = "stream.going_away";
  static constexpr EventKind event_kind = EventKind::stream;
};

/// The stream is over, or never came to be.
struct StreamClosed {
  static constexpr std::string_view event_name = "stream.closed";
  static constexpr EventKind event_kind = EventKind::stream;

  /// Success: both sides finished in good order, this side first. `stream_closed`: the peer ended it in good order.
  /// `connection_refused`, `connect_timeout`: it never opened. Otherwise what broke it, or the reason of `cancel`.
  Error error;
  std::string peer;
  LinkStats stats;
  /// How long the peer asked not to be dialled again; 0: it did not.
  Duration retry_after{};
};

}  // namespace sharingbus::transport
