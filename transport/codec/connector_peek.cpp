#include "transport/codec/connector_peek.hpp"

#include <cstddef>
#include <cstdint>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "transport/codec/internal/connector_wire.hpp"
#include "transport/codec/internal/protobuf_text.hpp"

namespace sharingbus::transport {
namespace {

namespace wire = internal::wire;
using google::protobuf::internal::WireFormatLite;

/// A reader of the part of a message that its first bytes are.
class Head {
 public:
  explicit Head(std::string_view frame)
      : frame_(frame),
        input_(reinterpret_cast<const std::uint8_t*>(frame.data()),
               internal::fits_protobuf(frame) ? static_cast<int>(frame.size()) : 0) {}

  /// Whether a message or text in this field comes next; goes into it.
  [[nodiscard]] bool enter(int field) {
    return input_.ReadTag() == WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED) &&
           input_.ReadVarint32(&size_);
  }
  /// What was entered; empty when it does not end within the frame.
  [[nodiscard]] std::string_view content() const {
    const auto at = static_cast<std::size_t>(input_.CurrentPosition());
    return size_ <= frame_.size() - at ? frame_.substr(at, size_) : std::string_view();
  }

 private:
  const std::string_view frame_;
  google::protobuf::io::CodedInputStream input_;
  std::uint32_t size_ = 0;
};

}  // namespace

bool is_heartbeat_request(std::string_view frame) {
  return Head(frame).enter(wire::StreamMessage::kHeartbeatRequestFieldNumber);
}

bool is_heartbeat_response(std::string_view frame) {
  return Head(frame).enter(wire::StreamMessage::kHeartbeatResponseFieldNumber);
}

std::string_view execute_request_id(std::string_view frame) {
  Head head(frame);
  const bool entered = head.enter(wire::StreamMessage::kExecuteRequestFieldNumber) &&
                       head.enter(wire::ExecuteRequest::kRequestIdFieldNumber);
  return entered ? head.content() : std::string_view();
}

}  // namespace sharingbus::transport
