#include "transport/codec/internal/protobuf_text.hpp"

#include <cstddef>
#include <limits>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/unknown_field_set.h>

#include "transport/codec/utf8.hpp"

namespace sharingbus::transport::internal {
namespace {

namespace pb = google::protobuf;

constexpr std::size_t kMessageBytesMax = std::numeric_limits<int>::max();

std::string field_name(const pb::Message& envelope, int number) {
  const auto* field = envelope.GetDescriptor()->FindFieldByNumber(number);
  return field == nullptr ? "field " + std::to_string(number) : field->name();
}

// Path of the first text below `message` that is not UTF-8. The parser stops right after it has stored such text.
std::optional<std::string> invalid_text(const pb::Message& message) {
  const auto& reflection = *message.GetReflection();
  std::vector<const pb::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    const bool is_text = field->type() == pb::FieldDescriptor::TYPE_STRING;
    const bool is_message = field->type() == pb::FieldDescriptor::TYPE_MESSAGE;
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count && (is_text || is_message); ++i) {
      if (is_text) {
        const auto text = field->is_repeated() ? reflection.GetRepeatedString(message, field, i)
                                               : reflection.GetString(message, field);
        if (!is_valid_utf8(text)) return field->name();
        continue;
      }
      const auto& child = field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                               : reflection.GetMessage(message, field);
      if (const auto below = invalid_text(child)) return field->name() + "." + *below;
    }
  }
  return std::nullopt;
}

}  // namespace

bool fits_protobuf(std::string_view bytes) noexcept {
  return bytes.size() <= kMessageBytesMax;
}

Error malformed(std::string_view what, std::string_view bytes, const std::string& detail) {
  return Error{errc::malformed_frame, std::string(what) + " of " + std::to_string(bytes.size()) + " bytes: " + detail};
}

Error parse_failure(std::string_view what, std::string_view bytes, const pb::Message& partial) {
  if (const auto path = invalid_text(partial)) return malformed(what, bytes, *path + " is not UTF-8");
  std::vector<const pb::FieldDescriptor*> seen;
  partial.GetReflection()->ListFields(partial, &seen);
  const std::string where = seen.empty() ? "" : " in " + seen.front()->name();
  return malformed(what, bytes, "broken Protobuf or text that is not UTF-8" + where);
}

UnsetKind unset_kind(std::string_view what, std::string_view bytes, const pb::Message& envelope) {
  // Protobuf files a known field with the wrong wire type under the unknown ones.
  const auto& unknown = envelope.GetReflection()->GetUnknownFields(envelope);
  if (unknown.empty()) return {};
  const int number = unknown.field(0).number();
  if (envelope.GetDescriptor()->FindFieldByNumber(number) != nullptr) {
    return {0, malformed(what, bytes, field_name(envelope, number) + " has the wrong wire type")};
  }
  return {static_cast<std::uint32_t>(number), std::nullopt};
}

std::string serialize(const pb::Message& message) {
  const std::size_t size = message.ByteSizeLong();
  if (size > kMessageBytesMax) return {};
  std::string bytes(size, '\0');
  pb::io::ArrayOutputStream sink(bytes.data(), static_cast<int>(size));
  pb::io::CodedOutputStream coded(&sink);
  coded.SetSerializationDeterministic(true);
  message.SerializeWithCachedSizes(&coded);
  coded.Trim();  // the last bytes may still be in its own buffer
  return bytes;
}

}  // namespace sharingbus::transport::internal
