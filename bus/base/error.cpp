#include "bus/base/error.hpp"

#include <array>

namespace sharingbus {
namespace {

struct Row {
  errc code;
  std::string_view name;
  const char* text;
  Reaction reaction;
};

constexpr std::array kRows{
    Row{errc::invalid_argument, "invalid_argument", "invalid argument", Reaction::give_up},
    Row{errc::invalid_endpoint, "invalid_endpoint", "invalid endpoint", Reaction::give_up},
    Row{errc::invalid_state, "invalid_state", "invalid state", Reaction::give_up},
    Row{errc::already_running, "already_running", "already running", Reaction::give_up},
    Row{errc::already_exists, "already_exists", "already exists", Reaction::give_up},
    Row{errc::not_found, "not_found", "not found", Reaction::give_up},
    Row{errc::address_in_use, "address_in_use", "address in use", Reaction::give_up},
    Row{errc::connection_refused, "connection_refused", "connection refused", Reaction::retry_with_backoff},
    Row{errc::connect_timeout, "connect_timeout", "connect timeout", Reaction::retry_with_backoff},
    Row{errc::stream_closed, "stream_closed", "stream closed by the peer", Reaction::retry_with_backoff},
    Row{errc::stream_failed, "stream_failed", "stream failed", Reaction::retry_with_backoff},
    Row{errc::malformed_frame, "malformed_frame", "malformed frame", Reaction::retry_with_backoff},
    Row{errc::protocol_violation, "protocol_violation", "protocol violation", Reaction::retry_with_backoff},
    Row{errc::message_too_large, "message_too_large", "message too large", Reaction::retry_with_backoff},
    Row{errc::capacity_exceeded, "capacity_exceeded", "capacity exceeded", Reaction::retry_with_backoff},
    Row{errc::unimplemented, "unimplemented", "not served by the peer", Reaction::give_up},
    Row{errc::unauthenticated, "unauthenticated", "not authenticated", Reaction::reauthenticate},
    Row{errc::rejected, "rejected", "rejected by the peer", Reaction::retry_with_backoff},
    Row{errc::timed_out, "timed_out", "timed out", Reaction::retry_with_backoff},
    Row{errc::cancelled, "cancelled", "cancelled", Reaction::give_up},
    Row{errc::closed, "closed", "closed", Reaction::give_up},
    Row{errc::deserialization_failed, "deserialization_failed", "payload does not decode", Reaction::give_up},
    Row{errc::serialization_failed, "serialization_failed", "result does not encode", Reaction::give_up},
    Row{errc::unsupported_encoding, "unsupported_encoding", "unsupported encoding", Reaction::give_up},
    Row{errc::reconnect_failed, "reconnect_failed", "reconnection failed", Reaction::give_up},
    Row{errc::handler_failed, "handler_failed", "handler failed", Reaction::give_up},
    Row{errc::internal, "internal", "internal error", Reaction::give_up},
};
static_assert(kRows.size() == static_cast<std::size_t>(errc::internal), "every errc has a row");

const Row* find_row(int value) noexcept {
  const auto index = static_cast<std::size_t>(value) - 1;
  return index < kRows.size() ? &kRows[index] : nullptr;
}

// Boost's own class has no virtual destructor on purpose; this one is never deleted through it.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
class Category final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "sharingbus"; }
  std::string message(int value) const override {
    const Row* row = find_row(value);
    return row != nullptr ? row->text : "unknown error";
  }
};
#pragma GCC diagnostic pop

}  // namespace

const boost::system::error_category& error_category() noexcept {
  static const Category category;
  return category;
}

boost::system::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

Reaction classify(const boost::system::error_code& code) noexcept {
  if (code.category() != error_category()) return Reaction::retry_with_backoff;
  const Row* row = find_row(code.value());
  return row != nullptr ? row->reaction : Reaction::give_up;
}

std::string to_string(const Error& error) {
  return error.message.empty() ? error.code.message() : error.message;
}

std::string_view to_string(errc code) noexcept {
  const Row* row = find_row(static_cast<int>(code));
  return row != nullptr ? row->name : "unknown";
}

}  // namespace sharingbus
