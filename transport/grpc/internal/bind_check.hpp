#pragma once

#include "bus/base/result.hpp"
#include "transport/endpoint.hpp"

namespace sharingbus::transport::internal {

/// Whether `endpoint` can be bound now, and else why not, which gRPC does not tell: `address_in_use` or
/// `invalid_endpoint`, naming it. Resolves host names, so it may block.
[[nodiscard]] Result<> check_bind(const Endpoint& endpoint);

}  // namespace sharingbus::transport::internal
