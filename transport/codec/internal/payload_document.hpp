#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/value.hpp>

#include "bus/base/result.hpp"

namespace sharingbus::transport::internal {

/// Arrays and objects within each other that a payload may have.
inline constexpr std::size_t kPayloadDepthMax = 64;

[[nodiscard]] boost::json::parse_options parse_options();

/// A payload of a Unix socket frame as one value, JSON and MessagePack alike. The first byte tells which it is.
///
/// What MessagePack has and JSON has not: binary data is an object with the single key `kBinaryKey`, which no payload
/// can have, as it is no UTF-8; numbers may be infinite or NaN. Extensions are refused, and so are keys that are no
/// text.
class PayloadDocument {
 public:
  static constexpr std::string_view kBinaryKey = "\xff";

  PayloadDocument() : resource_(buffer_.data(), buffer_.size()) {}
  PayloadDocument(const PayloadDocument&) = delete;
  PayloadDocument& operator=(const PayloadDocument&) = delete;

  /// Once, before `root`. Errors: `malformed_frame`, saying what and where. The last of equal keys counts.
  [[nodiscard]] Result<> parse(std::string_view payload);
  [[nodiscard]] const boost::json::value& root() const noexcept { return *root_; }

 private:
  /// Holds the value of a usual message, without a visit to the heap.
  std::array<unsigned char, 4096> buffer_;
  boost::json::monotonic_resource resource_;
  /// Made in place, because assigning between resources copies.
  std::optional<boost::json::value> root_;
};

/// The bytes that `value` holds as MessagePack binary data; null for any other value.
[[nodiscard]] const boost::json::string* binary_in(const boost::json::value& value);

/// `value` as JSON text; empty when it has something that JSON cannot say.
[[nodiscard]] std::string to_json_text(const boost::json::value& value);

}  // namespace sharingbus::transport::internal
