#include "transport/codec/json_rpc_codec.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/error.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "transport/codec/utf8.hpp"

namespace sharingbus::transport {
namespace {

namespace json = boost::json;
using namespace messages;

// Reading.

JsonRpcInvalid invalid(std::int64_t code, std::string what) {
  JsonRpcInvalid message{json_rpc_error(code)};
  message.error.data = json::value(json::string(what));
  return message;
}
JsonRpcInvalid invalid_request(const char* what) {
  return invalid(kJsonRpcInvalidRequest, what);
}

std::optional<JsonRpcId> read_id(const json::value& value) {
  if (value.is_null()) return JsonRpcId(nullptr);
  if (const auto* text = value.if_string()) return JsonRpcId(std::string(*text));
  if (const auto* number = value.if_int64()) return JsonRpcId(*number);
  if (const auto* number = value.if_uint64()) return JsonRpcId(*number);
  // What exceeds a double reads as infinite, and could not be repeated.
  if (const auto* number = value.if_double(); number != nullptr && std::isfinite(*number)) return JsonRpcId(*number);
  return std::nullopt;
}

std::optional<json::value> take(json::object& object, json::string_view key) {
  const auto found = object.find(key);
  if (found == object.end()) return std::nullopt;
  return std::move(found->value());
}

JsonRpcCall read_request(json::object& object, const json::value& method) {
  if (!method.is_string()) return invalid_request("method is no string");
  std::string name(method.get_string());
  auto params = take(object, "params");
  if (params && !params->is_array() && !params->is_object()) return invalid_request("params is no array or object");
  const json::value* id = object.if_contains("id");
  if (id == nullptr) return JsonRpcNotification{std::move(name), std::move(params)};
  auto read = read_id(*id);
  if (!read) return invalid_request("id is no string, number or null");
  return JsonRpcRequest{std::move(*read), std::move(name), std::move(params)};
}

std::optional<JsonRpcError> read_error(json::value& value) {
  auto* object = value.if_object();
  if (object == nullptr) return std::nullopt;
  const auto* code = object->if_contains("code");
  const auto* message = object->if_contains("message");
  if (code == nullptr || !code->is_int64() || message == nullptr || !message->is_string()) return std::nullopt;
  return JsonRpcError{code->get_int64(), std::string(message->get_string()), take(*object, "data")};
}

JsonRpcCall read_response(json::object& object) {
  const json::value* id = object.if_contains("id");
  if (id == nullptr) return invalid_request("id is missing");
  auto read = read_id(*id);
  if (!read) return invalid_request("id is no string, number or null");
  auto result = take(object, "result");
  auto error = take(object, "error");
  if (result && error) return invalid_request("result and error at once");
  if (result) return JsonRpcResponse{std::move(*read), std::move(*result)};
  auto read_it = read_error(*error);
  if (!read_it) return invalid_request("error is no object with code and message");
  return JsonRpcResponse{std::move(*read), std::move(*read_it)};
}

JsonRpcCall read_call(json::value& value) {
  auto* object = value.if_object();
  if (object == nullptr) return invalid_request("it is no object");
  const json::value* version = object->if_contains("jsonrpc");
  if (version == nullptr || !version->is_string() || version->get_string() != "2.0") {
    return invalid_request("jsonrpc is not \"2.0\"");
  }
  if (const json::value* method = object->if_contains("method")) return read_request(*object, *method);
  if (object->contains("result") || object->contains("error")) return read_response(*object);
  return invalid_request("method is missing");
}

JsonRpcMessage as_message(JsonRpcCall call) {
  return std::visit([](auto&& one) { return JsonRpcMessage(std::forward<decltype(one)>(one)); }, std::move(call));
}

// Writing.

/// What in `value` JSON cannot say; null when it can say all of it.
const char* unencodable(const json::value& value, std::size_t depth = 0) {
  constexpr std::size_t kDepthMax = 256;
  if (depth > kDepthMax) return "it is nested too deep";
  if (const auto* text = value.if_string()) return is_valid_utf8(*text) ? nullptr : "a text is not UTF-8";
  if (const auto* number = value.if_double()) return std::isfinite(*number) ? nullptr : "a number is not finite";
  const char* what = nullptr;
  if (const auto* array = value.if_array()) {
    for (auto it = array->begin(); it != array->end() && what == nullptr; ++it)
      what = unencodable(*it, depth + 1);
  } else if (const auto* object = value.if_object()) {
    for (auto it = object->begin(); it != object->end() && what == nullptr; ++it) {
      what = is_valid_utf8(it->key()) ? unencodable(it->value(), depth + 1) : "a key is not UTF-8";
    }
  }
  return what;
}

json::value written_id(const JsonRpcId& id) {
  return std::visit([](const auto& value) { return json::value(value); }, id);
}

json::object written(const JsonRpcError& error) {
  json::object object{{"code", error.code}, {"message", error.message}};
  if (error.data) object["data"] = *error.data;
  return object;
}
json::object written(const JsonRpcNotification& notification) {
  json::object object{{"jsonrpc", "2.0"}, {"method", notification.method}};
  if (notification.params) object["params"] = *notification.params;
  return object;
}
json::object written(const JsonRpcRequest& request) {
  json::object object = written(JsonRpcNotification{request.method, request.params});
  object["id"] = written_id(request.id);
  return object;
}
json::object written(const JsonRpcResponse& response) {
  json::object object{{"jsonrpc", "2.0"}};
  if (const auto* result = std::get_if<json::value>(&response.outcome)) {
    object["result"] = *result;
  } else {
    object["error"] = written(std::get<JsonRpcError>(response.outcome));
  }
  object["id"] = written_id(response.id);
  return object;
}
/// The answer that it wants.
json::object written(const JsonRpcInvalid& message) {
  return written(JsonRpcResponse{nullptr, message.error});
}
json::array written(const JsonRpcBatch& batch) {
  json::array array;
  for (const JsonRpcCall& call : batch.calls)
    array.push_back(std::visit([](const auto& one) { return written(one); }, call));
  return array;
}

Result<std::string> serialized(const json::value& value) {
  if (const char* what = unencodable(value)) {
    return Error(errc::serialization_failed, std::string("message cannot be JSON: ") + what);
  }
  return json::serialize(value);
}

}  // namespace

JsonRpcError messages::json_rpc_error(std::int64_t code) {
  switch (code) {
    case kJsonRpcParseError:
      return {code, "Parse error", {}};
    case kJsonRpcInvalidRequest:
      return {code, "Invalid Request", {}};
    case kJsonRpcMethodNotFound:
      return {code, "Method not found", {}};
    case kJsonRpcInvalidParams:
      return {code, "Invalid params", {}};
    case kJsonRpcInternalError:
      return {code, "Internal error", {}};
    default:
      break;
  }
  const bool own = code >= kJsonRpcServerErrorFirst && code <= kJsonRpcServerErrorLast;
  return {code, own ? "Server error" : "", {}};
}

Result<JsonRpcMessage> decode_json_rpc(std::string_view body, const JsonRpcLimits& limits) {
  json::parse_options options;
  options.max_depth = limits.max_depth;
  json::error_code code;
  json::value value = json::parse(json::string_view(body.data(), body.size()), code, {}, options);
  if (code == json::error::too_deep) {
    return Error(errc::malformed_frame, "JSON-RPC body is nested deeper than " + std::to_string(limits.max_depth));
  }
  if (code) return JsonRpcMessage(invalid(kJsonRpcParseError, code.message()));
  auto* array = value.if_array();
  if (array == nullptr) return as_message(read_call(value));
  if (array->empty()) return JsonRpcMessage(invalid_request("the batch is empty"));
  if (array->size() > limits.max_batch) {
    return Error(errc::malformed_frame, "JSON-RPC batch of " + std::to_string(array->size()) +
                                            " calls exceeds the limit of " + std::to_string(limits.max_batch));
  }
  JsonRpcBatch batch;
  batch.calls.reserve(array->size());
  std::transform(array->begin(), array->end(), std::back_inserter(batch.calls), read_call);
  return JsonRpcMessage(std::move(batch));
}

Result<std::string> encode_json_rpc(const JsonRpcMessage& message) {
  return serialized(std::visit([](const auto& one) { return json::value(written(one)); }, message));
}

Result<std::string> encode_json_rpc(const JsonRpcCall& message) {
  return serialized(std::visit([](const auto& one) { return json::value(written(one)); }, message));
}

}  // namespace sharingbus::transport
