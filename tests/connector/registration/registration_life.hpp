#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "connector/registration/registration_fsm.hpp"
#include "tests/connector/registration/fsm_actions.hpp"

namespace sharingbus::connector {

namespace messages = transport::messages;
using std::chrono::milliseconds;
using std::chrono::seconds;
using State = RegistrationFsm::State;

/// A state machine, its time, and what comes to it. Every input returns what the machine decided.
class RegistrationLife : public ::testing::Test {
 protected:
  RegistrationLife() { reset(); }

  /// A machine of its own options; backoff 500, 1000, 2000, … ms up to 60 s, without jitter.
  void reset(
      BackoffOptions backoff = {.jitter_ms = 0},
      Backoff::Random random = [](std::uint64_t) -> std::uint64_t { return 0; }) {
    sut.emplace("t.c.i", times, Backoff(backoff, std::move(random)));
  }

  template <class Input>
  Texts feed(Input&& input) {
    last.clear();
    input(last);
    return texts_of(last);
  }
  Texts start() {
    return feed([this](auto& a) { sut->start(now, a); });
  }
  Texts opened() {
    return feed([this](auto& a) { sut->stream_opened(now, a); });
  }
  Texts message(const messages::ConnectorMessage& m) {
    return feed([&](auto& a) { sut->message(m, now, unix_ms, a); });
  }
  Texts closed(const Error& error = Error(errc::stream_closed, "the peer closed the stream")) {
    return feed([&](auto& a) { sut->stream_closed(error, now, unix_ms, a); });
  }
  Texts shutdown() {
    return feed([this](auto& a) { sut->shutdown(now, a); });
  }
  Texts in_flight(std::size_t count) {
    return feed([&](auto& a) { sut->in_flight_changed(count, now, a); });
  }
  Texts send_failed() {
    return feed([this](auto& a) { sut->send_failed(now, a); });
  }
  Texts tick() {
    return feed([this](auto& a) { sut->tick(now, unix_ms, a); });
  }
  Texts tick_after(Duration by) {
    now += by;
    return tick();
  }
  /// Goes to the machine's own next deadline.
  Texts tick_at_deadline() {
    const auto deadline = sut->next_deadline();
    EXPECT_TRUE(deadline.has_value()) << "no deadline in state " << static_cast<int>(sut->state());
    if (deadline) now = std::max(now, *deadline);
    return tick();
  }
  Duration until_deadline() const { return sut->next_deadline().value_or(TimePoint::max()) - now; }

  static messages::RegisterResponse yes(std::string token = "token") {
    messages::RegisterResponse response;
    response.success = true;
    response.connector_arn = "matrix:t:c:i";
    response.status = messages::RegistrationStatus::approved;
    response.session_token = std::move(token);
    return response;
  }
  static messages::RegisterResponse no(std::string error = "go away") {
    messages::RegisterResponse response;
    response.status = messages::RegistrationStatus::rejected;
    response.error = std::move(error);
    return response;
  }

  // Shortcuts to each state.
  void to_opening() { start(); }
  void to_registering() {
    to_opening();
    opened();
  }
  void to_driving() {
    to_registering();
    message(yes());
  }
  void to_draining() {
    to_driving();
    in_flight(1);
    shutdown();
  }
  void to_backing_off() {
    to_opening();
    closed(Error(errc::connection_refused, "refused"));
  }
  /// From backing off to a stream that the gateway accepted.
  void reregister(std::string token = "token") {
    tick_at_deadline();
    opened();
    message(yes(std::move(token)));
  }
  /// The token that the next stream registers with.
  std::string next_token() {
    for (const std::string& text : tick_at_deadline()) {
      if (text.rfind("open(", 0) == 0) return text.substr(5, text.size() - 6);
    }
    return "(no stream)";
  }

  RegistrationTimes times;
  TimePoint now = TimePoint{} + std::chrono::hours(1);
  std::int64_t unix_ms = 1'700'000'000'000;
  RegistrationFsm::Actions last;
  std::optional<RegistrationFsm> sut;
};

}  // namespace sharingbus::connector
