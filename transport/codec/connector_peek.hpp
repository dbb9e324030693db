#pragma once

#include <string_view>

/// What a serialized StreamMessage is, without decoding it whole; for those who only hand it on. Of bytes that are none
/// they say no. Any thread.
namespace sharingbus::transport {

[[nodiscard]] bool is_heartbeat_request(std::string_view frame);
[[nodiscard]] bool is_heartbeat_response(std::string_view frame);
/// The `request_id` of an ExecuteRequest that `encode_connector_message` has made, which begins with it; a part of
/// `frame`. Empty for all else.
[[nodiscard]] std::string_view execute_request_id(std::string_view frame);

}  // namespace sharingbus::transport
