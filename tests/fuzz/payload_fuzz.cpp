// Any bytes in any encoding: refused, or one JSON value that every encoding says and reads back alike.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "connector/payload.hpp"

namespace {

using namespace sharingbus::connector;
namespace json = boost::json;

/// Texts of numbers may round by a bit on their way.
bool alike(const json::value& a, const json::value& b) {
  if (a.is_double() && b.is_double()) {
    if (!std::isfinite(b.get_double())) return true;
    return std::abs(a.get_double() - b.get_double()) <= 1e-9 * std::abs(a.get_double());
  }
  if (a.is_number() && b.is_number() && (a.is_double() || b.is_double())) return true;
  if (a.kind() != b.kind()) return false;
  if (const auto* array = a.if_array()) {
    if (array->size() != b.get_array().size()) return false;
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (!alike((*array)[i], b.get_array()[i])) return false;
    }
    return true;
  }
  if (const auto* object = a.if_object()) {
    if (object->size() != b.get_object().size()) return false;
    for (const auto& [key, value] : *object) {
      const auto* other = b.get_object().if_contains(key);
      if (other == nullptr || !alike(value, *other)) return false;
    }
    return true;
  }
  return a == b;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Payload payload{static_cast<PayloadEncoding>(data[0] % 9),
                        std::string(reinterpret_cast<const char*>(data) + 1, size - 1)};
  const auto value = to_json(payload, {.max_bytes = 1 << 20, .max_depth = 32});
  if (!value) return 0;
  for (const PayloadEncoding encoding : {PayloadEncoding::json, PayloadEncoding::msgpack}) {
    const auto encoded = encode(*value, encoding);
    // A number in text may be beyond what a double can say.
    if (!encoded) return 0;
    const auto again = to_json(*encoded);
    if (!again || !alike(*value, *again)) std::abort();
  }
  return 0;
}
