#include "transport/websocket/phoenix_protocol.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "transport/websocket/internal/phoenix_message.hpp"

namespace sharingbus::transport {
namespace {

using internal::PhoenixMessage;
using internal::PhoenixRef;

constexpr std::string_view kHeartbeatTopic = "phoenix";
constexpr std::string_view kUnmatchedTopic = "unmatched topic";
constexpr std::string_view kOk = R"({"status":"ok","response":{}})";

PhoenixRef number_ref(std::uint64_t number) {
  return {PhoenixRef::Kind::text, std::to_string(number)};
}

WebSocketMessage text(std::string bytes) {
  return {std::move(bytes), false};
}

WebSocketMessage reply_to(const PhoenixMessage& message, std::string_view payload) {
  return text(internal::write_phoenix(message.join_ref, message.ref, message.topic, "phx_reply", payload));
}

ProtocolStep failed(Error error) {
  ProtocolStep step;
  step.error = std::move(error);
  return step;
}

/// What both ends of a channel have in common.
class PhoenixChannel : public MessageChannel {
 public:
  explicit PhoenixChannel(std::shared_ptr<const PhoenixOptions> options) : options_(std::move(options)) {}

  ProtocolStep receive(std::string_view bytes, bool binary) final {
    if (binary) return receive_binary(bytes);
    auto parsed = internal::parse_phoenix(bytes);
    if (!parsed) return failed(std::move(parsed).error());
    if (!*parsed) return {};
    PhoenixMessage& message = **parsed;
    if (message.topic == kHeartbeatTopic && message.event == "heartbeat") {
      ProtocolStep step;
      step.reply = reply_to(message, kOk);
      return step;
    }
    return receive_message(message);
  }

 protected:
  virtual ProtocolStep receive_binary(std::string_view bytes) = 0;
  virtual ProtocolStep receive_message(PhoenixMessage& message) = 0;

  [[nodiscard]] const PhoenixOptions& options() const noexcept { return *options_; }
  [[nodiscard]] bool is_ours(const PhoenixMessage& message) const { return message.topic == options_->topic; }
  /// `bytes` as a frame.
  ProtocolStep frame(std::string bytes) {
    frame_ = std::move(bytes);
    ProtocolStep step;
    step.frame = frame_;
    return step;
  }
  ProtocolStep encoded_frame(const PhoenixMessage& message) {
    if (!message.data) return failed({errc::malformed_frame, "a message '" + message.event + "' has no data"});
    auto decoded = internal::decode_phoenix_data(*message.data);
    if (!decoded) return failed(std::move(decoded).error());
    return frame(std::move(*decoded));
  }

 private:
  const std::shared_ptr<const PhoenixOptions> options_;
  std::string frame_;
};

class DialerChannel final : public PhoenixChannel {
 public:
  using PhoenixChannel::PhoenixChannel;

  ProtocolStep begin() override {
    ProtocolStep step;
    step.reply = text(internal::write_phoenix(join_ref_, number_ref(++last_ref_), options().topic, "phx_join", "{}"));
    return step;
  }
  WebSocketMessage encode(std::string frame) override {
    return text(internal::write_phoenix_frame(join_ref_, number_ref(++last_ref_), options().topic, frame));
  }
  std::optional<WebSocketMessage> farewell() override {
    return text(internal::write_phoenix(join_ref_, number_ref(++last_ref_), options().topic, "phx_leave", "{}"));
  }
  std::optional<WebSocketMessage> heartbeat() override {
    return text(internal::write_phoenix({}, number_ref(++last_ref_), kHeartbeatTopic, "heartbeat", "{}"));
  }

 private:
  ProtocolStep receive_binary(std::string_view bytes) override { return let_in(frame(std::string(bytes))); }

  ProtocolStep receive_message(PhoenixMessage& message) override {
    if (message.event == "proto") return let_in(encoded_frame(message));
    if (message.event == "phx_reply") return reply(message);
    if (message.event == "phx_error") {
      return failed({errc::stream_failed, "the server's channel failed (phx_error)"});
    }
    ProtocolStep step;
    step.finished = message.event == "phx_close";
    return step;
  }

  ProtocolStep reply(const PhoenixMessage& message) {
    if (!joined_) return join_answered(message);
    if (message.status == "error" && message.reason == kUnmatchedTopic) {
      return failed({errc::stream_failed, "the server does not know the channel any more (unmatched topic)"});
    }
    if (message.status == "ok" && message.data) return encoded_frame(message);
    return {};
  }

