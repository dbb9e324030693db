#pragma once

#include <string_view>

#include <grpcpp/support/status.h>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::transport::internal {

/// What a peer is told when this side ends a stream with `error`. `stream_closed` and success are OK.
[[nodiscard]] grpc::Status to_status(const Error& error);

/// What a status other than OK from a peer means; the text is kept, with `peer` before it. `opened`: whether the stream
/// was open when it came.
[[nodiscard]] Error from_status(const grpc::Status& status, bool opened, std::string_view peer);

/// The value of `grpc-retry-pushback-ms`; 0 for what is no number, or says not to come back at all.
[[nodiscard]] Duration pushback_of(std::string_view text) noexcept;

}  // namespace sharingbus::transport::internal
