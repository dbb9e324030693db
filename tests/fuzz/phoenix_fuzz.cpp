// Any messages, text and binary, to both ends of a Phoenix channel: no crash, and frames come out only once it is open.
// A frame that goes through the codec comes out as it went in.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "transport/websocket/internal/phoenix_message.hpp"
#include "transport/websocket/phoenix_protocol.hpp"

namespace transport = sharingbus::transport;
using transport::MessageProtocol;

namespace {

/// The input's lines are messages; a line that begins with B is a binary one.
void talk(transport::MessageChannel& channel, std::string_view input) {
  bool open = channel.begin().opened;
  while (!input.empty()) {
    const std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(line.size() == input.size() ? line.size() : line.size() + 1);
    const bool binary = line.substr(0, 1) == "B";
    const transport::ProtocolStep step = channel.receive(binary ? line.substr(1) : line, binary);
    open = open || step.opened;
    if (step.frame && !open) std::abort();
    if (step.error && step.frame) std::abort();
    if (step.reply && !step.reply->binary && !transport::internal::parse_phoenix(step.reply->bytes)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  static const auto protocol = transport::make_phoenix_protocol();
  for (const auto role : {MessageProtocol::Role::dialer, MessageProtocol::Role::listener})
    talk(*protocol->make_channel(role), input);
  static_cast<void>(protocol->check_target(input));

  const std::string text = transport::internal::write_phoenix_frame({}, {}, "topic", input);
  const auto message = transport::internal::parse_phoenix(text);
  if (!message || !*message || !(**message).data) std::abort();
  const auto frame = transport::internal::decode_phoenix_data(*(**message).data);
  if (!frame || *frame != input) std::abort();
  return 0;
}
