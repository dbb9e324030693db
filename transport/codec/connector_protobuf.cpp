#include "transport/codec/connector_protobuf.hpp"

#include <type_traits>
#include <utility>
#include <variant>

#include <google/protobuf/stubs/logging.h>

#include "bus/base/error.hpp"
#include "transport/codec/internal/connector_wire.hpp"
#include "transport/codec/internal/execute_wire.hpp"
#include "transport/codec/internal/protobuf_text.hpp"

namespace sharingbus::transport {
namespace {

namespace pb = google::protobuf;
namespace wire = internal::wire;
using messages::ConnectorMessage;
using messages::UnknownMessage;

constexpr std::string_view kWhat = "connector message";

Error malformed(std::string_view bytes, const std::string& what) {
  return internal::malformed(kWhat, bytes, what);
}

Result<ConnectorMessage> decode_unset(std::string_view bytes, const wire::StreamMessage& message) {
  auto unset = internal::unset_kind(kWhat, bytes, message);
  if (unset.error) return *std::move(unset.error);
  if (unset.number == 0) return UnknownMessage{};
  return UnknownMessage{.empty = false, .field_number = unset.number};
}

template <class Message>
std::string encode(const Message& message) {
  if constexpr (std::is_same_v<Message, messages::ExecuteRequest> ||
                std::is_same_v<Message, messages::ExecuteResponse>) {
    if (auto written = internal::write_execute(message)) return *std::move(written);
  }
  wire::StreamMessage out;
  internal::to_wire(message, out);
  return internal::serialize(out);
}

}  // namespace

Result<ConnectorMessage> decode_connector_message(std::string_view bytes) {
  if (auto execute = internal::read_execute(bytes)) return *std::move(execute);
  if (!internal::fits_protobuf(bytes)) return malformed(bytes, "more than Protobuf can hold");
  wire::StreamMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return internal::parse_failure(kWhat, bytes, message);
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
  return std::visit([](const auto& held) { return encode(held); }, message);
}

std::string encode_connector_message(const messages::ExecuteResponse& message) {
  return encode(message);
}

void mute_protobuf_log() {
  pb::SetLogHandler(nullptr);
}

}  // namespace sharingbus::transport
