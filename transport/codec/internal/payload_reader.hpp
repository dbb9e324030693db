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

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

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

// How a value is read: each overload gives the C++ value, or a word for what the JSON one should have been.

using Wanted = const char*;
inline constexpr Wanted kFine = nullptr;

[[nodiscard]] Wanted read(const boost::json::value& in, std::string& out);
[[nodiscard]] Wanted read(const boost::json::value& in, bool& out);
[[nodiscard]] Wanted read(const boost::json::value& in, float& out);
[[nodiscard]] Wanted read(const boost::json::value& in, double& out);
[[nodiscard]] Wanted read(const boost::json::value& in, std::map<std::string, std::string>& out);

template <class Integer>
requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>) [[nodiscard]] Wanted
    read(const boost::json::value& in, Integer& out) {
  constexpr Wanted kWanted = "an integer in range";
  using Limits = std::numeric_limits<Integer>;
  if (const auto* number = in.if_int64()) {
    if constexpr (std::is_signed_v<Integer>) {
      if (*number < Limits::min() || *number > Limits::max()) return kWanted;
    } else {
      if (*number < 0 || static_cast<std::uint64_t>(*number) > Limits::max()) return kWanted;
    }
    out = static_cast<Integer>(*number);
    return kFine;
  }
  const auto* number = in.if_uint64();
  if (number == nullptr || *number > static_cast<std::uint64_t>(Limits::max())) return kWanted;
  out = static_cast<Integer>(*number);
  return kFine;
}

template <class Element>
[[nodiscard]] Wanted read(const boost::json::value& in, std::vector<Element>& out) {
  const auto* array = in.if_array();
  if (array == nullptr) return "an array";
  out.reserve(array->size());
  for (const boost::json::value& each : *array) {
    if (const Wanted wanted = read(each, out.emplace_back())) return wanted;
  }
  return kFine;
}

/// Bytes: base64 text, or MessagePack's binary data as it is.
struct Bytes {
  std::string& out;
};
[[nodiscard]] Wanted read(const boost::json::value& in, Bytes out);

/// A value of any shape, kept as JSON text.
struct AnyJson {
  std::string& out;
};
[[nodiscard]] Wanted read(const boost::json::value& in, AnyJson out);

/// The fields of one struct, which is a map, or an array of them in the order of their declaration, as which old
/// MessagePack writers have it. So ask for all fields, in that order.
class Fields {
 public:
  /// `path` is the prefix of names in errors, `metadata.`, or empty.
  Fields(const boost::json::value& value, std::string_view path, Issue& issue) : path_(path), issue_(issue) {
    map_ = value.if_object();
    if (map_ != nullptr && binary_in(value) != nullptr) map_ = nullptr;
    list_ = value.if_array();
    if (map_ == nullptr && list_ == nullptr) issue_.raise(name("") + "is no object");
    if (map_ == nullptr) return;
    for (const auto& member : *map_)
      present_ |= mark(member.key());
  }

  template <class T>
  void required(std::string_view key, T&& out) {
    const auto* value = next(key);
    if (value == nullptr) return issue_.raise(name(key) + " is missing");
    take(key, *value, out);
  }
  /// Keeps what `out` has when the field is not there, or null.
  template <class T>
  void defaulted(std::string_view key, T&& out) {
    const auto* value = next(key);
    if (value != nullptr && !value->is_null()) take(key, *value, out);
  }
  template <class T>
  void optional(std::string_view key, std::optional<T>& out) {
    const auto* value = next(key);
    if (value != nullptr && !value->is_null()) take(key, *value, out.emplace());
  }
  /// For what the overloads of `read` do not cover; null when it is not there.
  [[nodiscard]] const boost::json::value* next(std::string_view key) {
    const std::size_t at = position_++;
    if (map_ != nullptr) return in_map(boost::json::string_view(key.data(), key.size()));
    return list_ != nullptr && at < list_->size() ? &(*list_)[at] : nullptr;
  }
  void wrong(std::string_view key, std::string_view wanted) {
    issue_.raise(name(key) + " is not " + std::string(wanted));
  }

 private:
  /// One of 64, the same for equal keys.
  [[nodiscard]] static std::uint64_t mark(boost::json::string_view key) {
    if (key.empty()) return 1;
    const auto ends = static_cast<unsigned char>(key.front()) * 3U + static_cast<unsigned char>(key.back());
    return std::uint64_t{1} << ((key.size() * 5 + ends) % 64);
  }
  /// Most optional fields are not there, and most writers have the others in the same order: it looks behind the last
  /// one first.
  [[nodiscard]] const boost::json::value* in_map(boost::json::string_view key) {
    if ((present_ & mark(key)) == 0) return nullptr;
    const auto* member = map_->begin() + behind_last_;
    if (behind_last_ == map_->size() || member->key() != key) member = map_->find(key);
    if (member == map_->end()) return nullptr;
    behind_last_ = static_cast<std::size_t>(member - map_->begin()) + 1;
    return &member->value();
  }
  [[nodiscard]] std::string name(std::string_view key) const { return std::string(path_) + std::string(key); }
  template <class T>
  void take(std::string_view key, const boost::json::value& value, T& out) {
    if (const Wanted wanted = read(value, out)) wrong(key, wanted);
  }

  std::string_view path_;
  Issue& issue_;
  const boost::json::object* map_ = nullptr;
  const boost::json::array* list_ = nullptr;
  std::size_t position_ = 0;
  std::size_t behind_last_ = 0;
  /// The marks of all keys of the map.
  std::uint64_t present_ = 0;
};

}  // namespace sharingbus::transport::internal
