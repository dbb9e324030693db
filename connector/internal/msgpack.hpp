#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <boost/json/value.hpp>

#include "bus/base/result.hpp"

namespace sharingbus::connector::internal {

/// One MessagePack value that JSON can say. Errors: `deserialization_failed`, naming what and where.
[[nodiscard]] Result<boost::json::value> from_msgpack(std::string_view bytes, std::size_t max_depth);
/// The value is one that JSON can say. Keys come out in their order of bytes.
[[nodiscard]] std::string to_msgpack(const boost::json::value& value);

}  // namespace sharingbus::connector::internal
