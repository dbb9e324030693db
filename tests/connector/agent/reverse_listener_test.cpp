// Reverse connections: spec 4, last lines; protocol-agent-v2 §4; D27 to D30.

#include "connector/agent/reverse_listener.hpp"

#include "tests/connector/agent/pool_world.hpp"

namespace sharingbus::test {
namespace {

using namespace connector;

/// An agent that dials its proxy.
class ReverseAgent {
 public:
  ReverseAgent(SharingBus& bus, transport::Dialer& dialer, const std::string& first_frame,
               transport::Credit credit = {.requests = 10'000, .controls = 10'000})
      : uid_(random_uuid()) {
    inbox_ = bus.subscribe({.name = "reverse agent",
                            .filter = Filter::connector_uid(uid_) && Filter::origin(EventOrigin::service),
                            .capacity = 10'000});
    transport::StreamOptions options;
    options.publisher = bus.publisher();
    options.decoder =
        std::make_shared<transport::AgentFrameDecoder>(transport::AgentRole::agent, transport::AgentCarrier::uds);
    options.id = bus.new_source();
    options.origin = EventOrigin::service;
    options.routing.connector_uid = uid_;
    options.initial_credit = credit;
    link = dialer.open(std::move(options), first_frame);
  }

  /// Takes what has come, answers requests with `allow`.
  void work() {
    for (;;) {
      const Received item = inbox_.try_receive();
      if (item.event() == nullptr) return;
      if (const auto* answer = item.get_if<messages::ReverseRegistrationResponse>()) response = *answer;
      if (const auto* asked = item.get_if<messages::RequestHeaders>()) {
        ++requests;
        link->send(transport::encode_agent_message(ScriptAgent::allow(asked->metadata.correlation_id),
                                                   transport::AgentWire::json)
                       .value());
      }
      if (const auto* end = item.get_if<transport::StreamClosed>()) closed = end->error;
    }
  }

  std::shared_ptr<transport::Link> link;
  std::optional<messages::ReverseRegistrationResponse> response;
  std::optional<Error> closed;
  int requests = 0;

 private:
  const Uuid uid_;
  Subscription inbox_;
};

class ReverseListenerTest : public PoolWorld {
 protected:
  void TearDown() override {
    for (auto& agent : reverse_agents)
      agent->link->cancel(Error(errc::cancelled, "the test is over"));
    run();
    if (listener) {
      bool closed = false;
      listener->close([&] { closed = true; });
      run();
      EXPECT_TRUE(closed);
      listener.reset();
    }
    reverse_agents.clear();
    dialer->close(nullptr);
    run();
    PoolWorld::TearDown();
  }

  static ReverseListenerOptions allowing(std::set<std::string, std::less<>> agents = {"waf", "auth"}) {
    ReverseListenerOptions options;
    options.allowed_agents = std::move(agents);
    options.tokens = {{"secret-w", "waf"}, {"secret-a", "auth"}, {"secret-any", ""}};
    return options;
  }
  Result<transport::Endpoint> listen(ReverseListenerOptions options) {
    listener.emplace(io.get_executor(), bus, time, *pool, std::move(options));
    auto accepting = network.make_listener("reverse", listener->make_listener_options());
    accepting_ = accepting.get();
    return listener->serve(std::move(accepting));
  }
  static std::string registration(const std::string& id, std::optional<std::string> token) {
    messages::ReverseRegistration hello;
    hello.agent_id = id;
    hello.capabilities.name = "reverse " + id;
    hello.auth_token = std::move(token);
    return transport::encode_agent_message(hello, transport::AgentWire::json).value();
  }
  template <class... Credit>
  ReverseAgent& dial(const std::string& first_frame, Credit... credit) {
    reverse_agents.push_back(std::make_unique<ReverseAgent>(bus, *dialer, first_frame, credit...));
    settle();
    return *reverse_agents.back();
  }
  ReverseAgent& join(const std::string& id, std::optional<std::string> token) {
    return dial(registration(id, std::move(token)));
  }
  void settle() {
    for (int i = 0; i < 4; ++i) {
      run();
      for (auto& agent : reverse_agents)
        agent->work();
    }
  }

  std::optional<ReverseListener> listener;
  std::unique_ptr<transport::Dialer> dialer = network.make_dialer("reverse");
  std::vector<std::unique_ptr<ReverseAgent>> reverse_agents;
  /// The listener's own, while it is there.
  const transport::Listener* accepting_ = nullptr;
};

TEST_F(ReverseListenerTest, ClosedByDefault_RefusesToStartAndSaysWhatToSet) {
  start(small());
  ReverseListenerOptions open;
  EXPECT_NE(listen(open).error().message.find("allowed_agents"), std::string::npos);
  open.allowed_agents = {"waf"};
  const Error error = listen(open).error();
  EXPECT_TRUE(error.is(errc::invalid_argument));
  for (const char* way : {"tokens", "same_user", "client_certificates"})
    EXPECT_NE(error.message.find(way), std::string::npos) << way;
  open.client_certificates = true;
  EXPECT_TRUE(listen(open));
}

TEST_F(ReverseListenerTest, RegisteredAgent_JoinsThePoolAndAnswers) {
  start(small(2));
  ASSERT_TRUE(listen(allowing()));
  auto& agent = join("waf", "secret-w");
  ASSERT_TRUE(agent.response);
  EXPECT_TRUE(agent.response->success) << agent.response->error.value_or("");
  EXPECT_EQ(agent.response->connection_id.rfind("waf-", 0), 0U);
  EXPECT_EQ(agent.response->proxy_id, "sharingbus-proxy");
  EXPECT_EQ(pool->agent_ids(), std::vector<std::string>{"waf"});
  EXPECT_EQ(pool->agent_stats("waf")->endpoint, "reverse://waf");
  EXPECT_EQ(pool->agent_capabilities("waf")->name, "reverse waf");
  EXPECT_TRUE(pool->is_agent_healthy("waf"));
  const auto outcome = headers("waf", "c");
  settle();
  EXPECT_TRUE(outcome->allowed());
  EXPECT_EQ(agent.requests, 1);
  ASSERT_EQ(events<AgentConnectionUp>().size(), 1U);
  EXPECT_TRUE(events<AgentConnectionUp>()[0].reverse);
}

TEST_F(ReverseListenerTest, Refusals_HaveTheWordsOfTheProtocol) {
  start(small(2));
  ASSERT_TRUE(listen(allowing({"waf"})));
  const auto refused = [&](ReverseAgent& agent, const std::string& text) {
    ASSERT_TRUE(agent.response);
    EXPECT_FALSE(agent.response->success);
    EXPECT_EQ(agent.response->error, text);
    EXPECT_EQ(agent.response->connection_id, "");
    EXPECT_TRUE(agent.closed) << "and the connection ends";
  };
  refused(join("auth", "secret-a"), "Invalid message format: Agent 'auth' is not in the allowed list");
  refused(join("", "secret-a"), "Invalid message format: Agent ID cannot be empty");
  refused(join("waf", std::nullopt), "Invalid message format: Authentication required but no token provided");
  refused(join("waf", "wrong"), "Invalid message format: Registration rejected");
  refused(join("waf", "secret-a"), "Invalid message format: Registration rejected");
  messages::ReverseRegistration old;
  old.protocol_version = 1;
  old.agent_id = "waf";
  refused(dial(transport::encode_agent_message(old, transport::AgentWire::json).value()),
          "Protocol version mismatch: expected 2, got 1");
  EXPECT_TRUE(pool->agent_ids().empty());
  EXPECT_EQ(events<ReverseAgentRefused>().size(), 6U);
}

TEST_F(ReverseListenerTest, SameUser_IsWhatTheKernelSays) {
  start(small(2));
  ReverseListenerOptions options;
  options.allowed_agents = {"waf"};
  options.same_user = true;
  ASSERT_TRUE(listen(options));
  auto& agent = join("waf", std::nullopt);
  ASSERT_TRUE(agent.response);
  EXPECT_FALSE(agent.response->success) << "the memory network has no users";
}

TEST_F(ReverseListenerTest, NothingBeforeRegistration_WrongFramesAndSilence_AreDroppedWithoutAnswer) {
  start(small(2));
  ASSERT_TRUE(listen(allowing()));
  auto& wrong = dial(transport::encode_agent_message(ScriptAgent::allow("c"), transport::AgentWire::json).value());
  EXPECT_TRUE(wrong.closed);
  EXPECT_FALSE(wrong.response);
  auto& garbage = dial("\x01{");
  EXPECT_TRUE(garbage.closed);
  EXPECT_FALSE(garbage.response);
  auto& large = dial(registration(std::string(9000, 'w'), "secret-w"));
  ASSERT_TRUE(large.response) << "where the transport is not held to it, the listener is";
  EXPECT_FALSE(large.response->success);
  auto& silent = dial("");
  advance(9999ms);
  settle();
  EXPECT_FALSE(silent.closed);
  advance(1ms);
  settle();
  EXPECT_TRUE(silent.closed);
  EXPECT_FALSE(silent.response);
  EXPECT_EQ(events<ReverseAgentRefused>().size(), 4U);
}

TEST_F(ReverseListenerTest, Framing_HoldsTheFirstFrameTo8KiB) {
  start(small(2));
  listener.emplace(io.get_executor(), bus, time, *pool, allowing());
  const auto framing = listener->framing();
  const auto framed = [&](std::size_t bytes) {
    std::string out;
    framing->append_header(bytes, out);
    return out + std::string(bytes, 'x');
  };
  auto parser = framing->make_parser(1 << 20);
  std::string header;
  framing->append_header(8193, header);
  std::string_view input = header;
  EXPECT_TRUE(parser->next(input).error().is(errc::message_too_large)) << "at its header, before any of it is kept";

  parser = framing->make_parser(1 << 20);
  const std::string two = framed(8192) + framed(100'000);
  input = two;
  EXPECT_EQ((*parser->next(input))->size(), 8192U);
  EXPECT_EQ((*parser->next(input))->size(), 100'000U) << "later ones may be larger";
}

TEST_F(ReverseListenerTest, TooManyUnregistered_AreDropped) {
  start(small(2));
  auto options = allowing();
  options.max_unregistered = 2;
  ASSERT_TRUE(listen(options));
  dial("");
  dial("");
  EXPECT_TRUE(dial("").closed);
  advance(10s);
  settle();
  EXPECT_TRUE(join("waf", "secret-w").response->success);
}

TEST_F(ReverseListenerTest, RefusedPeerThatDoesNotEnd_IsEnded) {
  start(small(2));
  auto options = allowing();
  options.max_unregistered = 2;
  ASSERT_TRUE(listen(options));
  // It reads nothing, and so does not see that it should go.
  auto& refused = dial(registration("waf", "wrong"), transport::Credit{});
  EXPECT_EQ(events<ReverseAgentRefused>().size(), 1U);
  dial("");
  EXPECT_TRUE(dial("").closed) << "it still counts";
  advance(999ms);
  settle();
  EXPECT_EQ(accepting_->link_count(), 2U);
  advance(1ms);
  settle();
  EXPECT_EQ(accepting_->link_count(), 1U) << "it had time to read the answer, and to go";
  refused.link->grant({.requests = 10, .controls = 10});
  settle();
  EXPECT_TRUE(refused.closed);
  auto& next = join("waf", "secret-w");
  ASSERT_TRUE(next.response);
  EXPECT_TRUE(next.response->success);
}

TEST_F(ReverseListenerTest, Close_WaitsForARegistrationThatIsAtWork) {
  start(small(2));
  ASSERT_TRUE(listen(allowing()));
  bool closed = false;
  bool at_once = false;
  // From within the registration's own step, which may look at the pool.
  const Subscription refusals =
      bus.subscribe_inline({.name = "closer", .filter = Filter::type<ReverseAgentRefused>()}, [&](const EventRef&) {
        listener->close([&closed] { closed = true; });
        io.poll();
        at_once = closed;
      });
  join("waf", "wrong");
  EXPECT_FALSE(at_once);
  EXPECT_TRUE(closed);
}

TEST_F(ReverseListenerTest, D27_TheLimit_CountsLivingConnections_AndIsToldBeforeSuccess) {
  start(small(2));
  ASSERT_TRUE(listen(allowing()));
  for (int round = 0; round < 5; ++round) {
    auto& first = join("waf", "secret-w");
    auto& second = join("waf", "secret-w");
    EXPECT_TRUE(first.response->success) << round;
    EXPECT_TRUE(second.response->success);
    auto& third = join("waf", "secret-w");
    EXPECT_FALSE(third.response->success);
    EXPECT_EQ(third.response->error, "Agent waf already has maximum connections (2)");
    first.link->cancel(Error(errc::cancelled, "gone"));
    second.link->cancel(Error(errc::cancelled, "gone"));
    settle();
    EXPECT_EQ(pool->agent_stats("waf")->active_connections, 0U);
  }
}

TEST_F(ReverseListenerTest, D28_ReverseAgent_IsNeverDialled) {
  start(small(2));
  ASSERT_TRUE(listen(allowing()));
  join("waf", "secret-w").link->cancel(Error(errc::cancelled, "gone"));
  settle();
  EXPECT_FALSE(pool->is_agent_healthy("waf"));
  pool->start_maintenance();
  advance(1h);
  EXPECT_EQ(dialers, 0);
  EXPECT_TRUE(join("waf", "secret-w").response->success);
  EXPECT_TRUE(pool->is_agent_healthy("waf")) << "it is back when it dials again";
}

TEST_F(ReverseListenerTest, D29_AnotherProof_DoesNotGetAnIdThatIsTaken) {
  start(small(4));
  ASSERT_TRUE(listen(allowing()));
  auto& owner = join("waf", "secret-w");
  ASSERT_TRUE(owner.response->success);
  EXPECT_FALSE(join("waf", "secret-any").response->success);
  EXPECT_TRUE(join("waf", "secret-w").response->success) << "its owner may have more connections";
  for (auto& agent : reverse_agents)
    agent->link->cancel(Error(errc::cancelled, "gone"));
  settle();
  EXPECT_TRUE(join("waf", "secret-any").response->success) << "free again";
}

TEST_F(ReverseListenerTest, D29_TheIdOfADialledAgent_IsNotToBeHad) {
  agent("waf.sock");
  start(small(1));
  ASSERT_FALSE(add("waf", "waf.sock"));
  ASSERT_TRUE(listen(allowing()));
  auto& impostor = join("waf", "secret-w");
  EXPECT_FALSE(impostor.response->success);
  EXPECT_EQ(pool->agent_stats("waf")->active_connections, 1U);
}

TEST_F(ReverseListenerTest, D30_TwoFirstRegistrationsAtOnce_BothCount) {
  start(small(2));
  ASSERT_TRUE(listen(allowing()));
  reverse_agents.push_back(std::make_unique<ReverseAgent>(bus, *dialer, registration("waf", "secret-w")));
  reverse_agents.push_back(std::make_unique<ReverseAgent>(bus, *dialer, registration("waf", "secret-w")));
  settle();
  EXPECT_EQ(pool->agent_stats("waf")->active_connections, 2U);
  EXPECT_EQ(pool->agent_ids().size(), 1U);
}

TEST_F(ReverseListenerTest, D1_ReverseAgentKilledMidRequest_FailsAtOnce) {
  start(small(2));
  ASSERT_TRUE(listen(allowing()));
  auto& agent = join("waf", "secret-w");
  const auto outcome = headers("waf", "c");
  run();
  agent.link->cancel(Error(errc::cancelled, "killed"));
  run();
  ASSERT_EQ(outcome->calls, 1);
  EXPECT_EQ(outcome->reply.failure, PoolFailure::connection);
}

TEST_F(ReverseListenerTest, AddReverseConnection_OfALinkThatHasEnded_IsRefused) {
  start(small(2));
  EXPECT_TRUE(pool->add_reverse_connection("waf", nullptr, {}).error().is(errc::invalid_argument));
  ASSERT_TRUE(listen(allowing()));
  auto& agent = join("waf", "secret-w");
  agent.link->cancel(Error(errc::cancelled, "gone"));
  settle();
  EXPECT_TRUE(pool->add_reverse_connection("waf", agent.link, {}).error().is(errc::stream_failed));
  EXPECT_EQ(pool->agent_stats("waf")->active_connections, 0U);
}

}  // namespace
}  // namespace sharingbus::test
