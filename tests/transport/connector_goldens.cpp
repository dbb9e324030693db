#include "tests/transport/connector_goldens.hpp"

#include <string>
#include <vector>

namespace sharingbus::test {

using namespace transport::messages;  // NOLINT(google-build-using-namespace): a table of its types

namespace {

Golden register_request() {
  const std::string task_type = Wire()
                                    .bytes(1, "lookup")
                                    .bytes(2, "Look up")
                                    .bytes(3, "Finds a word")
                                    .bytes(4, "text")
                                    .bytes(5, "book")
                                    .bytes(6, R"({"type":"object"})")
                                    .bytes(7, "{}");
  const std::string capabilities = Wire()
                                       .bytes(1, "dict.en")
                                       .bytes(2, "1.4.0")
                                       .bytes(3, "\x01\x02\x04")  // packed
                                       .bytes(4, "\x03\x05")      // packed
                                       .entry(5, "a", "1")
                                       .entry(5, "b", "2")
                                       .bytes(6, task_type)
                                       .bytes(6, Wire().bytes(1, "second"));
  const std::string metadata = Wire()
                                   .bytes(1, "Dictionary")
                                   .bytes(2, "blue")
                                   .bytes(2, "green")
                                   .entry(3, "sdk.language", "c++")
                                   .entry(3, "zone", "");
  return {.name = "register_request",
          .number = 1,
          .fields = 8,
          .body = Wire()
                      .bytes(1, "acme")
                      .bytes(2, "dict-en")
                      .bytes(3, "i-1")
                      .bytes(4, capabilities)
                      .bytes(7, "jwt")
                      .bytes(8, "session")
                      .varint(9, 2)
                      .bytes(10, metadata),
          .message = RegisterRequest{
              .tenant_id = "acme",
              .connector_type = "dict-en",
              .instance_id = "i-1",
              .capabilities = {.connector_type = "dict.en",
                               .version = "1.4.0",
                               .supported_encodings = {PayloadEncoding::json, PayloadEncoding::raw_bytes,
                                                       PayloadEncoding::json_lines},
                               .behaviors = {ConnectorBehavior::tool, ConnectorBehavior::request_response},
                               .metadata = {{"a", "1"}, {"b", "2"}},
                               .task_types = {{.task_type_id = "lookup",
                                               .name = "Look up",
                                               .description = "Finds a word",
                                               .category = "text",
                                               .icon = "book",
                                               .input_schema_json = R"({"type":"object"})",
                                               .output_schema_json = "{}"},
                                              {.task_type_id = "second",
                                               .name = "",
                                               .description = "",
                                               .category = "",
                                               .icon = "",
                                               .input_schema_json = "",
                                               .output_schema_json = ""}}},
              .jwt_token = "jwt",
              .session_token = "session",
              .scope = ConnectorScope::global,
              .instance_metadata = {.display_name = "Dictionary",
                                    .tags = {"blue", "green"},
                                    .metadata = {{"sdk.language", "c++"}, {"zone", ""}}}}};
}

Golden register_response() {
  const std::string oidc = Wire()
                               .bytes(1, "https://id/auth")
                               .bytes(2, "https://id/token")
                               .bytes(3, "https://id")
                               .bytes(4, "desktop")
                               .bytes(5, "openid")
                               .bytes(5, "profile")
                               .bytes(6, "https://id/user");
  return {.name = "register_response",
          .number = 2,
          .fields = 7,
          .body = Wire()
                      .varint(1, 1)
                      .bytes(2, "acme.dict-en.i-1")
                      .bytes(3, "none")
                      .bytes(4, "matrix:acme:dict-en:i-1")
                      .varint(5, 1)
                      .bytes(8, "session")
                      .bytes(9, oidc),
          .message = RegisterResponse{.success = true,
                                      .address = "acme.dict-en.i-1",
                                      .error = "none",
                                      .connector_arn = "matrix:acme:dict-en:i-1",
                                      .status = RegistrationStatus::pending,
                                      .session_token = "session",
                                      .oidc_config = OidcConfig{.authorization_endpoint = "https://id/auth",
                                                                .token_endpoint = "https://id/token",
                                                                .issuer = "https://id",
                                                                .client_id = "desktop",
                                                                .scopes = {"openid", "profile"},
                                                                .userinfo_endpoint = "https://id/user"}}};
}

Golden execute_request() {
  return {
      .name = "execute_request",
      .number = 3,
      .fields = 5,
      .body = Wire()
                  .bytes(1, "r-1")
                  .bytes(2, R"({"q":1})")
                  .varint(3, 1)
                  .entry(4, "connector_arn", "matrix:acme:dict-en:i-1")
                  .entry(4, "user_id", "zo\xC3\xAB")
                  .bytes(5, "lookup"),
      .message = ExecuteRequest{.request_id = "r-1",
                                .payload = R"({"q":1})",
                                .payload_encoding = PayloadEncoding::json,
                                .context = {{"connector_arn", "matrix:acme:dict-en:i-1"}, {"user_id", "zo\xC3\xAB"}},
                                .capability_id = "lookup"}};
}

Golden execute_response() {
  return {.name = "execute_response",
          .number = 4,
          .fields = 6,
          .body = Wire().bytes(1, "r-1").varint(2, 1).bytes(3, "\xFF\xFE").varint(4, 2).bytes(5, "none").varint(6, 300),
          .message = ExecuteResponse{.request_id = "r-1",
                                     .success = true,
                                     .payload = "\xFF\xFE",
                                     .payload_encoding = PayloadEncoding::raw_bytes,
                                     .error = "none",
                                     .duration_ms = 300}};
}

Golden approval_notification() {
  return {.name = "approval_notification",
          .number = 5,
          .fields = 3,
          .body = Wire().bytes(1, "acme.dict-en.i-1").varint(2, 3).bytes(5, "not here"),
          .message = ApprovalNotification{
              .gateway_id = "acme.dict-en.i-1", .status = RegistrationStatus::rejected, .message = "not here"}};
}

Golden heartbeat_request() {
  return {.name = "heartbeat_request",
          .number = 6,
          .fields = 2,
          .body = Wire().bytes(1, "g-1").varint(2, 1'700'000'000'000),
          .message = HeartbeatRequest{.gateway_id = "g-1", .timestamp_ms = 1'700'000'000'000}};
}

Golden heartbeat_response() {
  return {.name = "heartbeat_response",
          .number = 7,
          .fields = 3,
          .body = Wire().bytes(1, "g-1").varint(2, ~std::uint64_t{0}).varint(3, 1),
          .message = HeartbeatResponse{.gateway_id = "g-1", .timestamp_ms = -1, .should_reconnect = true}};
}

Golden invoke_request() {
  return {.name = "invoke_request",
          .number = 8,
          .fields = 8,
          .body = Wire()
                      .bytes(1, "invoke-1")
                      .bytes(2, "acme.dict-en.i-2")
                      .bytes(3, "lookup")
                      .bytes(4, "{}")
                      .varint(5, 4)
                      .entry(6, "x-invoke-depth", "1")
                      .varint(7, 30'000)
                      .varint(8, 1),
          .message = InvokeRequest{.request_id = "invoke-1",
                                   .target_address = "acme.dict-en.i-2",
                                   .capability_id = "lookup",
                                   .payload = "{}",
                                   .payload_encoding = PayloadEncoding::json_lines,
                                   .context = {{"x-invoke-depth", "1"}},
                                   .timeout_ms = 30'000,
                                   .fire_and_forget = true}};
}

Golden invoke_response() {
  return {.name = "invoke_response",
          .number = 9,
          .fields = 8,
          .body = Wire()
                      .bytes(1, "invoke-1")
                      .varint(2, 1)
                      .bytes(3, "{}")
                      .varint(4, 6)
                      .bytes(5, "none")
                      .varint(6, 12)
                      .entry(7, "tenant_id", "t")
                      .entry(8, "code", "E1")
                      .entry(8, "hint", "try later"),
          .message = InvokeResponse{.request_id = "invoke-1",
                                    .success = true,
                                    .payload = "{}",
                                    .payload_encoding = PayloadEncoding::msgpack,
                                    .error = "none",
                                    .duration_ms = 12,
                                    .context = {{"tenant_id", "t"}},
                                    .error_details = {{"code", "E1"}, {"hint", "try later"}}}};
}

Golden credentials_issued() {
  return {.name = "credentials_issued",
          .number = 10,
          .fields = 8,
          .body = Wire()
                      .bytes(1, "acme.dict-en.i-1")
                      .bytes(2, "https://key")
                      .bytes(3, "acme")
                      .varint(6, 5)
                      .bytes(7, "welcome")
                      .bytes(8, "ott-1")
                      .bytes(9, "/register")
                      .bytes(10, "https://api"),
          .message = CredentialsIssued{.gateway_id = "acme.dict-en.i-1",
                                       .keycloak_url = "https://key",
                                       .realm = "acme",
                                       .timestamp_ms = 5,
                                       .message = "welcome",
                                       .ott = "ott-1",
                                       .register_url = "/register",
                                       .matrix_api_url = "https://api"}};
}

Golden websocket_open_request() {
  return {
      .name = "websocket_open_request",
      .number = 11,
      .fields = 4,
      .body = Wire().bytes(1, "c-1").bytes(2, "/live").bytes(3, "v=2").entry(4, "host", "h").entry(4, "origin", "o"),
      .message = WebSocketOpenRequest{
          .connection_id = "c-1", .path = "/live", .query_string = "v=2", .headers = {{"host", "h"}, {"origin", "o"}}}};
}

Golden websocket_open_response() {
  return {.name = "websocket_open_response",
          .number = 12,
          .fields = 3,
          .body = Wire().bytes(1, "c-1").varint(2, 1).bytes(3, "none"),
          .message = WebSocketOpenResponse{.connection_id = "c-1", .success = true, .error = "none"}};
}

Golden websocket_frame() {
  return {.name = "websocket_frame",
          .number = 13,
          .fields = 3,
          .body = Wire().bytes(1, "c-1").varint(2, 2).bytes(3, std::string_view("\0\x80", 2)),
          .message = WebSocketFrame{
              .connection_id = "c-1", .frame_type = WebSocketFrameType::binary, .data = std::string("\0\x80", 2)}};
}

Golden websocket_close_request() {
  return {.name = "websocket_close_request",
          .number = 14,
          .fields = 3,
          .body = Wire().bytes(1, "c-1").varint(2, 1001).bytes(3, "going away"),
          .message = WebSocketCloseRequest{.connection_id = "c-1", .code = 1001, .reason = "going away"}};
}

Golden metrics_report() {
  return {.name = "metrics_report",
          .number = 15,
          .fields = 15,
          .body = Wire()
                      .bytes(1, "matrix:acme:dict-en:i-1")
                      .varint(2, 1)
                      .varint(3, 2)
                      .varint(4, 3)
                      .varint(5, 4)
                      .real(6, 5.5)
                      .real(7, 6.25)
                      .varint(8, 7)
                      .varint(9, 8)
                      .varint(10, 9)
                      .varint(11, 10)
                      .varint(12, 11)
                      .real(13, 12.125)
                      .varint(14, 13)
                      .bytes(15, Wire().bytes(1, "cpu").real(2, 0.5))
                      .bytes(15, Wire().bytes(1, "idle").real(2, 0)),
          .message = MetricsReport{.connector_arn = "matrix:acme:dict-en:i-1",
                                   .timestamp_ms = 1,
                                   .requests_received = 2,
                                   .requests_processed = 3,
                                   .requests_failed = 4,
                                   .avg_latency_ms = 5.5,
                                   .total_duration_ms = 6.25,
                                   .bytes_received = 7,
                                   .bytes_sent = 8,
                                   .reconnection_attempts = 9,
                                   .total_disconnects = 10,
                                   .successful_reconnects = 11,
                                   .uptime_seconds = 12.125,
                                   .last_request_at_ms = 13,
                                   .custom_metrics = {{"cpu", 0.5}, {"idle", 0}}}};
}

}  // namespace

std::vector<Golden> connector_goldens() {
  return {register_request(),      register_response(),       execute_request(),        execute_response(),
          approval_notification(), heartbeat_request(),       heartbeat_response(),     invoke_request(),
          invoke_response(),       credentials_issued(),      websocket_open_request(), websocket_open_response(),
          websocket_frame(),       websocket_close_request(), metrics_report()};
}

}  // namespace sharingbus::test
