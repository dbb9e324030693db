#pragma once

#include <string>

#include "bus/base/result.hpp"
#include "connector/gateway/gateway.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector::internal {

/// The context key that counts how many invokes led to a request.
inline constexpr const char* kInvokeDepthKey = "x-invoke-depth";
/// An invoke from a request of this depth is refused.
inline constexpr unsigned kInvokeDepthMax = 5;

/// The execute that an invoke stands for, one deeper. Errors: `rejected` for one that is too deep already,
/// `invalid_argument` for a depth that is no number. Without a timeout it has 30 s.
[[nodiscard]] Result<ExecuteCall> to_execute_call(const transport::messages::InvokeRequest& invoke);

/// The answer to the invoke `request_id`.
[[nodiscard]] transport::messages::InvokeResponse to_invoke_response(std::string request_id, const Error& error,
                                                                     ExecuteReply reply);

}  // namespace sharingbus::connector::internal
