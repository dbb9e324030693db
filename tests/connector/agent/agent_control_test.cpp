// The control stream of an agent server (protocol-agent-v2 §1.1, §1.4, §2.6), in virtual time over the memory
// transport.
#include "transport/codec/agent_control.hpp"

#include "tests/connector/agent/agent_server_fixture.hpp"
#include "tests/support/raw_messages.hpp"
#include "zentinel/agent/v2/agent.pb.h"

namespace sharingbus::test {
namespace {

namespace wire = zentinel::agent::v2;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Whoever dials a control stream, written by hand.
class Dialler {
 public:
  Dialler(SharingBus& bus, transport::Dialer& dialer, std::uint32_t credit)
      : inbox_(bus.subscribe({.name = "dialler",
                              .filter = Filter::connector_uid(uid_) && Filter::origin(EventOrigin::user),
                              .capacity = 10'000})) {
    transport::StreamOptions options;
    options.publisher = bus.publisher();
    options.decoder = std::make_shared<RawDecoder>();
    options.id = bus.new_source();
    options.routing.connector_uid = uid_;
    options.origin = EventOrigin::user;
    options.initial_credit = {credit, credit};
    link_ = dialer.open(std::move(options), {});
  }

  [[nodiscard]] transport::Link& link() { return *link_; }
  transport::SendStatus send(const wire::AgentControl& message) { return link_->send(message.SerializeAsString()); }
  transport::SendStatus ask(const std::string& id, const std::string& broken = {}) {
    wire::AgentControl control;
    control.mutable_config_update()->set_request_id(id);
    if (broken.empty()) {
      control.mutable_config_update()->mutable_request_reload();
    } else {
      control.mutable_config_update()->mutable_config_error()->set_error(broken);
    }
    return send(control);
  }
  std::vector<wire::ProxyControl> all() {
    std::vector<wire::ProxyControl> found;
    for (;;) {
      const Received item = inbox_.try_receive();
      if (item.empty() || item.closed() != nullptr) return found;
      if (const auto* closed = item.get_if<transport::StreamClosed>()) closed_ = closed->error;
      if (const auto* raw = item.get_if<RawMessage>()) {
        found.emplace_back();
        EXPECT_TRUE(found.back().ParseFromString(raw->bytes));
      }
    }
  }
  /// The ids of configuration requests that were answered, with what the refused ones were told.
  std::vector<std::string> answers() {
    std::vector<std::string> found;
    for (const auto& message : all()) {
      const auto& response = message.config_response();
      EXPECT_TRUE(message.has_config_response());
      EXPECT_NE(response.accepted(), response.has_error());
      EXPECT_NE(response.timestamp_ms(), 0U);
      found.push_back(response.request_id() + (response.accepted() ? "" : ": " + response.error()));
    }
    return found;
  }
  std::optional<Error> closed() {
    (void)all();
    return closed_;
  }

 private:
  const Uuid uid_ = random_uuid();
  Subscription inbox_;
  std::shared_ptr<transport::Link> link_;
  std::optional<Error> closed_;
};

class AgentControlTest : public AgentServerFixture {
 protected:
  void start(AgentServerOptions with) {
    server.emplace(io.get_executor(), bus, time, handler, std::move(with));
    ASSERT_TRUE(server->serve(network.make_listener(
        "agent", server->make_listener_options(AgentCarrier::grpc, connector::AgentMethod::control_stream))));
    dialer = network.make_dialer("agent");
  }
  void start() { start(options()); }
  std::unique_ptr<Dialler> dial_control(std::uint32_t credit = 1000) {
    auto dialler = std::make_unique<Dialler>(bus, *dialer, credit);
    run();
    return dialler;
  }
  void ask(Dialler& dialler, const std::string& id, const std::string& broken = {}) {
    EXPECT_EQ(dialler.ask(id, broken), transport::SendStatus::queued);
    run();
  }
};

TEST_F(AgentControlTest, ConfigurationRequests_AreAnsweredWithWhatTheHandlerSays) {
  start();
  const auto dialler = dial_control();
  ask(*dialler, "a");
  ask(*dialler, "b", "no such list");
  ask(*dialler, "c", "throw");
  ask(*dialler, "d");
  EXPECT_THAT(dialler->answers(), ElementsAre("a", "b: no such list", "c: the handler threw: no idea", "d"));
  EXPECT_THAT(handler->take(), ElementsAre("config a", "config b", "config c", "config d"));
  EXPECT_NE(handler->last_proxy.connection, Uuid{});
  std::vector<AgentOutcome> outcomes;
  for (const AgentAnswered& answered : events<AgentAnswered>())
    outcomes.push_back(answered.outcome);
  EXPECT_THAT(outcomes, ElementsAre(AgentOutcome::accepted, AgentOutcome::refused, AgentOutcome::refused,
                                    AgentOutcome::accepted));
}

TEST_F(AgentControlTest, ConfigurationRequests_AreHandledOneByOne_InOrder) {
  start();
  const auto dialler = dial_control();
  ask(*dialler, "a", "wait");
  ask(*dialler, "b");
  EXPECT_THAT(handler->take(), ElementsAre("config a"));
  EXPECT_THAT(dialler->answers(), IsEmpty());
  handler->release("a");
  run();
  EXPECT_THAT(dialler->answers(), ElementsAre("a", "b"));
}

TEST_F(AgentControlTest, SlowHandler_IsARefusalAtTheDeadline) {
  AgentServerOptions with = options();
  with.processing_timeout = 2s;
  start(with);
  const auto dialler = dial_control();
  ask(*dialler, "a", "wait");
  advance(2s);
  EXPECT_THAT(dialler->answers(), ElementsAre("a: the handler took too long"));
  ask(*dialler, "b");
  EXPECT_THAT(dialler->answers(), ElementsAre("b"));
}

TEST_F(AgentControlTest, LongRefusals_AreCutShort) {
  start();
  const auto dialler = dial_control();
  ask(*dialler, "a", std::string(100'000, 'x'));
  const auto answers = dialler->answers();
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_LE(answers[0].size(), 1100U);
}

TEST_F(AgentControlTest, WaitingRequests_AreBoundedByTheWindow) {
  AgentServerOptions with = options();
  with.window = {.requests = 256, .controls = 4};
  start(with);
  Subscription seen =
      bus.subscribe({.name = "seen", .filter = Filter::type<agent::ConfigUpdateRequest>(), .capacity = 100});
  const auto dialler = dial_control();
  ask(*dialler, "0", "wait");
  for (int i = 1; i < 10; ++i)
    ask(*dialler, std::to_string(i));
  int read = 0;
  while (!seen.try_receive().empty())
    ++read;
  EXPECT_EQ(read, 4) << "the others stay with the dialler";
  handler->release("0");
  run();
  EXPECT_THAT(dialler->answers(), ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"));
}

TEST_F(AgentControlTest, DiallerThatDoesNotRead_IsReadNoFurther_AndLosesNothing) {
  AgentServerOptions with = options();
  with.window = {.requests = 256, .controls = 16};
  start(with);
  const auto dialler = dial_control(0);
  int sent = 0;
  for (; sent < 10'000 && dialler->ask(std::to_string(sent)) == transport::SendStatus::queued; ++sent)
    run();
  EXPECT_LT(sent, 10'000) << "it is told to wait at last";
  dialler->link().grant({10'000, 10'000});
  run();
  EXPECT_THAT(dialler->answers(), SizeIs(static_cast<std::size_t>(sent)));
}

TEST_F(AgentControlTest, HealthMetricsAndLogLines_AreEventsOnTheBus) {
  start();
  Subscription seen = bus.subscribe({.name = "seen", .filter = Filter::origin(EventOrigin::transport)});
  const auto dialler = dial_control();
  wire::AgentControl control;
  control.mutable_health()->set_agent_id("waf");
  control.mutable_health()->set_state(2);
  dialler->send(control);
  control.Clear();
  control.mutable_metrics()->set_agent_id("waf");
  dialler->send(control);
  control.Clear();
  control.mutable_log()->set_message("hello");
  dialler->send(control);
  dialler->link().send(std::string("\x4a\0", 2));
  run();
  std::vector<std::string> found;
  for (Received item = seen.try_receive(); !item.empty(); item = seen.try_receive()) {
    if (const auto* status = item.get_if<agent::HealthStatus>()) found.push_back("health of " + status->agent_id);
    if (const auto* report = item.get_if<agent::MetricsReport>()) found.push_back("metrics of " + report->agent_id);
    if (const auto* line = item.get_if<agent::LogMessage>()) found.push_back("log " + line->message);
  }
  EXPECT_THAT(found, ElementsAre("health of waf", "metrics of waf", "log hello"));
  EXPECT_THAT(dialler->answers(), IsEmpty());
  EXPECT_FALSE(dialler->closed()) << "what is unknown is skipped";
}

TEST_F(AgentControlTest, Reports_AreNotSentOnIt) {
  AgentServerOptions with = options();
  with.health_interval = with.metrics_interval = 1s;
  start(with);
  const auto dialler = dial_control();
  advance(60s);
  server->set_paused(true);
  run();
  EXPECT_THAT(dialler->all(), IsEmpty());
  EXPECT_FALSE(dialler->closed()) << "nor does it need a handshake";
}

TEST_F(AgentControlTest, Close_TellsOfTheDrain_AnswersWhatIsThere_ThenOfTheEnd) {
  start();
  const auto dialler = dial_control();
  ask(*dialler, "a", "wait");
  bool done = false;
  server->close(30s, [&done] { done = true; });
  run();
  auto told = dialler->all();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].drain().duration_ms(), 30'000U);
  EXPECT_NE(told[0].drain().timestamp_ms(), 0U);
  EXPECT_FALSE(done);
  handler->release("a");
  run();
  told = dialler->all();
  ASSERT_THAT(told, SizeIs(2));
  EXPECT_EQ(told[0].config_response().request_id(), "a");
  EXPECT_TRUE(told[0].config_response().accepted());
  EXPECT_EQ(told[1].shutdown().reason(), 1) << "graceful";
  EXPECT_TRUE(done);
  ASSERT_TRUE(dialler->closed());
  EXPECT_TRUE(dialler->closed()->is(errc::stream_closed)) << "in good order";
}

TEST_F(AgentControlTest, Close_DrainOver_CancelsTheHandler) {
  start();
  const auto dialler = dial_control();
  ask(*dialler, "a", "wait");
  bool done = false;
  server->close(2s, [&done] { done = true; });
  run();
  advance(2s);
  EXPECT_TRUE(done);
  EXPECT_THAT(handler->take(), ElementsAre("config a", "drain", "aborted a"));
  ASSERT_TRUE(dialler->closed());
  EXPECT_FALSE(dialler->closed()->is(errc::stream_closed));
}

TEST_F(AgentControlTest, DiallerGone_CancelsTheHandler) {
  start();
  const auto dialler = dial_control();
  ask(*dialler, "a", "wait");
  dialler->link().cancel(Error(errc::cancelled, "enough"));
  run();
  EXPECT_THAT(handler->take(), ElementsAre("config a", "aborted a"));
  EXPECT_EQ(server->connection_count(), 0U);
}

TEST(AgentControl, ProxyControl_GoldenBytes) {
  using transport::DrainRequest;
  using transport::ShutdownRequest;
  EXPECT_EQ(transport::encode_agent_control(DrainRequest{300, DrainRequest::Reason::maintenance, 5}),
            std::string("\x1a\x07\x08\xac\x02\x10\x02\x18\x05"));
  EXPECT_EQ(transport::encode_agent_control(ShutdownRequest{ShutdownRequest::Reason::upgrade, 300, 5}),
            std::string("\x12\x07\x08\x04\x10\xac\x02\x18\x05"));
  EXPECT_EQ(transport::encode_agent_control(transport::ConfigUpdateResponse{"ab", true, {}, 5}),
            std::string("\x22\x08\x0a\x02"
                        "ab\x10\x01\x20\x05"));
  EXPECT_EQ(transport::encode_agent_control(transport::ConfigUpdateResponse{"a", false, "\xff", 0}),
            std::string("\x22\x08\x0a\x01"
                        "a\x1a\x03\xef\xbf\xbd"));
}

}  // namespace
}  // namespace sharingbus::test
