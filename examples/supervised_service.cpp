// A service for `sharingbus supervise`: JSON-RPC 2.0 on standard input and output, framed like a language server's. It
// answers `ping` and `echo`, and ends when its input does. Try it with its sibling in Python:
//
//   PATH=build/dev/examples:$PATH ./run sharingbus supervise --config examples/supervised_services.yaml
#include <cstdio>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <variant>

#include <boost/json/value.hpp>

#include "transport/codec/json_rpc_codec.hpp"
#include "transport/content_length_framing.hpp"

using namespace sharingbus::transport;
using namespace sharingbus::transport::messages;

namespace {

JsonRpcResponse answer(const JsonRpcRequest& request) {
  if (request.method == "ping") return {request.id, boost::json::value("pong")};
  if (request.method == "echo") return {request.id, request.params.value_or(nullptr)};
  return {request.id, json_rpc_error(kJsonRpcMethodNotFound)};
}

void send(const Framing& framing, const JsonRpcMessage& message) {
  const std::string body = encode_json_rpc(message).value();
  std::string out;
  framing.append_header(body.size(), out);
  out += body;
  std::fwrite(out.data(), 1, out.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

int main() {
  const ContentLengthFraming framing;
  const auto parser = framing.make_parser(1 << 20);
  char buffer[4096];
  for (ssize_t count = 0; (count = ::read(STDIN_FILENO, buffer, sizeof buffer)) > 0;) {
    std::string_view input(buffer, static_cast<std::size_t>(count));
    for (;;) {
      const auto frame = parser->next(input);
      if (!frame) return std::fprintf(stderr, "%s\n", frame.error().message.c_str()), 1;
      if (!*frame) break;
      const auto message = decode_json_rpc(**frame);
      if (!message) return std::fprintf(stderr, "%s\n", message.error().message.c_str()), 1;
      if (const auto* request = std::get_if<JsonRpcRequest>(&*message)) send(framing, answer(*request));
      if (const auto* invalid = std::get_if<JsonRpcInvalid>(&*message)) send(framing, *invalid);
    }
  }
  return 0;
}
