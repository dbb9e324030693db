#include "connector/gateway/internal/session_fsm.hpp"

#include <algorithm>
#include <utility>

#include "connector/identity.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::messages;

constexpr std::size_t kIdentifierMax = 256;

/// At most `kIdentifierMax` bytes, not ending within a UTF-8 character.
std::string cut(std::string_view text) {
  if (text.size() <= kIdentifierMax) return std::string(text);
  std::size_t end = kIdentifierMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;
  return std::string(text.substr(0, end));
}

std::string milliseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) + " ms";
}

std::string describe(const messages::UnknownMessage& unknown) {
  return unknown.empty ? "empty" : "an unknown message (field " + std::to_string(unknown.field_number) + ")";
}

}  // namespace

Error check_identity(const messages::RegisterRequest& request) {
  const auto check = [](std::string_view field, const std::string& value) {
    const std::string text = "invalid connector identity: " + std::string(field);
    if (value.empty()) return Error(errc::invalid_argument, text + " is empty");
    if (value.size() > kIdentifierMax) return Error(errc::invalid_argument, text + " is longer than 256 bytes");
    return Error{};
  };
  Error error = check("tenant_id", request.tenant_id);
  if (!error) error = check("connector_type", request.connector_type);
  if (!error) error = check("instance_id", request.instance_id);
  return error;
}

Address address_of(const messages::RegisterRequest& request) {
  return sanitized({cut(request.tenant_id), cut(request.connector_type), cut(request.instance_id)});
}

SessionFsm::SessionFsm(const GatewayOptions& options, TokenSource tokens, std::string peer, TimePoint opened_at)
    : options_(options),
      tokens_(std::move(tokens)),
      peer_(std::move(peer)),
      deadline_(opened_at + options.register_timeout),
      last_message_(opened_at) {}

void SessionFsm::message(const messages::RegisterRequest& request, std::size_t bytes, Moment at, Actions& actions) {
  last_message_ = at.now;
  if (state_ == State::registered) return register_again(request, at, actions);
  if (state_ != State::awaiting_register) return;
  const Address address = address_of(request);
  Error wrong = check_identity(request);
  if (bytes > options_.max_register_bytes) {
    wrong = Error(errc::message_too_large, "the register request exceeds the limit of " +
                                               std::to_string(options_.max_register_bytes) + " bytes");
  }
  if (wrong) return refuse(wrong, to_string(address), to_arn(address), at, actions);
  identity_.address = to_string(address);
  identity_.arn = to_arn(address);
  identity_.display_name =
      request.instance_metadata.display_name.empty() ? address.instance : cut(request.instance_metadata.display_name);
  identity_.version = cut(request.capabilities.version);
  token_ = make_token(at);
  if (token_.empty()) return claim_refused(Error(errc::internal, "no random bytes for a session token"), at, actions);
  actions.push_back(Claim{identity_});
}

std::string SessionFsm::make_token(Moment at) const {
  const auto lifetime = std::chrono::duration_cast<std::chrono::seconds>(options_.session_token_lifetime);
  return tokens_(identity_.address, at.unix_ms / 1000 + lifetime.count());
}

void SessionFsm::register_again(const messages::RegisterRequest& request, Moment at, Actions& actions) {
  const Address address = address_of(request);
  messages::RegisterResponse response;
  response.connector_arn = to_arn(address);
  response.address = to_string(address);
  if (const Error wrong = check_identity(request)) {
    response.error = wrong.message;
  } else if (response.connector_arn != identity_.arn) {
    response.error = "this stream is registered with another identity";
  } else {
    return send_registered(at, actions);
  }
  actions.push_back(Send{std::move(response)});
}

void SessionFsm::claimed(bool replaced, Moment at, Actions& actions) {
  state_ = State::registered;
  last_asked_ = at.now;
  actions.push_back(ConnectorRegistered{identity_.address, identity_.arn, identity_.display_name, identity_.version,
                                        peer_, replaced});
  send_registered(at, actions);
}

void SessionFsm::send_registered(Moment at, Actions& actions) {
  // The first answer has the token made for the claim, so that a system without random bytes refuses before it.
  std::string token = std::exchange(token_, {});
  if (token.empty()) token = make_token(at);
  messages::RegisterResponse response;
  response.success = true;
  response.address = identity_.address;
  response.connector_arn = identity_.arn;
  response.status = messages::RegistrationStatus::approved;
  response.session_token = std::move(token);
  actions.push_back(Send{std::move(response)});
}

void SessionFsm::claim_refused(const Error& why, Moment at, Actions& actions) {
  refuse(why, std::move(identity_.address), std::move(identity_.arn), at, actions);
}

