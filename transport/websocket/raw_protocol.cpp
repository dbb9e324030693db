#include "transport/websocket/raw_protocol.hpp"

#include <utility>

namespace sharingbus::transport {
namespace {

class RawChannel final : public MessageChannel {
 public:
  ProtocolStep begin() override {
    ProtocolStep step;
    step.opened = true;
    return step;
  }
  ProtocolStep receive(std::string_view bytes, bool /*binary*/) override {
    ProtocolStep step;
    step.frame = bytes;
    return step;
  }
  WebSocketMessage encode(std::string frame) override { return {std::move(frame), true}; }
  std::optional<WebSocketMessage> farewell() override { return std::nullopt; }
  std::optional<WebSocketMessage> heartbeat() override { return std::nullopt; }
};

class RawProtocol final : public MessageProtocol {
 public:
  explicit RawProtocol(std::string path) : path_(std::move(path)) {}

  std::unique_ptr<MessageChannel> make_channel(Role /*role*/) const override { return std::make_unique<RawChannel>(); }
  std::string target() const override { return path_; }
  Error check_target(std::string_view target) const override {
    if (target.substr(0, target.find('?')) == path_) return {};
    return {errc::not_found, "nothing is served here but " + path_};
  }
  std::size_t max_message_bytes(std::size_t frame_bytes) const override { return frame_bytes; }
  Duration heartbeat_interval(Role /*role*/) const override { return {}; }

 private:
  const std::string path_;
};

}  // namespace

std::shared_ptr<const MessageProtocol> make_raw_protocol(std::string path) {
  return std::make_shared<RawProtocol>(std::move(path));
}

}  // namespace sharingbus::transport
