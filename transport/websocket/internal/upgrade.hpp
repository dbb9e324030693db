#pragma once

#include <string>
#include <string_view>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::transport::internal {

/// Why a server did not upgrade: what its answer's status means, with its own words.
[[nodiscard]] Error refusal(unsigned status, std::string_view reason, std::string_view body);
/// `Retry-After` in seconds, at most a day; 0 for a date, which needs both clocks to agree, and for anything else.
[[nodiscard]] Duration parse_retry_after(std::string_view text);

/// A listener's whole answer to a request that it does not upgrade. `retry_after`: 0 for none.
[[nodiscard]] std::string refusal_answer(const Error& error, Duration retry_after);

}  // namespace sharingbus::transport::internal
