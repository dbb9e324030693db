// Filters to text and back. The grammar stands at Filter::parse.
#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "bus/filter.hpp"
#include "bus/internal/address_pattern.hpp"
#include "bus/internal/filter_lexer.hpp"
#include "bus/internal/filter_node.hpp"

namespace sharingbus {

namespace internal {
namespace {

struct Field {
  std::string_view name;
  FilterOp op;
};
// In the order in which an error lists them.
constexpr std::array kFields{
    Field{"scroll_id", FilterOp::scroll_id},
    Field{"connector_uid", FilterOp::connector_uid},
    Field{"connector_id", FilterOp::connector_id},
    Field{"native_session_id", FilterOp::native_session_id},
    Field{"address", FilterOp::address},
    Field{"kind", FilterOp::kind},
    Field{"type", FilterOp::type_name},
    Field{"origin", FilterOp::origin},
    Field{"source", FilterOp::source},
};

std::string_view field_name(FilterOp op) {
  if (op == FilterOp::type) op = FilterOp::type_name;
  if (op == FilterOp::address_pattern) op = FilterOp::address;
  for (const Field& field : kFields) {
    if (field.op == op) return field.name;
  }
  return {};
}

struct ValueText {
  std::string operator()(const Uuid& uuid) const { return to_string(uuid); }
  std::string operator()(std::uint64_t number) const { return std::to_string(number); }
  std::string operator()(const EventType* type) const { return std::string(type->name); }
  std::string operator()(EventKind kind) const { return std::string(to_string(kind)); }
  std::string operator()(EventOrigin origin) const { return std::string(to_string(origin)); }
  std::string operator()(const std::string& text) const { return text; }
  template <class Other>
  std::string operator()(const Other&) const {
    return {};
  }
};

void append_child(std::string& out, FilterOp parent, const FilterNode& child) {
  const bool parentheses = needs_parentheses(parent, child);
  if (parentheses) out += '(';
  append_text(out, &child);
  if (parentheses) out += ')';
}

}  // namespace

void append_quoted(std::string& out, std::string_view value) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

void append_value(std::string& out, std::string_view value) {
  for (const char c : value) {
    if (!is_bare(c)) return append_quoted(out, value);
  }
  if (value.empty()) return append_quoted(out, value);
  out += value;
}

void append_text(std::string& out, const FilterNode* node) {
  if (node == nullptr) {
    out += '*';
    return;
  }
  switch (node->op) {
    case FilterOp::nothing:
      out += "not *";
      return;
    case FilterOp::predicate:
      out += "predicate(";
      append_quoted(out, node->get<std::unique_ptr<const FilterPredicate>>()->name);
      out += ')';
      return;
    case FilterOp::negation:
      out += "not ";
      append_child(out, node->op, *node->children().front());
      return;
    case FilterOp::conjunction:
    case FilterOp::disjunction: {
      bool first = true;
      for (const auto& child : node->children()) {
        if (!first) out += node->op == FilterOp::conjunction ? " and " : " or ";
        first = false;
        append_child(out, node->op, *child);
      }
      return;
    }
    default:
      out += field_name(node->op);
      out += '=';
      append_value(out, std::visit(ValueText{}, node->value));
  }
}

namespace {

template <class Enum>
std::string enumerators(std::optional<Enum> (*parse)(std::string_view) noexcept) {
  std::string list;
  for (std::uint8_t i = 0;; ++i) {
    const std::string_view name = to_string(static_cast<Enum>(i));
    if (!parse(name)) return list;
    if (i != 0) list += ", ";
    list += name;
  }
}

std::string field_names() {
  std::string list;
  for (const Field& field : kFields) {
    if (!list.empty()) list += ", ";
    list += field.name;
  }
  return list;
}

/// In quotes, on one line, not longer than a message can bear.
std::string quote(std::string_view text) {
  std::size_t shown = std::min<std::size_t>(text.size(), 40);
  // Not in the middle of a UTF-8 sequence.
  while (shown < text.size() && shown > 0 && (static_cast<unsigned char>(text[shown]) & 0xc0) == 0x80)
    --shown;
  std::string out;
  append_quoted(out, text.substr(0, shown));
  if (shown < text.size()) out += "…";
  return out;
}

std::string found(const FilterToken& token) {
  using Kind = FilterToken::Kind;
  switch (token.kind) {
    case Kind::word:
    case Kind::quoted:
      return quote(token.text);
    case Kind::open:
      return "(";
    case Kind::close:
      return ")";
    case Kind::equal:
      return "=";
    case Kind::unequal:
      return "!=";
    case Kind::end:
      return "the end";
    case Kind::bad:
      break;
  }
  return token.text;
}

/// Recursive descent, one token ahead. What a function returns as an error is the final message.
class FilterParser {
 public:
  explicit FilterParser(std::string_view text) : lexer_(text), token_(lexer_.next()) {}

  Result<Filter> whole() {
    auto filter = list(FilterOp::disjunction);
    if (filter.has_value() && token_.kind != Kind::end) return unexpected("and, or or the end");
    return filter;
  }

 private:
  using Kind = FilterToken::Kind;

