#include "bus/internal/filter_lexer.hpp"

#include <algorithm>

namespace sharingbus::internal {
namespace {

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool is_bare(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-_.*>").find(c) != std::string_view::npos;
}

FilterToken FilterLexer::next() {
  using Kind = FilterToken::Kind;
  at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
  const std::size_t at = at_;
  if (at == text_.size()) return {Kind::end, at, {}};
  while (at_ < text_.size() && is_bare(text_[at_]))
    ++at_;
  if (at_ != at) return {Kind::word, at, std::string(text_.substr(at, at_ - at))};
  switch (text_[at_]) {
    case '"':
      return quoted(at);
    case '(':
      ++at_;
      return {Kind::open, at, {}};
    case ')':
      ++at_;
      return {Kind::close, at, {}};
    case '=':
      ++at_;
      return {Kind::equal, at, {}};
    case '!':
      if (text_.substr(at_, 2) != "!=") return {Kind::bad, at, "! must be followed by ="};
      at_ += 2;
      return {Kind::unequal, at, {}};
    default:
      return {Kind::bad, at, "a value with such a character must be in double quotes"};
  }
}

FilterToken FilterLexer::quoted(std::size_t at) {
  using Kind = FilterToken::Kind;
  FilterToken token{Kind::quoted, at, {}};
  for (at_ = at + 1; at_ < text_.size(); ++at_) {
    char c = text_[at_];
    if (c == '"') {
      ++at_;
      return token;
    }
    if (c == '\\') {
      const std::size_t escape = at_;
      const auto byte = unescape();
      if (!byte) {
        at_ = at;
        return {Kind::bad, escape, R"(the escapes are \", \\ and \xNN)"};
      }
      c = *byte;
    }
    token.text += c;
  }
  at_ = at;
  return {Kind::bad, at, "this quote is not closed"};
}

// From the backslash to the last character of the escape.
std::optional<char> FilterLexer::unescape() {
  const std::string_view escape = text_.substr(at_, 4);
  if (escape.size() >= 2 && (escape[1] == '"' || escape[1] == '\\')) {
    ++at_;
    return escape[1];
  }
  if (escape.size() < 4 || escape[1] != 'x') return std::nullopt;
  const int high = hex_digit(escape[2]);
  const int low = hex_digit(escape[3]);
  if (high < 0 || low < 0) return std::nullopt;
  at_ += 3;
  return static_cast<char>(static_cast<unsigned char>(high << 4 | low));
}

}  // namespace sharingbus::internal
