#include "transport/codec/internal/payload_reader.hpp"

#include <absl/strings/escaping.h>

namespace sharingbus::transport::internal {

using Kind = PayloadValue::Kind;

Wanted read(const PayloadValue& in, std::string& out) {
  if (!in.is_text()) return "a text";
  out.assign(in.bytes());
  return kFine;
}

Wanted read(const PayloadValue& in, std::string_view& out) {
  if (!in.is_text()) return "a text";
  out = in.bytes();
  return kFine;
}

Wanted read(const PayloadValue& in, bool& out) {
  if (in.kind() != Kind::boolean) return "true or false";
  out = in.boolean();
  return kFine;
}

Wanted read(const PayloadValue& in, double& out) {
  switch (in.kind()) {
    case Kind::real:
      out = in.real();
      return kFine;
    case Kind::integer:
      out = static_cast<double>(in.integer());
      return kFine;
    case Kind::large:
      out = static_cast<double>(in.large());
      return kFine;
    default:
      return "a number";
  }
}

Wanted read(const PayloadValue& in, float& out) {
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

Wanted read(const PayloadValue& in, std::map<std::string, std::string>& out) {
  if (!in.is_map()) return "a map of texts";
  for (const auto& [key, value] : PayloadMembers(in)) {
    if (read(value, out[std::string(key)]) != kFine) return "a map of texts";
  }
  return kFine;
}

Wanted read(const PayloadValue& in, Bytes out) {
  if (in.kind() == Kind::binary) {
    out.out.assign(in.bytes());
    return kFine;
  }
  const bool is_base64 =
      in.is_text() && absl::Base64Unescape(absl::string_view(in.bytes().data(), in.bytes().size()), &out.out);
  return is_base64 ? kFine : "base64 text";
}

Wanted read(const PayloadValue& in, AnyJson out) {
  out.out = to_json_text(in);
  return out.out.empty() ? "JSON: it has binary data or infinite numbers" : kFine;
}

}  // namespace sharingbus::transport::internal
