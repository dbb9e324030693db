#pragma once

#include <boost/system/result.hpp>
#include <stdexcept>

#include "bus/base/error.hpp"

namespace sharingbus {

/// A value or an `Error`: what every synchronous call that can fail returns. `value()` on an error throws
/// `std::runtime_error` with the error's text; ask `has_value()` first.
template <class T = void>
using Result = boost::system::result<T, Error>;

/// Found by Boost's result when `value()` is called on an error.
[[noreturn]] inline void throw_exception_from_error(const Error& error, const boost::source_location&) {
  throw std::runtime_error(to_string(error));
}

}  // namespace sharingbus
