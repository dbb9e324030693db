#include "transport/codec/internal/payload_reader.hpp"

#include <absl/strings/escaping.h>

namespace sharingbus::transport::internal {

namespace json = boost::json;

Wanted read(const json::value& in, std::string& out) {
  const auto* text = in.if_string();
  if (text == nullptr) return "a text";
  out.assign(text->data(), text->size());
  return kFine;
}

Wanted read(const json::value& in, bool& out) {
  const auto* flag = in.if_bool();
  if (flag == nullptr) return "true or false";
  out = *flag;
  return kFine;
}

Wanted read(const json::value& in, double& out) {
  if (const auto* number = in.if_double()) {
    out = *number;
  } else if (const auto* integer = in.if_int64()) {
    out = static_cast<double>(*integer);
  } else if (const auto* large = in.if_uint64()) {
    out = static_cast<double>(*large);
  } else {
    return "a number";
  }
  return kFine;
}

Wanted read(const json::value& in, float& out) {
  double number = 0;
  const Wanted wanted = read(in, number);
  // Beyond what a float holds the conversion is undefined.
  constexpr double kMax = std::numeric_limits<float>::max();
  if (wanted == kFine && number >= -kMax && number <= kMax) {
    out = static_cast<float>(number);
    return kFine;
  }
  return wanted != kFine ? wanted : "a number in range";
}

Wanted read(const json::value& in, std::map<std::string, std::string>& out) {
  const auto* object = in.if_object();
  if (object == nullptr || binary_in(in) != nullptr) return "a map of texts";
  for (const auto& [key, value] : *object) {
    if (read(value, out[std::string(key)]) != kFine) return "a map of texts";
  }
  return kFine;
}

Wanted read(const json::value& in, Bytes out) {
  if (const auto* raw = binary_in(in)) {
    out.out.assign(raw->data(), raw->size());
    return kFine;
  }
  const auto* text = in.if_string();
  if (text == nullptr) return "base64 text";
  return absl::Base64Unescape(absl::string_view(text->data(), text->size()), &out.out) ? kFine : "base64 text";
}

Wanted read(const json::value& in, AnyJson out) {
  out.out = to_json_text(in);
  return out.out.empty() ? "JSON: it has binary data or infinite numbers" : kFine;
}

}  // namespace sharingbus::transport::internal