void SessionFsm::refuse(const Error& why, std::string address, std::string arn, Moment at, Actions& actions) {
  messages::RegisterResponse response;
  response.address = address;
  response.error = why.message;
  response.connector_arn = std::move(arn);
  actions.push_back(Send{std::move(response)});
  actions.push_back(ConnectorRefused{std::move(address), peer_, why});
  begin_finish(at, actions);
}

void SessionFsm::message(const messages::HeartbeatRequest& request, Moment at, Actions& actions) {
  if (state_ != State::registered && state_ != State::hosting) {
    return other_message(messages::HeartbeatRequest::event_name, at, actions);
  }
  last_message_ = at.now;
  actions.push_back(
      Send{messages::HeartbeatResponse{request.gateway_id, request.timestamp_ms, reconnect_asked_ && !shared_}});
}

void SessionFsm::ask_to_reconnect(Moment at, Actions& actions) {
  if (state_ != State::registered) return;
  reconnect_asked_ = true;
  actions.push_back(Send{messages::HeartbeatResponse{identity_.address, at.unix_ms, true}});
}

void SessionFsm::message(const messages::UnknownMessage& unknown, Moment at, Actions& actions) {
  last_message_ = at.now;
  if (state_ == State::awaiting_register) violation("the first message is " + describe(unknown), actions);
}

void SessionFsm::other_message(std::string_view name, Moment at, Actions& actions) {
  last_message_ = at.now;
  if (state_ == State::awaiting_register) violation("the first message is " + std::string(name), actions);
}

void SessionFsm::violation(const std::string& message, Actions& actions) {
  const Error why(errc::protocol_violation, message + ", not a register request");
  actions.push_back(ConnectorRefused{{}, peer_, why});
  cancel(why, actions);
}

void SessionFsm::tick(Moment at, Actions& actions) {
  switch (state_) {
    case State::awaiting_register: {
      if (at.now < deadline_) return;
      const Error why(errc::timed_out, "no register request within " + milliseconds(options_.register_timeout));
      actions.push_back(ConnectorRefused{{}, peer_, why});
      return cancel(why, actions);
    }
    case State::registered:
    case State::hosting:
      if (at.now >= last_message_ + options_.session_timeout) {
        return end(Error(errc::timed_out, "no message for " + milliseconds(options_.session_timeout)), false, at,
                   actions);
      }
      if (at.now >= next_heartbeat()) {
        last_asked_ = at.now;
        actions.push_back(Send{messages::HeartbeatRequest{registered() ? identity_.address : "", at.unix_ms}});
      }
      return;
    case State::finishing:
      if (at.now >= deadline_) cancel(Error(errc::timed_out, "the peer did not close the stream"), actions);
      return;
    case State::cancelled:
    case State::closed:
      return;
  }
}

void SessionFsm::end(const Error& why, bool graceful, Moment at, Actions& actions) {
  if (state_ == State::cancelled || state_ == State::closed) return;
  if (state_ == State::registered) leave_registered(why, actions);
  if (!graceful) return cancel(why, actions);
  if (state_ != State::finishing) begin_finish(at, actions);
}

void SessionFsm::host(const Error& why, Actions& actions) {
  if (state_ != State::registered) return;
  leave_registered(why, actions);
  state_ = State::hosting;
}

void SessionFsm::stream_closed(const Error& error, Actions& actions) {
  if (state_ == State::registered) {
    leave_registered(error ? error : Error(errc::stream_closed, "the connector closed the stream"), actions);
  } else if (state_ == State::awaiting_register &&
             (error.is(errc::malformed_frame) || error.is(errc::message_too_large))) {
    // Ended by our own transport, for what it sent first.
    actions.push_back(ConnectorRefused{{}, peer_, error});
  }
  state_ = State::closed;
}

void SessionFsm::leave_registered(const Error& why, Actions& actions) {
  actions.push_back(Release{why});
  actions.push_back(ConnectorDisconnected{identity_.address, peer_, why});
}

void SessionFsm::begin_finish(Moment at, Actions& actions) {
  state_ = State::finishing;
  deadline_ = at.now + options_.register_timeout;
  actions.push_back(FinishStream{});
}

void SessionFsm::cancel(const Error& why, Actions& actions) {
  state_ = State::cancelled;
  actions.push_back(CancelStream{why});
}

TimePoint SessionFsm::next_heartbeat() const {
  return std::max(last_message_, last_asked_) + options_.heartbeat_interval;
}

std::optional<TimePoint> SessionFsm::next_deadline() const {
  switch (state_) {
    case State::awaiting_register:
    case State::finishing:
      return deadline_;
    case State::registered:
    case State::hosting:
      return std::min(next_heartbeat(), last_message_ + options_.session_timeout);
    case State::cancelled:
    case State::closed:
      break;
  }
  return std::nullopt;
}

}  // namespace sharingbus::connector::internal
