#include "transport/codec/connector_protobuf.hpp"

#include <cstddef>
#include <limits>
#include <optional>
#include <variant>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/unknown_field_set.h>

#include "bus/base/error.hpp"
#include "transport/codec/internal/connector_wire.hpp"
#include "transport/codec/utf8.hpp"

namespace sharingbus::transport {
namespace {

namespace pb = google::protobuf;
namespace wire = internal::wire;
using messages::ConnectorMessage;
using messages::UnknownMessage;

constexpr std::size_t kMessageBytesMax = std::numeric_limits<int>::max();

std::string field_name(int number) {
  const auto* field = wire::StreamMessage::descriptor()->FindFieldByNumber(number);
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

Error malformed(std::string_view bytes, const std::string& what) {
  return Error{errc::malformed_frame, "connector message of " + std::to_string(bytes.size()) + " bytes: " + what};
}

Error describe_parse_failure(std::string_view bytes, const wire::StreamMessage& partial) {
  if (const auto path = invalid_text(partial)) return malformed(bytes, *path + " is not UTF-8");
  const int seen = partial.message_case();
  const std::string where = seen == 0 ? "" : " in " + field_name(seen);
  return malformed(bytes, "broken Protobuf or text that is not UTF-8" + where);
}

// Protobuf files a known field with the wrong wire type under the unknown ones; that is a broken peer, not a newer one.
Result<ConnectorMessage> decode_unset(std::string_view bytes, const wire::StreamMessage& message) {
  const auto& unknown = message.GetReflection()->GetUnknownFields(message);
  if (unknown.empty()) return UnknownMessage{};
  const int number = unknown.field(0).number();
  if (wire::StreamMessage::descriptor()->FindFieldByNumber(number) != nullptr) {
    return malformed(bytes, field_name(number) + " has the wrong wire type");
  }
  return UnknownMessage{.empty = false, .field_number = static_cast<std::uint32_t>(number)};
}

}  // namespace

Result<ConnectorMessage> decode_connector_message(std::string_view bytes) {
  if (bytes.size() > kMessageBytesMax) return malformed(bytes, "more than Protobuf can hold");
  wire::StreamMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return describe_parse_failure(bytes, message);
  }
  using Case = wire::StreamMessage::MessageCase;
  switch (message.message_case()) {
    case Case::kRegisterRequest:
      if (message.register_request().capabilities().task_types_size() > kTaskTypesMax) {
        return malformed(bytes, "register_request.capabilities.task_types has more than " +
                                    std::to_string(kTaskTypesMax) + " entries");
      }
      return internal::from_wire(*message.mutable_register_request());
    case Case::kRegisterResponse:
      return internal::from_wire(*message.mutable_register_response());
    case Case::kExecuteRequest:
      return internal::from_wire(*message.mutable_execute_request());
    case Case::kExecuteResponse:
      return internal::from_wire(*message.mutable_execute_response());
    case Case::kApprovalNotification:
      return internal::from_wire(*message.mutable_approval_notification());
    case Case::kHeartbeatRequest:
      return internal::from_wire(*message.mutable_heartbeat_request());
    case Case::kHeartbeatResponse:
      return internal::from_wire(*message.mutable_heartbeat_response());
    case Case::kInvokeRequest:
      return internal::from_wire(*message.mutable_invoke_request());
    case Case::kInvokeResponse:
      return internal::from_wire(*message.mutable_invoke_response());
    case Case::kCredentialsIssued:
      return internal::from_wire(*message.mutable_credentials_issued());
    case Case::kWsOpenRequest:
      return internal::from_wire(*message.mutable_ws_open_request());
    case Case::kWsOpenResponse:
      return internal::from_wire(*message.mutable_ws_open_response());
    case Case::kWsFrame:
      return internal::from_wire(*message.mutable_ws_frame());
    case Case::kWsCloseRequest:
      return internal::from_wire(*message.mutable_ws_close_request());
    case Case::kMetricsReport:
      return internal::from_wire(*message.mutable_metrics_report());
    case Case::MESSAGE_NOT_SET:
      break;
  }
  return decode_unset(bytes, message);
}

std::string encode_connector_message(const ConnectorMessage& message) {
  wire::StreamMessage out;
  std::visit([&out](const auto& held) { internal::to_wire(held, out); }, message);

  const std::size_t size = out.ByteSizeLong();
  if (size > kMessageBytesMax) return {};
  std::string bytes(size, '\0');
  pb::io::ArrayOutputStream sink(bytes.data(), static_cast<int>(size));
  pb::io::CodedOutputStream coded(&sink);
  coded.SetSerializationDeterministic(true);
  out.SerializeWithCachedSizes(&coded);
  coded.Trim();  // the last bytes may still be in its own buffer
  return bytes;
}

void mute_protobuf_log() {
  pb::SetLogHandler(nullptr);
}

}  // namespace sharingbus::transport
