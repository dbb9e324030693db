#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sharingbus::internal {

/// A piece of a filter's text.
struct FilterToken {
  enum class Kind : std::uint8_t { word, quoted, open, close, equal, unequal, end, bad };

  Kind kind = Kind::end;
  /// Where it begins, in bytes from 0.
  std::size_t at = 0;
  /// The word; the quoted bytes with escapes undone; what is wrong with a bad token.
  std::string text;

  [[nodiscard]] bool is_word(std::string_view word) const noexcept { return kind == Kind::word && text == word; }
};

/// Whether `c` may stand in a value without quotes.
[[nodiscard]] bool is_bare(char c) noexcept;

/// Cuts a filter's text into tokens.
class FilterLexer {
 public:
  explicit FilterLexer(std::string_view text) : text_(text) {}
  /// After the end, or a bad token, that same token again.
  FilterToken next();

 private:
  FilterToken quoted(std::size_t at);
  std::optional<char> unescape();

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace sharingbus::internal
