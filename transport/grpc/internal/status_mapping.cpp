#include "transport/grpc/internal/status_mapping.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>

namespace sharingbus::transport::internal {
namespace {

struct ToStatus {
  errc error;
  grpc::StatusCode status;
};
constexpr std::array kToStatus{
    ToStatus{errc::invalid_argument, grpc::INVALID_ARGUMENT},
    ToStatus{errc::invalid_endpoint, grpc::INVALID_ARGUMENT},
    ToStatus{errc::invalid_state, grpc::FAILED_PRECONDITION},
    ToStatus{errc::already_running, grpc::FAILED_PRECONDITION},
    ToStatus{errc::already_exists, grpc::ALREADY_EXISTS},
    ToStatus{errc::not_found, grpc::NOT_FOUND},
    ToStatus{errc::address_in_use, grpc::UNAVAILABLE},
    ToStatus{errc::connection_refused, grpc::UNAVAILABLE},
    ToStatus{errc::connect_timeout, grpc::DEADLINE_EXCEEDED},
    ToStatus{errc::stream_closed, grpc::OK},
    ToStatus{errc::stream_failed, grpc::ABORTED},
    ToStatus{errc::malformed_frame, grpc::INVALID_ARGUMENT},
    ToStatus{errc::protocol_violation, grpc::FAILED_PRECONDITION},
    ToStatus{errc::message_too_large, grpc::RESOURCE_EXHAUSTED},
    ToStatus{errc::capacity_exceeded, grpc::RESOURCE_EXHAUSTED},
    ToStatus{errc::unimplemented, grpc::UNIMPLEMENTED},
    ToStatus{errc::unauthenticated, grpc::UNAUTHENTICATED},
    ToStatus{errc::rejected, grpc::PERMISSION_DENIED},
    ToStatus{errc::timed_out, grpc::DEADLINE_EXCEEDED},
    ToStatus{errc::cancelled, grpc::CANCELLED},
    ToStatus{errc::closed, grpc::UNAVAILABLE},
    ToStatus{errc::deserialization_failed, grpc::INVALID_ARGUMENT},
    ToStatus{errc::serialization_failed, grpc::INTERNAL},
    ToStatus{errc::unsupported_encoding, grpc::INVALID_ARGUMENT},
    ToStatus{errc::handler_failed, grpc::INTERNAL},
    ToStatus{errc::reconnect_failed, grpc::UNAVAILABLE},
    ToStatus{errc::internal, grpc::INTERNAL},
};
static_assert(kToStatus.size() == static_cast<std::size_t>(errc::internal), "every errc has a row");

struct FromStatus {
  grpc::StatusCode status;
  errc opened;
  errc opening;
};
/// Cancelled and internal are about us where they are an errc; from a peer they are just a stream that broke.
constexpr std::array kFromStatus{
    FromStatus{grpc::CANCELLED, errc::stream_failed, errc::stream_failed},
    FromStatus{grpc::UNKNOWN, errc::stream_failed, errc::stream_failed},
    FromStatus{grpc::INVALID_ARGUMENT, errc::malformed_frame, errc::malformed_frame},
    FromStatus{grpc::DEADLINE_EXCEEDED, errc::timed_out, errc::timed_out},
    FromStatus{grpc::NOT_FOUND, errc::not_found, errc::not_found},
    FromStatus{grpc::ALREADY_EXISTS, errc::already_exists, errc::already_exists},
    FromStatus{grpc::PERMISSION_DENIED, errc::rejected, errc::rejected},
    FromStatus{grpc::RESOURCE_EXHAUSTED, errc::capacity_exceeded, errc::capacity_exceeded},
    FromStatus{grpc::FAILED_PRECONDITION, errc::protocol_violation, errc::protocol_violation},
    FromStatus{grpc::ABORTED, errc::stream_failed, errc::stream_failed},
    FromStatus{grpc::OUT_OF_RANGE, errc::stream_failed, errc::stream_failed},
    FromStatus{grpc::UNIMPLEMENTED, errc::unimplemented, errc::unimplemented},
    FromStatus{grpc::INTERNAL, errc::stream_failed, errc::stream_failed},
    FromStatus{grpc::UNAVAILABLE, errc::stream_failed, errc::connection_refused},
    FromStatus{grpc::DATA_LOSS, errc::stream_failed, errc::stream_failed},
    FromStatus{grpc::UNAUTHENTICATED, errc::unauthenticated, errc::unauthenticated},
};

/// How gRPC words it; ours says the same, so that both can be told from other exhausted resources.
constexpr std::string_view kTooLarge = "larger than max";
/// Status texts travel as a header, which peers bound at 8 KiB, percent-encoded at worst.
constexpr std::size_t kMaxText = 1024;

}  // namespace

grpc::Status to_status(const Error& error) {
  if (!error) return grpc::Status::OK;
  const auto* row =
      std::find_if(kToStatus.begin(), kToStatus.end(), [&](const ToStatus& each) { return error.is(each.error); });
  const grpc::StatusCode code = row != kToStatus.end() ? row->status : grpc::UNKNOWN;
  if (code == grpc::OK) return grpc::Status::OK;
  std::string text = to_string(error);
  if (error.is(errc::message_too_large) && text.find(kTooLarge) == std::string::npos) {
    text.insert(0, "message larger than max: ");
  }
  if (text.size() > kMaxText) text.resize(kMaxText);
  return {code, std::move(text)};
}

Error from_status(const grpc::Status& status, bool opened, std::string_view peer) {
  const auto* row = std::find_if(kFromStatus.begin(), kFromStatus.end(),
                                 [&](const FromStatus& each) { return each.status == status.error_code(); });
  errc code = errc::stream_failed;
  if (row != kFromStatus.end()) code = opened ? row->opened : row->opening;
  const std::string& text = status.error_message();
  if (code == errc::capacity_exceeded && text.find(kTooLarge) != std::string::npos) code = errc::message_too_large;
  std::string message(peer);
  message += ": ";
  message +=
      text.empty() ? "status " + std::to_string(static_cast<int>(status.error_code())) + " without a text" : text;
  return {code, std::move(message)};
}

Duration pushback_of(std::string_view text) noexcept {
  std::uint32_t milliseconds = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), milliseconds);
  const bool whole = code == std::errc{} && end == text.data() + text.size();
  return whole ? std::chrono::milliseconds(milliseconds) : Duration::zero();
}

}  // namespace sharingbus::transport::internal
