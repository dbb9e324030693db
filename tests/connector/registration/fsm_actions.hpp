#pragma once

#include <chrono>
#include <string>
#include <variant>
#include <vector>

#include "connector/registration/registration_fsm.hpp"

namespace sharingbus::connector {

/// What the state machine decided, one short text an action, so that a test reads as the conversation it is.
struct ActionText {
  using Fsm = RegistrationFsm;

  std::string operator()(const Fsm::OpenStream& a) const { return "open(" + a.session_token + ")"; }
  std::string operator()(const Fsm::Send& a) const {
    return "send " + std::string(transport::messages::message_name(a.message));
  }
  std::string operator()(const Fsm::Execute& a) const { return "execute " + a.request.request_id; }
  std::string operator()(const Fsm::DrainExecutes&) const { return "drain"; }
  std::string operator()(const Fsm::CancelExecutes& a) const { return a.answer ? "cancel and answer" : "cancel"; }
  std::string operator()(const Fsm::FinishStream&) const { return "finish"; }
  std::string operator()(const Fsm::CancelStream& a) const { return "break: " + to_string(a.why); }
  std::string operator()(const Fsm::ReplaceStream&) const { return "replace"; }
  std::string operator()(const Fsm::End& a) const { return a.error ? "end: " + to_string(a.error) : "end"; }
  std::string operator()(const RegistrationAttempt&) const { return "attempt"; }
  std::string operator()(const Registered& a) const { return a.again ? "registered again" : "registered"; }
  std::string operator()(const RegistrationRenewed&) const { return "renewed"; }
  std::string operator()(const RegistrationFailed& a) const { return "failed: " + to_string(a.error); }
  std::string operator()(const Disconnected& a) const { return "disconnected " + a.reason; }
  std::string operator()(const BackingOff& a) const {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(a.delay).count();
    return "wait #" + std::to_string(a.attempt) + " " + std::to_string(ms) + "ms";
  }
  std::string operator()(const RegistrationNotice& a) const { return (a.warn ? "warn: " : "note: ") + a.text; }
};

using Texts = std::vector<std::string>;

inline Texts texts_of(const RegistrationFsm::Actions& actions) {
  Texts texts;
  for (const auto& action : actions)
    texts.push_back(std::visit(ActionText{}, action));
  return texts;
}

}  // namespace sharingbus::connector
