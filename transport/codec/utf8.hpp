#pragma once

#include <string>
#include <string_view>

namespace sharingbus::transport {

/// Returns `text` with every ill-formed UTF-8 sequence replaced by U+FFFD; well-formed text is returned as it is.
///
/// Overlong forms, surrogates and values above U+10FFFF are ill-formed, as peers see them. One replacement stands for
/// one maximal prefix of a well-formed sequence, as browsers do it. Any thread.
[[nodiscard]] std::string to_valid_utf8(std::string_view text);

/// True when `text` is well-formed UTF-8. Any thread.
[[nodiscard]] bool is_valid_utf8(std::string_view text) noexcept;

}  // namespace sharingbus::transport
