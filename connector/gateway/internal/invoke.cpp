#include "connector/gateway/internal/invoke.hpp"

#include <charconv>
#include <utility>

namespace sharingbus::connector::internal {

namespace messages = transport::messages;

Result<ExecuteCall> to_execute_call(const messages::InvokeRequest& invoke) {
  unsigned depth = 0;
  if (const auto found = invoke.context.find(kInvokeDepthKey); found != invoke.context.end()) {
    const std::string& text = found->second;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), depth);
    if (code == std::errc::result_out_of_range) depth = kInvokeDepthMax;
    if (code == std::errc::invalid_argument || end != text.data() + text.size()) {
      return Error(errc::invalid_argument, "context x-invoke-depth is not a number");
    }
  }
  if (depth >= kInvokeDepthMax) {
    return Error(errc::rejected, "invokes are nested too deep: x-invoke-depth is " + std::to_string(depth) +
                                     ", the limit is " + std::to_string(kInvokeDepthMax));
  }
  ExecuteCall call;
  call.payload = {invoke.payload_encoding, invoke.payload};
  if (!invoke.capability_id.empty()) call.capability = invoke.capability_id;
  call.context = invoke.context;
  call.context[kInvokeDepthKey] = std::to_string(depth + 1);
  if (invoke.timeout_ms > 0) call.timeout = std::chrono::milliseconds(invoke.timeout_ms);
  return call;
}

messages::InvokeResponse to_invoke_response(std::string request_id, const Error& error, ExecuteReply reply) {
  messages::InvokeResponse response;
  response.request_id = std::move(request_id);
  if (error) {
    response.error = display_text(error);
    response.error_details["code"] = error.code.category() == error_category()
                                         ? std::string(to_string(static_cast<errc>(error.code.value())))
                                         : error.code.message();
    return response;
  }
  response.success = reply.success;
  response.payload = std::move(reply.payload.bytes);
  response.payload_encoding =
      reply.payload.encoding == PayloadEncoding::unspecified ? PayloadEncoding::json : reply.payload.encoding;
  response.error = std::move(reply.error);
  response.duration_ms = std::chrono::duration_cast<std::chrono::milliseconds>(reply.duration).count();
  return response;
}

}  // namespace sharingbus::connector::internal
