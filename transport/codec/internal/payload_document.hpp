#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <boost/container/small_vector.hpp>
#include <boost/json/parse_options.hpp>

#include "bus/base/result.hpp"
#include "transport/codec/internal/payload_value.hpp"

namespace sharingbus::transport::internal {

/// Arrays and objects within each other that a payload may have.
inline constexpr std::size_t kPayloadDepthMax = 64;

[[nodiscard]] boost::json::parse_options parse_options();

/// The values of a payload. That of a usual message lies in the document itself, without a visit to the heap.
using PayloadRow = boost::container::small_vector<PayloadValue, 128>;

/// A payload of a Unix socket frame as one value, JSON and MessagePack alike. The first byte tells which it is.
///
/// What MessagePack has and JSON has not: binary data; numbers may be infinite or NaN. Extensions are refused, and so
/// are keys that are no text. Texts are valid UTF-8.
class PayloadDocument {
 public:
  PayloadDocument() = default;
  PayloadDocument(const PayloadDocument&) = delete;
  PayloadDocument& operator=(const PayloadDocument&) = delete;

  /// Once, before `root`; `payload` must outlive what is read. Errors: `malformed_frame`, saying what and where. The
  /// last of equal keys counts.
  [[nodiscard]] Result<> parse(std::string_view payload);
  [[nodiscard]] const PayloadValue& root() const noexcept { return row_.front(); }

 private:
  PayloadRow row_;
  /// Texts that do not lie in the payload as they are meant.
  std::string copies_;
};

/// `value` as JSON text; empty when it has something that JSON cannot say.
[[nodiscard]] std::string to_json_text(const PayloadValue& value);

}  // namespace sharingbus::transport::internal
