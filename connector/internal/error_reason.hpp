#pragma once

#include <string>

#include "bus/base/error.hpp"

namespace sharingbus::connector::internal {

/// What metrics count an error under: the name of its `errc`, `none` for good order, `other` for what is not ours.
inline std::string reason_of(const Error& error) {
  if (!error || error.is(errc::stream_closed)) return "none";
  if (error.code.category() != error_category()) return "other";
  return std::string(to_string(static_cast<errc>(error.code.value())));
}

}  // namespace sharingbus::connector::internal
