#include "transport/stream_publisher.hpp"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "bus/base/bounded.hpp"

namespace sharingbus::transport {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint32_t>::max();

constexpr std::uint64_t pack(std::uint64_t requests, std::uint64_t controls) {
  return requests << 32 | controls;
}
constexpr bool readable(std::uint64_t credit) {
  return credit >> 32 != 0 && (credit & kMax) != 0;
}

StreamIdentity identity_of(StreamOptions& options) {
  if (!options.routing.connector_uid) options.routing.connector_uid = random_uuid();
  return {options.routing, options.origin, options.id};
}

}  // namespace

Result<> StreamLimits::validate() const {
  if (max_inbound_bytes == 0) return Error(errc::invalid_argument, "max_inbound_bytes must be at least 1");
  if (max_outbound_bytes == 0) return Error(errc::invalid_argument, "max_outbound_bytes must be at least 1");
  if (outbound_capacity == 0) return Error(errc::invalid_argument, "outbound_capacity must be at least 1");
  return {};
}

StreamPublisher::StreamPublisher(StreamOptions options)
    : options_(std::move(options)),
      identity_(identity_of(options_)),
      credit_(pack(options_.initial_credit.requests, options_.initial_credit.controls)) {
  options_.connect_timeout = bounded(options_.connect_timeout);
}

template <class T>
void StreamPublisher::publish(T payload) {
  Routing routing = identity_.routing;
  routing.kind = kEventType<T>.kind;
  options_.publisher.publish(std::move(payload), std::move(routing), identity_.origin, identity_.source);
}

void StreamPublisher::opened(std::weak_ptr<Link> link, std::string peer, std::uint64_t listener) {
  peer_ = std::move(peer);
  publish(StreamOpened{std::move(link), peer_, listener});
}

Result<> StreamPublisher::frame(std::string_view bytes) {
  auto message = take(bytes);
  if (!message) return std::move(message).error();
  if (!options_.publisher.publish(*std::move(message)).accepted()) return Error(errc::closed, "the bus is closed");
  return {};
}

Result<> StreamPublisher::frame(std::string_view bytes, Batch& batch) {
  auto message = take(bytes);
  if (!message) return std::move(message).error();
  batch.events_.at(batch.size_++) = *std::move(message);
  return {};
}

Result<EventDraft> StreamPublisher::take(std::string_view bytes) {
  if (bytes.size() > options_.limits.max_inbound_bytes) {
    return Error(errc::message_too_large, "message of " + std::to_string(bytes.size()) + " bytes from " + peer_ +
                                              " exceeds the limit of " +
                                              std::to_string(options_.limits.max_inbound_bytes));
  }
  auto decoded = options_.decoder->decode(bytes, identity_);
  if (!decoded) return std::move(decoded).error();
  // Counted before it is published, so that whoever sees the event sees it counted.
  frames_received_.fetch_add(1, std::memory_order_relaxed);
  bytes_received_.fetch_add(bytes.size(), std::memory_order_relaxed);
  credit_.fetch_sub(decoded->frame_class == FrameClass::request ? pack(1, 0) : pack(0, 1), std::memory_order_acq_rel);
  return std::move(decoded->event);
}

Result<> StreamPublisher::publish(Batch& batch) {
  const std::size_t size = std::exchange(batch.size_, 0);
  if (options_.publisher.publish_batch(std::span(batch.events_).first(size)).accepted == size) return {};
  return Error(errc::closed, "the bus is closed");
}

void StreamPublisher::writable() {
  publish(StreamWritable{});
}

void StreamPublisher::going_away() {
  publish(StreamGoingAway{});
}

void StreamPublisher::closed(Error error, Duration retry_after) {
  publish(StreamClosed{std::move(error), peer_, stats(), retry_after});
}

bool StreamPublisher::grant(Credit credit) noexcept {
  std::uint64_t before = credit_.load(std::memory_order_relaxed);
  std::uint64_t after = 0;
  do {
    after = pack(std::min((before >> 32) + credit.requests, kMax), std::min((before & kMax) + credit.controls, kMax));
  } while (!credit_.compare_exchange_weak(before, after, std::memory_order_acq_rel, std::memory_order_relaxed));
  return !readable(before) && readable(after);
}

bool StreamPublisher::may_read() const noexcept {
  return readable(credit_.load(std::memory_order_acquire));
}

void StreamPublisher::sent(std::size_t bytes) noexcept {
  frames_sent_.fetch_add(1, std::memory_order_relaxed);
  bytes_sent_.fetch_add(bytes, std::memory_order_relaxed);
}

LinkStats StreamPublisher::stats() const noexcept {
  return {frames_sent_.load(std::memory_order_relaxed), bytes_sent_.load(std::memory_order_relaxed),
          frames_received_.load(std::memory_order_relaxed), bytes_received_.load(std::memory_order_relaxed)};
}

}  // namespace sharingbus::transport