  static Error at(std::size_t byte, const std::string& what) {
    return Error(errc::invalid_argument, "filter: column " + std::to_string(byte + 1) + ": " + what);
  }
  [[nodiscard]] Error unexpected(std::string_view wanted) const {
    if (token_.kind == Kind::bad) return at(token_.at, token_.text);
    return at(token_.at, "expected " + std::string(wanted) + ", found " + found(token_));
  }
  FilterToken take() { return std::exchange(token_, lexer_.next()); }
  /// An error of the bounds, which know no columns.
  static Result<Filter> placed(Result<Filter> made, std::size_t byte) {
    if (!made.has_value()) return at(byte, made.error().message);
    return made;
  }

  Result<Filter> list(FilterOp op);
  Result<Filter> unary();
  Result<Filter> parenthesised();
  Result<Filter> term();
  Result<Filter> value_of(FilterOp op, const FilterToken& value);

  FilterLexer lexer_;
  FilterToken token_;
  std::size_t depth_ = 0;
  std::size_t terms_ = 0;
};

Result<Filter> FilterParser::list(FilterOp op) {
  const bool is_or = op == FilterOp::disjunction;
  const std::size_t begin = token_.at;
  std::vector<Filter> parts;
  for (;;) {
    auto part = is_or ? list(FilterOp::conjunction) : unary();
    if (!part.has_value()) return part;
    parts.push_back(*std::move(part));
    if (!token_.is_word(is_or ? "or" : "and")) break;
    take();
  }
  if (parts.size() == 1) return std::move(parts.front());
  return placed(join(op, parts), begin);
}

Result<Filter> FilterParser::unary() {
  const std::size_t begin = token_.at;
  const bool is_not = token_.is_word("not");
  if (!is_not && token_.kind != Kind::open) return term();
  if (depth_ == Filter::kDepthMax) {
    return at(begin, "more than " + std::to_string(Filter::kDepthMax) + " parentheses and not within each other");
  }
  ++depth_;
  take();
  auto inner = is_not ? unary() : parenthesised();
  --depth_;
  if (!is_not || !inner.has_value()) return inner;
  return placed(negate(*inner), begin);
}

Result<Filter> FilterParser::parenthesised() {
  auto inner = list(FilterOp::disjunction);
  if (!inner.has_value()) return inner;
  if (token_.kind != Kind::close) return unexpected("and, or or )");
  take();
  return inner;
}

Result<Filter> FilterParser::term() {
  if (token_.kind != Kind::word) return unexpected("a field, not, ( or *");
  const FilterToken name = take();
  if (name.text == "*") return Filter::all();
  if (++terms_ > Filter::kTermsMax) {
    return at(name.at, "more than " + std::to_string(Filter::kTermsMax) + " terms");
  }
  const Field* found_field = nullptr;
  for (const Field& field : kFields) {
    if (field.name == name.text) found_field = &field;
  }
  if (found_field == nullptr) {
    if (name.text == "predicate" && token_.kind == Kind::open) {
      return at(name.at, "a predicate cannot be read from text; make it with Filter::where");
    }
    return at(name.at, "unknown field " + quote(name.text) + "; fields are " + field_names());
  }
  if (token_.kind != Kind::equal && token_.kind != Kind::unequal) {
    return unexpected("= or != after " + std::string(found_field->name));
  }
  const bool negated = take().kind == Kind::unequal;
  if (token_.kind != Kind::word && token_.kind != Kind::quoted) return unexpected("a value");
  const FilterToken value = take();
  auto term = placed(value_of(found_field->op, value), value.at);
  if (!negated || !term.has_value()) return term;
  return placed(negate(*term), name.at);
}

Result<Filter> FilterParser::value_of(FilterOp op, const FilterToken& value) {
  const std::string& text = value.text;
  const auto refused = [](std::string why) { return Error(errc::invalid_argument, std::move(why)); };
  switch (op) {
    case FilterOp::connector_uid:
    case FilterOp::scroll_id:
      if (const auto uuid = parse_uuid(text)) return make_term(op, *uuid);
      return refused(quote(text) + " is no UUID");
    case FilterOp::kind:
      if (const auto kind = parse_event_kind(text)) return make_term(op, *kind);
      return refused("unknown kind " + quote(text) + "; kinds are " + enumerators(&parse_event_kind));
    case FilterOp::origin:
      if (const auto origin = parse_event_origin(text)) return make_term(op, *origin);
      return refused("unknown origin " + quote(text) + "; origins are " + enumerators(&parse_event_origin));
    case FilterOp::source: {
      std::uint64_t number = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      if (error == std::errc{} && end == text.data() + text.size()) return make_term(op, number);
      return refused(quote(text) + " is no source, a decimal number below 2^64");
    }
    case FilterOp::address:
      if (const std::string error = address_pattern_error(text); !error.empty()) return refused(error);
      return make_term(has_address_wildcard(text) ? FilterOp::address_pattern : op, text);
    default:
      return make_term(op, text);
  }
}

}  // namespace
}  // namespace internal

Result<Filter> Filter::parse(std::string_view text) {
  if (text.size() > kTextBytesMax) {
    return Error(errc::invalid_argument, "filter: column " + std::to_string(kTextBytesMax + 1) + ": longer than " +
                                             std::to_string(kTextBytesMax) + " bytes");
  }
  return internal::FilterParser(text).whole();
}

}  // namespace sharingbus
