// Agents that dial their proxy, in virtual time over the memory transport.
#include "tests/connector/agent/agent_server_fixture.hpp"

namespace sharingbus::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class AgentReverseTest : public AgentServerFixture {
 protected:
  void SetUp() override { server.emplace(io.get_executor(), bus, time, handler, options()); }
  void TearDown() override {
    if (server) close_server();
    accepted.clear();
    if (listener) listener->close(nullptr);
    run();
    listener.reset();
    AgentServerFixture::TearDown();
  }

  void listen() {
    transport::ListenerOptions with;
    with.publisher = bus.publisher();
    with.decoder = ScriptedProxy::decoder(AgentWire::json);
    with.new_source = [this] { return bus.new_source(); };
    with.id = bus.new_source();
    with.origin = EventOrigin::user;
    listener = network.make_listener("proxy", std::move(with));
    ASSERT_TRUE(listener->listen().has_value());
  }
  /// Dials and does nothing else.
  void dial_out(connector::ReverseOptions with = {.connections = 1}) {
    with.backoff = {.base_ms = 1000, .cap_ms = 8000, .jitter_ms = 0, .mode = connector::JitterMode::additive};
    ASSERT_TRUE(server->register_with(network.make_dialer("proxy"), std::move(with)).has_value());
    run();
  }
  /// Takes what has dialled in since.
  std::vector<std::unique_ptr<ScriptedProxy>> take_accepted() {
    std::vector<std::unique_ptr<ScriptedProxy>> out;
    for (;;) {
      const Received item = opened.try_receive();
      if (item.empty()) break;
      const auto* stream = item.get_if<transport::StreamOpened>();
      if (stream == nullptr) continue;
      auto link = stream->link.lock();
      if (!link) continue;
      out.push_back(std::make_unique<ScriptedProxy>(bus, link, AgentWire::json));
      link->grant({1000, 1000});
    }
    run();
    return out;
  }
  static agent::ReverseRegistrationResponse yes() {
    return {.success = true, .proxy_id = "proxy", .proxy_version = "1", .connection_id = "waf-1"};
  }

  std::unique_ptr<transport::Listener> listener;
  std::vector<std::unique_ptr<ScriptedProxy>> accepted;
  Subscription opened =
      bus.subscribe({.name = "opened",
                     .filter = Filter::type<transport::StreamOpened>() && Filter::origin(EventOrigin::user),
                     .capacity = 1000});
};

TEST_F(AgentReverseTest, Registers_AndServes) {
  listen();
  dial_out({.auth_token = "secret", .metadata_json = R"({"zone":"a"})", .connections = 1});
  accepted = take_accepted();
  ASSERT_THAT(accepted, SizeIs(1));
  ScriptedProxy& proxy = *accepted[0];
  const auto registration = proxy.next<agent::ReverseRegistration>();
  ASSERT_TRUE(registration);
  EXPECT_EQ(registration->protocol_version, 2U);
  EXPECT_EQ(registration->agent_id, "sharingbus");
  EXPECT_EQ(registration->auth_token, "secret");
  EXPECT_EQ(registration->metadata_json, R"({"zone":"a"})");
  EXPECT_TRUE(registration->capabilities.features.streaming_body);

  say(proxy, yes());
  const auto connected = events<ProxyConnected>();
  ASSERT_THAT(connected, SizeIs(1));
  EXPECT_TRUE(connected[0].reverse);
  EXPECT_EQ(connected[0].proxy_id, "proxy");
  say(proxy, headers("c1"));
  EXPECT_THAT(proxy.answered(), ElementsAre("c1"));
}

TEST_F(AgentReverseTest, KeepsAsManyConnectionsAsAsked) {
  listen();
  dial_out({.connections = 3});
  accepted = take_accepted();
  EXPECT_THAT(accepted, SizeIs(3));
}

TEST_F(AgentReverseTest, NobodyListens_TriesAgainWithBackoff) {
  dial_out();
  for (const Duration wait : std::vector<Duration>{1s, 2s, 4s, 8s, 8s}) {
    const auto refused = events<ProxyRefused>();
    ASSERT_THAT(refused, SizeIs(1));
    EXPECT_TRUE(refused[0].error.is(errc::connection_refused));
    EXPECT_EQ(refused[0].retry_in, wait);
    advance(wait - 1ms);
    EXPECT_THAT(events<ProxyRefused>(), IsEmpty());
    advance(1ms);
  }
  events<ProxyRefused>();
  listen();
  advance(8s);
  accepted = take_accepted();
  EXPECT_THAT(accepted, SizeIs(1));
}

TEST_F(AgentReverseTest, Refused_SaysWhyAndComesAgain) {
  listen();
  dial_out();
  accepted = take_accepted();
  agent::ReverseRegistrationResponse no;
  no.error = "Invalid message format: Registration rejected";
  say(*accepted.at(0), no);
  const auto refused = events<ProxyRefused>();
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_TRUE(refused[0].error.is(errc::rejected));
  EXPECT_THAT(refused[0].error.message, HasSubstr("Registration rejected"));
  EXPECT_EQ(refused[0].retry_in, Duration(1s));
  advance(1s);
  EXPECT_THAT(take_accepted(), SizeIs(1));
}

// A pool that has enough connections says yes and hangs up.
TEST_F(AgentReverseTest, HungUpOnRightAfterSuccess_BacksOffFurther) {
  listen();
  dial_out();
  for (const Duration wait : std::vector<Duration>{1s, 2s, 4s}) {
    accepted = take_accepted();
    ASSERT_THAT(accepted, SizeIs(1));
    say(*accepted[0], yes());
    accepted[0]->link().cancel(Error(errc::cancelled, "enough"));
    run();
    const auto gone = events<ProxyDisconnected>();
    ASSERT_THAT(gone, SizeIs(1));
    EXPECT_EQ(gone[0].retry_in, wait);
    advance(wait);
  }
}

TEST_F(AgentReverseTest, LostAfterALongTime_ComesBackSoon) {
  listen();
  dial_out();
  for (int i = 0; i < 3; ++i) {
    accepted = take_accepted();
    ASSERT_THAT(accepted, SizeIs(1));
    say(*accepted[0], yes());
    advance(6s);
    accepted[0]->link().cancel(Error(errc::cancelled, "restart"));
    run();
    const auto gone = events<ProxyDisconnected>();
    ASSERT_THAT(gone, SizeIs(1));
    EXPECT_EQ(gone[0].retry_in, Duration(1s));
    advance(1s);
  }
}

TEST_F(AgentReverseTest, SilentProxy_IsGivenUp) {
  listen();
  dial_out();
  accepted = take_accepted();
  advance(15s);
  const auto refused = events<ProxyRefused>();
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_TRUE(refused[0].error.is(errc::timed_out));
  EXPECT_TRUE(accepted[0]->closed());
}

TEST_F(AgentReverseTest, EventsBeforeTheAnswer_AreAViolation) {
  listen();
  dial_out();
  accepted = take_accepted();
  say(*accepted.at(0), headers("early"));
  const auto refused = events<ProxyRefused>();
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_TRUE(refused[0].error.is(errc::protocol_violation));
}

TEST_F(AgentReverseTest, Close_WhileBackingOff_DialsNoMore) {
  dial_out();
  close_server();
  EXPECT_EQ(time.pending(), 0U);
}

}  // namespace
}  // namespace sharingbus::test
