#include "transport/websocket/internal/close_codes.hpp"

#include <algorithm>
#include <array>
#include <chrono>

#include "transport/codec/utf8.hpp"

namespace sharingbus::transport::internal {
namespace {

struct ToCode {
  errc error;
  std::uint16_t code;
};
/// All others are 1011, an error of this side's.
constexpr std::array kToCode{
    ToCode{errc::closed, 1001},
    ToCode{errc::cancelled, 1001},
    ToCode{errc::protocol_violation, 1002},
    ToCode{errc::unimplemented, 1003},
    ToCode{errc::malformed_frame, 1007},
    ToCode{errc::rejected, 1008},
    ToCode{errc::unauthenticated, 1008},
    ToCode{errc::already_exists, 1008},
    ToCode{errc::message_too_large, 1009},
    ToCode{errc::capacity_exceeded, 1013},
    ToCode{errc::timed_out, 1008},
};

struct FromCode {
  std::uint16_t code;
  errc error;
  std::string_view text;
  Duration retry_after{};
};
/// The waits are what the registry of close codes asks for after a restart (5 to 30 s), and the same for "later".
constexpr std::array kFromCode{
    FromCode{1001, errc::stream_failed, "going away"},
    FromCode{1002, errc::protocol_violation, "protocol error"},
    FromCode{1003, errc::unimplemented, "data of a kind that it does not take"},
    FromCode{1007, errc::malformed_frame, "inconsistent data"},
    FromCode{1008, errc::rejected, "policy violation"},
    FromCode{1009, errc::message_too_large, "message too big"},
    FromCode{1011, errc::stream_failed, "internal error"},
    FromCode{1012, errc::stream_failed, "service restart", std::chrono::seconds(5)},
    FromCode{1013, errc::capacity_exceeded, "try again later", std::chrono::seconds(5)},
};

constexpr std::size_t kMostText = 123;

}  // namespace

std::uint16_t close_code_of(const Error& error) noexcept {
  const auto* row =
      std::find_if(kToCode.begin(), kToCode.end(), [&](const ToCode& each) { return error.is(each.error); });
  return row != kToCode.end() ? row->code : 1011;
}

std::string close_text_of(const Error& error) {
  std::string text = to_string(error);
  if (!is_valid_utf8(text)) return {};
  if (text.size() <= kMostText) return text;
  std::size_t size = kMostText;
  // Not inside a character.
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80)
    --size;
  text.resize(size);
  return text;
}

CloseMeaning meaning_of(std::uint16_t code, std::string_view reason, std::string_view peer) {
  if (code == kNormalClose || code == kNoCloseCode) return {};
  const auto* row =
      std::find_if(kFromCode.begin(), kFromCode.end(), [&](const FromCode& each) { return each.code == code; });
  const bool known = row != kFromCode.end();
  std::string text(peer);
  text += ": the peer closed with " + std::to_string(code);
  if (known) text.append(", ").append(row->text);
  if (!reason.empty()) text.append(": ").append(reason);
  return {Error(known ? row->error : errc::stream_failed, std::move(text)), known ? row->retry_after : Duration{}};
}

}  // namespace sharingbus::transport::internal