  ProtocolStep join_answered(const PhoenixMessage& message) {
    if (!is_ours(message) || message.ref != join_ref_) return {};
    ProtocolStep step;
    step.opened = joined_ = message.status == "ok";
    if (!joined_) {
      const std::string& why = message.reason.empty() ? message.status : message.reason;
      step.error = {errc::connection_refused, "the server refused to join '" + options().topic + "': " + why};
    }
    return step;
  }

  /// Whoever sends data has let us in, even if its answer is still to come.
  ProtocolStep let_in(ProtocolStep step) {
    if (!step.error && !std::exchange(joined_, true)) step.opened = true;
    return step;
  }

  const PhoenixRef join_ref_ = number_ref(1);
  std::uint64_t last_ref_ = 0;
  bool joined_ = false;
};

class ListenerChannel final : public PhoenixChannel {
 public:
  using PhoenixChannel::PhoenixChannel;

  ProtocolStep begin() override { return {}; }
  WebSocketMessage encode(std::string frame) override {
    return text(internal::write_phoenix_frame(join_ref_, {}, options().topic, frame));
  }
  std::optional<WebSocketMessage> farewell() override { return std::nullopt; }
  std::optional<WebSocketMessage> heartbeat() override { return std::nullopt; }

 private:
  ProtocolStep receive_binary(std::string_view bytes) override {
    if (auto push = internal::parse_phoenix_push(bytes)) {
      if (!is_ours(*push) || !joined_) return unmatched(*push);
      if (push->event == "proto") return frame(std::move(*push->data));
      return {};
    }
    if (!joined_) return failed({errc::protocol_violation, "data before phx_join"});
    return frame(std::string(bytes));
  }

  ProtocolStep receive_message(PhoenixMessage& message) override {
    if (message.event == "phx_reply") return {};
    ProtocolStep step;
    if (is_ours(message) && message.event == "phx_join") {
      join_ref_ = message.join_ref;
      step.reply = reply_to(message, kOk);
      step.opened = !std::exchange(joined_, true);
      return step;
    }
    if (!is_ours(message) || !joined_) return unmatched(message);
    if (message.event == "proto") return encoded_frame(message);
    if (message.event == "phx_leave") {
      step.reply = reply_to(message, kOk);
      step.finished = true;
    }
    return step;
  }

  static ProtocolStep unmatched(const PhoenixMessage& message) {
    ProtocolStep step;
    step.reply = reply_to(message, R"({"status":"error","response":{"reason":"unmatched topic"}})");
    return step;
  }

  PhoenixRef join_ref_;
  bool joined_ = false;
};

class PhoenixProtocol final : public MessageProtocol {
 public:
  explicit PhoenixProtocol(PhoenixOptions options)
      : options_(std::make_shared<const PhoenixOptions>(std::move(options))) {}

  std::unique_ptr<MessageChannel> make_channel(Role role) const override {
    if (role == Role::dialer) return std::make_unique<DialerChannel>(options_);
    return std::make_unique<ListenerChannel>(options_);
  }
  std::string target() const override { return options_->path + "?vsn=2.0.0"; }
  Error check_target(std::string_view target) const override;
  std::size_t max_message_bytes(std::size_t frame_bytes) const override {
    // Hexadecimal at worst, and room for refs, topic and event.
    return 2 * frame_bytes + 1024;
  }
  Duration heartbeat_interval(Role role) const override {
    return role == Role::dialer ? options_->heartbeat_interval : Duration::zero();
  }

 private:
  const std::shared_ptr<const PhoenixOptions> options_;
};

Error PhoenixProtocol::check_target(std::string_view target) const {
  const std::size_t mark = target.find('?');
  if (target.substr(0, mark) != options_->path) {
    return {errc::not_found, "nothing is served here but " + options_->path};
  }
  std::string_view query = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
  while (!query.empty()) {
    const std::string_view each = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), each.size() + 1));
    constexpr std::string_view kVersion = "vsn=";
    if (each.substr(0, kVersion.size()) == kVersion && each.substr(kVersion.size(), 2) != "2.") {
      return {errc::invalid_argument, "only vsn=2.0.0 is spoken here"};
    }
  }
  return {};
}

}  // namespace

std::shared_ptr<const MessageProtocol> make_phoenix_protocol(PhoenixOptions options) {
  return std::make_shared<PhoenixProtocol>(std::move(options));
}

}  // namespace sharingbus::transport
