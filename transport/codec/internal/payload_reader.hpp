#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "transport/codec/internal/payload_document.hpp"

namespace sharingbus::transport::internal {

/// The first thing that is wrong with a payload.
class Issue {
 public:
  void raise(std::string what) {
    if (text_.empty()) text_ = std::move(what);
  }
  explicit operator bool() const noexcept { return !text_.empty(); }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

// How a value is read: each overload gives the C++ value, or a word for what the payload's should have been.

using Wanted = const char*;
inline constexpr Wanted kFine = nullptr;

[[nodiscard]] Wanted read(const PayloadValue& in, std::string& out);
/// A view of the payload's.
[[nodiscard]] Wanted read(const PayloadValue& in, std::string_view& out);
[[nodiscard]] Wanted read(const PayloadValue& in, bool& out);
[[nodiscard]] Wanted read(const PayloadValue& in, float& out);
[[nodiscard]] Wanted read(const PayloadValue& in, double& out);
[[nodiscard]] Wanted read(const PayloadValue& in, std::map<std::string, std::string>& out);

template <class Integer>
requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>) [[nodiscard]] Wanted
    read(const PayloadValue& in, Integer& out) {
  constexpr Wanted kWanted = "an integer in range";
  using Limits = std::numeric_limits<Integer>;
  if (in.kind() == PayloadValue::Kind::integer) {
    const std::int64_t number = in.integer();
    if constexpr (std::is_signed_v<Integer>) {
      if (number < Limits::min() || number > Limits::max()) return kWanted;
    } else {
      if (number < 0 || static_cast<std::uint64_t>(number) > Limits::max()) return kWanted;
    }
    out = static_cast<Integer>(number);
    return kFine;
  }
  const bool fits = in.kind() == PayloadValue::Kind::large && in.large() <= static_cast<std::uint64_t>(Limits::max());
  if (!fits) return kWanted;
  out = static_cast<Integer>(in.large());
  return kFine;
}

template <class Element>
[[nodiscard]] Wanted read(const PayloadValue& in, std::vector<Element>& out) {
  if (!in.is_array()) return "an array";
  out.reserve(in.size());
  for (const PayloadValue& each : PayloadElements(in)) {
    if (const Wanted wanted = read(each, out.emplace_back())) return wanted;
  }
  return kFine;
}

/// Bytes: base64 text, or MessagePack's binary data as it is.
struct Bytes {
  std::string& out;
};
[[nodiscard]] Wanted read(const PayloadValue& in, Bytes out);

/// A value of any shape, kept as JSON text.
struct AnyJson {
  std::string& out;
};
[[nodiscard]] Wanted read(const PayloadValue& in, AnyJson out);

/// The fields of one struct, which is a map, or an array of them in the order of their declaration, as which old
/// MessagePack writers have it. So ask for all fields, in that order.
class Fields {
 public:
  /// `path` is the prefix of names in errors, `metadata.`, or empty.
  Fields(const PayloadValue& value, std::string_view path, Issue& issue)
      : path_(path), issue_(issue), value_(value), next_(value.first()) {
    if (!value.is_map() && !value.is_array()) issue_.raise(name("") + "is no object");
  }

  template <class T>
  void required(std::string_view key, T&& out) {
    const PayloadValue* value = next(key);
    if (value == nullptr) return issue_.raise(name(key) + " is missing");
    take(key, *value, out);
  }
  /// Keeps what `out` has when the field is not there, or null.
  template <class T>
  void defaulted(std::string_view key, T&& out) {
    const PayloadValue* value = next(key);
    if (value != nullptr && !value->is_null()) take(key, *value, out);
  }
  template <class T>
  void optional(std::string_view key, std::optional<T>& out) {
    const PayloadValue* value = next(key);
    if (value != nullptr && !value->is_null()) take(key, *value, out.emplace());
  }
  /// For what the overloads of `read` do not cover; null when it is not there. Most optional fields are not there, and
  /// most writers have the others in the same order: it looks behind the last one first.
  [[nodiscard]] const PayloadValue* next(std::string_view key) {
    if (value_.is_map()) {
      if (next_ != value_.behind() && next_->bytes() == key) return found(next_ + 1);
      return value_.may_have(key) ? found(value_.find(key)) : nullptr;
    }
    return value_.is_array() && next_ != value_.behind() ? found(next_) : nullptr;
  }
  void wrong(std::string_view key, std::string_view wanted) {
    issue_.raise(name(key) + " is not " + std::string(wanted));
  }

 private:
  const PayloadValue* found(const PayloadValue* value) {
    if (value != nullptr) next_ = value->behind();
    return value;
  }
  [[nodiscard]] std::string name(std::string_view key) const { return std::string(path_) + std::string(key); }
  template <class T>
  void take(std::string_view key, const PayloadValue& value, T& out) {
    if (const Wanted wanted = read(value, out)) wrong(key, wanted);
  }

  std::string_view path_;
  Issue& issue_;
  const PayloadValue& value_;
  /// Behind the field that was found last.
  const PayloadValue* next_;
};

}  // namespace sharingbus::transport::internal
