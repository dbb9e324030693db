// Registrations that share streams (protocol-connector §3.5), and the weaknesses of the reference's way of it that ours
// must not have (§8.3). Virtual time; real runners, and a gateway that is ours or written by hand.
#include "connector/registration/multiplexed_dialer.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "connector/internal/lane_link.hpp"
#include "connector/registration/multi_connector_runner.hpp"
#include "tests/connector/gateway/gateway_fixture.hpp"
#include "tests/connector/registration/test_connectors.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus::test {
namespace {

using connector::MultiplexedDialer;
using ::testing::SizeIs;

class Multiplexed : public GatewayFixture {
 protected:
  void TearDown() override {
    if (runner) {
      runner->shutdown_handle().shutdown();
      run();
      step(6s);
      EXPECT_TRUE(ended);
      runner.reset();
    }
    shared->close(nullptr);
    run();
    EXPECT_EQ(shared->stats().channels, 0U);
    EXPECT_EQ(shared->stats().streams, 0U);
    GatewayFixture::TearDown();
  }
  void dial_with(std::size_t most) {
    shared = std::make_unique<MultiplexedDialer>(io.get_executor(), bus, time, *dialer, most);
  }
  /// Runs acme.echo.0 and so on.
  void start_runner(int count, const std::string& tenant = "acme",
                    const std::shared_ptr<connector::Connector>& handler = echo()) {
    connector::RunnerOptions with;
    with.log = nullptr;
    with.reconnect_jitter = {};
    std::vector<connector::Registration> registrations;
    for (int i = 0; i < count; ++i)
      registrations.push_back({{.tenant = tenant, .type = "echo", .instance = std::to_string(i)}, handler});
    runner.emplace(io.get_executor(), bus, time, *shared, with, std::move(registrations));
    runner->run([this](const Error&) { ended = true; });
    run();
  }
  void step(Duration by) {
    for (Duration done{}; done < by; done += 50ms)
      advance(50ms);
  }
  /// What a transport publishes whose peer says so, on every dialled stream.
  void stream_goes_away() {
    for (const auto& weak : dialled) {
      const auto below = weak.lock();
      // Not the registrations' own.
      if (!below || std::dynamic_pointer_cast<connector::internal::LaneLink>(below)) continue;
      Routing routing = routing_for<transport::StreamGoingAway>();
      routing.connector_uid = below->uid();
      bus.publisher().publish(transport::StreamGoingAway{}, std::move(routing), EventOrigin::transport, below->id());
    }
    run();
  }
  bool answers(const std::string& address) {
    const auto outcome = execute(address, call("1"));
    run();
    return outcome->done && !outcome->error && outcome->reply.success;
  }

  std::unique_ptr<MultiplexedDialer> shared =
      std::make_unique<MultiplexedDialer>(io.get_executor(), bus, time, *dialer);
  std::optional<connector::MultiConnectorRunner> runner;
  bool ended = false;
  std::vector<std::weak_ptr<transport::Link>> dialled;
  Subscription watcher = bus.subscribe_inline({.name = "dialled", .filter = Filter::type<transport::StreamOpened>()},
                                              [this](const EventRef& event) {
                                                const auto& opened = *event->get_if<transport::StreamOpened>();
                                                if (opened.listener == 0) dialled.push_back(opened.link);
                                              });
};

TEST_F(Multiplexed, Registrations_ShareOneStream_AndEachIsServed) {
  start();
  start_runner(100);
  EXPECT_EQ(gateway->session_count(), 100U);
  EXPECT_EQ(shared->stats().channels, 1U);
  EXPECT_EQ(shared->stats().streams, 100U);
  EXPECT_EQ(dialer->stats().streams, 1U);
  for (int i = 0; i < 100; ++i)
    EXPECT_TRUE(answers("acme.echo." + std::to_string(i))) << i;
  EXPECT_EQ(runner->metrics_snapshot().begin()->second.requests_received, 1U);
}

TEST_F(Multiplexed, Registrations_BeyondAStreamsShare_TakeAnother) {
  dial_with(30);
  start();
  start_runner(100);
  EXPECT_EQ(gateway->session_count(), 100U);
  EXPECT_EQ(shared->stats().channels, 4U);
}

TEST_F(Multiplexed, Ids_WithDotsAndBlanks_RegisterAndAreServed) {
  // Weakness 28: the table's key was not what stands on the wire.
  start();
  connector::RunnerOptions with;
  with.log = nullptr;
  std::vector<connector::Registration> registrations;
  for (const char* instance : {"a.b", "c d", "e:f"})
    registrations.push_back({{.tenant = "te.nant", .type = "x", .instance = instance}, echo()});
  runner.emplace(io.get_executor(), bus, time, *shared, with, std::move(registrations));
  runner->run([this](const Error&) { ended = true; });
  run();
  EXPECT_EQ(shared->stats().channels, 1U);
  for (const char* address : {"te-nant.echo.a-b", "te-nant.echo.c-d", "te-nant.echo.e-f"})
    EXPECT_TRUE(answers(address)) << address;
}

TEST_F(Multiplexed, Heartbeats_AreTheStreams_AndKeepAllAlive) {
  start();
  start_runner(50);
  std::size_t beats = 0;
  const auto counting = bus.subscribe_inline({.name = "beats", .filter = Filter::type<messages::HeartbeatRequest>()},
                                             [&](const EventRef&) { ++beats; });
  step(300s);
  EXPECT_EQ(gateway->session_count(), 50U);
  for (const auto& [key, metrics] : runner->metrics_snapshot())
    EXPECT_EQ(metrics.total_disconnects, 0U);
  EXPECT_GT(beats, 0U);
}

TEST_F(Multiplexed, StreamLost_AllComeBack) {
  start();
  start_runner(20);
  close_gateway();
  run();
  EXPECT_EQ(shared->stats().channels, 0U);
  start();
  step(3s);
  EXPECT_EQ(gateway->session_count(), 20U);
  EXPECT_EQ(shared->stats().channels, 1U);
  EXPECT_TRUE(answers("acme.echo.7"));
}

TEST_F(Multiplexed, Removed_One_TheOthersStay) {
  start();
  start_runner(3);
  bool removed = false;
  runner->remove({"acme", "echo", "1"}, [&](const Error&) { removed = true; });
  run();
  step(6s);
  EXPECT_TRUE(removed);
  EXPECT_EQ(shared->stats().streams, 2U);
  EXPECT_TRUE(answers("acme.echo.0"));
  EXPECT_TRUE(answers("acme.echo.2"));
  // Weakness 31: what is addressed to nobody here is answered, and at once.
  const auto outcome = execute("acme.echo.1", call("1"));
  run();
  EXPECT_TRUE(outcome->done);
  EXPECT_FALSE(outcome->reply.success);
  EXPECT_NE(outcome->reply.error.find("no such connector"), std::string::npos) << outcome->reply.error;
}

TEST_F(Multiplexed, Refused_TheFirst_TheOthersDoNotNoticeIt) {
  GatewayOptions with = options();
  with.duplicates = connector::DuplicatePolicy::refuse_new;
  start(with);
  // Somebody else has the identity.
  connector::RunnerOptions alone;
  alone.log = nullptr;
  connector::MultiConnectorRunner holder(io.get_executor(), bus, time, *dialer, alone,
                                         {{{.tenant = "acme", .type = "echo", .instance = "0"}, echo()}});
  bool holder_ended = false;
  holder.run([&](const Error&) { holder_ended = true; });
  run();
  ASSERT_EQ(gateway->session_count(), 1U);
  start_runner(5);
  EXPECT_EQ(gateway->session_count(), 5U);
  for (int i = 1; i < 5; ++i)
    EXPECT_TRUE(answers("acme.echo." + std::to_string(i))) << i;
  // Refused again and again, on the stream that the others have now.
  step(20s);
  EXPECT_EQ(shared->stats().channels, 1U);
  for (const auto& [key, metrics] : runner->metrics_snapshot()) {
    EXPECT_EQ(metrics.total_disconnects, 0U);
  }
  EXPECT_EQ(gateway->session_count(), 5U);
  holder.shutdown_handle().shutdown();
  run();
  step(6s);
  EXPECT_TRUE(holder_ended);
}

TEST_F(Multiplexed, AskedToReconnect_One_MovesToAStreamOfItsOwn) {
  start();
  start_runner(3);
  ASSERT_TRUE(gateway->ask_to_reconnect("acme.echo.1"));
  run();
  step(1s);
  EXPECT_EQ(gateway->session_count(), 3U);
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(answers("acme.echo." + std::to_string(i))) << i;
}

TEST_F(Multiplexed, AskedToReconnect_TheFirst_MovesAndTheOthersStayOnTheirStream) {
  start();
  const auto held = std::make_shared<HeldConnector>("echo");
  start_runner(3, "acme", held);
  const auto pending = execute("acme.echo.2", call("1"));
  const auto of_the_first = execute("acme.echo.0", call("1"));
  run();
  ASSERT_TRUE(gateway->ask_to_reconnect("acme.echo.0"));
  step(10s);
  EXPECT_EQ(gateway->session_count(), 3U);
  EXPECT_EQ(shared->stats().channels, 2U) << "one moved";
  held->release_for_good();
  run();
  for (const auto& outcome : {pending, of_the_first})
    EXPECT_TRUE(outcome->done && !outcome->error) << to_string(outcome->error);
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(answers("acme.echo." + std::to_string(i))) << i;
  std::uint64_t disconnects = 0;
  for (const auto& [key, metrics] : runner->metrics_snapshot())
    disconnects += metrics.total_disconnects;
  EXPECT_EQ(disconnects, 1U) << "the old stream of the one that moved";
  // The old stream goes with the last that is on it.
  for (const char* moving : {"acme.echo.1", "acme.echo.2"})
    ASSERT_TRUE(gateway->ask_to_reconnect(moving));
  step(10s);
  EXPECT_EQ(gateway->session_count(), 3U);
  EXPECT_EQ(shared->stats().channels, 1U);
}

// Spec 2, O: "GOAWAY / `should_reconnect`: open the replacement first, then drain the old", here of all on a stream.
TEST_F(Multiplexed, StreamGoesAway_AllMoveToAnotherBeforeItEnds) {
  start();
  start_runner(20);
  stream_goes_away();
  std::size_t least = 20;
  for (int i = 0; i < 40; ++i) {
    advance(50ms);
    least = std::min(least, gateway->session_count());
  }
  EXPECT_EQ(least, 20U) << "each is registered all the time";
  EXPECT_EQ(shared->stats().channels_opened, 2U) << "all the new ones share a stream";
  step(10s);
  EXPECT_EQ(shared->stats().channels, 1U);
  EXPECT_EQ(dialer->stats().streams, 1U);
  for (const auto& [key, metrics] : runner->metrics_snapshot())
    EXPECT_EQ(metrics.successful_reconnects, 1U) << to_string(key);
  EXPECT_TRUE(answers("acme.echo.7"));
}

TEST_F(Multiplexed, OneThatReadsNoMore_HoldsUpNobodyElse) {
  // Weakness 30: the stream was read no further while one registration's queue was full.
  start();
  const auto held = std::make_shared<HeldConnector>();
  connector::RunnerOptions with;
  with.log = nullptr;
  with.max_concurrent_requests = 1;
  with.max_waiting_requests = 1;
  runner.emplace(io.get_executor(), bus, time, *shared, with,
                 std::vector<connector::Registration>{{{.tenant = "acme", .type = "held", .instance = "0"}, held},
                                                      {{.tenant = "acme", .type = "echo", .instance = "0"}, echo()}});
  runner->run([this](const Error&) { ended = true; });
  run();
  EXPECT_EQ(shared->stats().channels, 1U);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 2000; ++i)
    outcomes.push_back(execute("acme.held.0", call("1")));
  run();
  EXPECT_TRUE(answers("acme.echo.0"));
  // Those for which there is no room are told so; the others are answered in the end.
  std::size_t refused = 0;
  for (const auto& outcome : outcomes)
    refused += outcome->done && outcome->reply.error.find("too many requests wait") != std::string::npos ? 1U : 0U;
  EXPECT_GT(refused, 0U);
  EXPECT_LT(refused, 1000U);
  held->release_for_good();
  run();
  for (const auto& outcome : outcomes)
    EXPECT_EQ(outcome->calls, 1);
}

TEST_F(Multiplexed, Tenants_NeverShareAStream) {
  start();
  connector::RunnerOptions with;
  with.log = nullptr;
  std::vector<connector::Registration> registrations;
  for (const char* tenant : {"one", "two", "one", "two"}) {
    const std::string instance = std::to_string(registrations.size());
    registrations.push_back({{.tenant = tenant, .type = "echo", .instance = instance}, echo()});
  }
  runner.emplace(io.get_executor(), bus, time, *shared, with, std::move(registrations));
  runner->run([this](const Error&) { ended = true; });
  run();
  EXPECT_EQ(gateway->session_count(), 4U);
  EXPECT_EQ(shared->stats().channels, 2U);
}

/// A gateway written by hand.
class MultiplexedByHand : public Multiplexed {
 protected:
  void serve() {
    transport::ListenerOptions options;
    options.publisher = far.publisher();
    options.decoder = std::make_shared<transport::ConnectorFrameDecoder>();
    options.id = 1;
    listener = network.make_listener("gateway", std::move(options));
    ASSERT_TRUE(listener->listen());
  }
  void TearDown() override {
    if (runner) runner->shutdown_handle().shutdown();
    run();
    listener->close(nullptr);
    run();
    Multiplexed::TearDown();
  }
  /// What has come since, of this type.
  template <class T>
  std::vector<T> got() {
    run();
    far.poll();
    std::vector<T> found;
    for (;;) {
      const Received item = inbox.try_receive();
      if (item.empty() || item.closed() != nullptr) return found;
      if (const auto* opened = item.get_if<transport::StreamOpened>()) {
        link = opened->link.lock();
        link->grant({1'000'000, 1'000'000});
        run();
      }
      if (const T* message = item.get_if<T>()) found.push_back(*message);
    }
  }
  void send(const messages::ConnectorMessage& message) {
    EXPECT_EQ(link->send(transport::encode_connector_message(message)), transport::SendStatus::queued);
    run();
  }
  void approve(const messages::RegisterRequest& request) {
    messages::RegisterResponse response;
    response.success = true;
    response.connector_arn = "matrix:" + request.tenant_id + ":" + request.connector_type + ":" + request.instance_id;
    send(response);
  }
  /// Without saying whom.
  void refuse() {
    messages::RegisterResponse response;
    response.error = "Registration failed";
    send(response);
  }

  SharingBus far{BusOptions{.log = nullptr}};
  Subscription inbox = far.subscribe({.name = "inbox", .filter = Filter::all(), .capacity = 100'000});
  std::unique_ptr<transport::Listener> listener;
  std::shared_ptr<transport::Link> link;
};

TEST_F(MultiplexedByHand, RejectionWithoutArn_GoesToTheOldestThatWaits) {
  // Weakness 29: such an answer was dropped, and the registration waited for its deadline.
  serve();
  start_runner(3);
  const auto requests = got<messages::RegisterRequest>();
  ASSERT_THAT(requests, SizeIs(3));
  approve(requests[0]);
  refuse();
  approve(requests[2]);
  // It tries again, on the same stream and at once, as far as its backoff lets it.
  step(1s);
  const auto again = got<messages::RegisterRequest>();
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again[0].instance_id, requests[1].instance_id);
  EXPECT_EQ(shared->stats().channels, 1U);
}

TEST_F(MultiplexedByHand, AnswerToOneThatHasEnded_IsNobodysElse) {
  serve();
  start_runner(3);
  const auto requests = got<messages::RegisterRequest>();
  ASSERT_THAT(requests, SizeIs(3));
  runner->remove({"acme", "echo", requests[0].instance_id}, [](const Error&) {});
  step(6s);
  approve(requests[0]);
  EXPECT_EQ(runner->metrics_snapshot().size(), 2U);
  // Nor does it take the next one's place: without an ARN that is the oldest which still waits.
  refuse();
  approve(requests[2]);
  step(1s);
  const auto again = got<messages::RegisterRequest>();
  ASSERT_THAT(again, SizeIs(1)) << "refused, not registered";
  EXPECT_EQ(again[0].instance_id, requests[1].instance_id);
  messages::ExecuteRequest request;
  request.request_id = "r-1";
  request.payload = "{}";
  request.payload_encoding = messages::PayloadEncoding::json;
  request.context["connector_arn"] = "matrix:acme:echo:" + requests[2].instance_id;
  send(request);
  const auto responses = got<messages::ExecuteResponse>();
  ASSERT_THAT(responses, SizeIs(1));
  EXPECT_TRUE(responses[0].success);
}

TEST_F(MultiplexedByHand, Request_ForNobody_IsAnsweredAsFailed) {
  serve();
  start_runner(2);
  for (const auto& request : got<messages::RegisterRequest>())
    approve(request);
  messages::ExecuteRequest request;
  request.request_id = "r-1";
  request.payload = "{}";
  request.payload_encoding = messages::PayloadEncoding::json;
  request.context["connector_arn"] = "matrix:acme:echo:unknown";
  send(request);
  auto responses = got<messages::ExecuteResponse>();
  ASSERT_THAT(responses, SizeIs(1));
  EXPECT_EQ(responses[0].request_id, "r-1");
  EXPECT_FALSE(responses[0].success);
  // Without the key nobody knows which of the two is meant.
  request.request_id = "r-2";
  request.context.clear();
  send(request);
  responses = got<messages::ExecuteResponse>();
  ASSERT_THAT(responses, SizeIs(1));
  EXPECT_FALSE(responses[0].success);
}

TEST_F(MultiplexedByHand, HeartbeatOfTheGateway_IsAnsweredOnce) {
  serve();
  start_runner(5);
  for (const auto& request : got<messages::RegisterRequest>())
    approve(request);
  send(messages::HeartbeatRequest{"gw", 42});
  const auto responses = got<messages::HeartbeatResponse>();
  ASSERT_THAT(responses, SizeIs(1));
  EXPECT_EQ(responses[0].gateway_id, "gw");
  EXPECT_EQ(responses[0].timestamp_ms, 42);
}

TEST_F(MultiplexedByHand, Silence_IsNoticed) {
  // Weakness 34: there was no watchdog at all.
  serve();
  start_runner(3);
  for (const auto& request : got<messages::RegisterRequest>())
    approve(request);
  step(100s);
  for (const auto& [key, metrics] : runner->metrics_snapshot())
    EXPECT_GE(metrics.total_disconnects, 1U);
}

TEST_F(Multiplexed, Open_WithoutARegisterRequest_IsRefused) {
  start();
  transport::StreamOptions options;
  options.publisher = bus.publisher();
  options.decoder = std::make_shared<transport::ConnectorFrameDecoder>();
  const auto link = shared->open(std::move(options), transport::encode_connector_message(messages::HeartbeatRequest{}));
  run();
  EXPECT_EQ(link->send("x"), transport::SendStatus::closed);
  EXPECT_EQ(shared->stats().channels, 0U);
}

/// Streams whose gateway has answered a register request before `send` returns.
class HastyDialer final : public transport::Dialer {
 public:
  class HastyLink final : public transport::Link {
   public:
    explicit HastyLink(transport::StreamOptions options) : options_(std::move(options)) {}
    std::uint64_t id() const noexcept override { return options_.id; }
    const Uuid& uid() const noexcept override { return *options_.routing.connector_uid; }
    transport::SendStatus send(std::string frame) override {
      const auto message = transport::decode_connector_message(frame);
      const auto* request = message ? std::get_if<messages::RegisterRequest>(&*message) : nullptr;
      if (request == nullptr) return transport::SendStatus::queued;
      messages::RegisterResponse response;
      response.success = true;
      response.connector_arn =
          "matrix:" + request->tenant_id + ":" + request->connector_type + ":" + request->instance_id;
      publish(std::move(response));
      return transport::SendStatus::queued;
    }
    void grant(transport::Credit) override {}
    void finish() override { cancel(Error(errc::stream_closed, "finished")); }
    void cancel(Error why) override {
      if (!std::exchange(closed_, true)) publish(transport::StreamClosed{std::move(why), {}, {}, {}});
    }
    transport::LinkStats stats() const override { return {}; }

   private:
    template <class T>
    void publish(T payload) {
      Routing routing = options_.routing;
      options_.publisher.publish(std::move(payload), std::move(routing), options_.origin, options_.id);
    }

    const transport::StreamOptions options_;
    bool closed_ = false;
  };

  std::shared_ptr<transport::Link> open(transport::StreamOptions options, std::string) override {
    const auto link = std::make_shared<HastyLink>(std::move(options));
    if (refuse) link->cancel(Error(errc::connection_refused, "nobody is there"));
    if (while_opening) while_opening();
    return link;
  }
  void close(std::function<void()> done) override {
    if (done) done();
  }
  transport::DialerStats stats() const override { return {}; }

  /// Streams end before `open` returns.
  bool refuse = false;
  std::function<void()> while_opening;
};

std::shared_ptr<transport::Link> open_lane(SharingBus& bus, transport::Dialer& through, const Uuid& uid,
                                           const std::string& instance) {
  transport::StreamOptions options;
  options.publisher = bus.publisher();
  options.decoder = std::make_shared<transport::ConnectorFrameDecoder>();
  options.id = bus.new_source();
  options.initial_credit = {.requests = 10, .controls = 10};
  options.routing.connector_uid = uid;
  return through.open(std::move(options), transport::encode_connector_message(register_request(instance)));
}

TEST(SharedStreams, RegisteredWhileAnotherIsAnswered_GetsItsAnswer) {
  boost::asio::io_context io;
  SharingBus bus;
  ManualTimerService time;
  HastyDialer hasty;
  MultiplexedDialer sut(io.get_executor(), bus, time, hasty);
  const Uuid first = random_uuid();
  const Uuid second = random_uuid();
  std::vector<std::string> answered;
  std::vector<std::shared_ptr<transport::Link>> lanes;
  const auto open = [&](const std::string& instance) {
    lanes.push_back(open_lane(bus, sut, instance == "1" ? first : second, instance));
  };
  // The second one comes from within the work on the first one's answer, on the stream's own strand.
  const auto watching =
      bus.subscribe_inline({.name = "answers",
                            .filter = Filter::type<messages::RegisterResponse>() &&
                                      (Filter::connector_uid(first) || Filter::connector_uid(second))},
                           [&](const EventRef& event) {
                             answered.push_back(event->get_if<messages::RegisterResponse>()->connector_arn);
                             if (answered.size() == 1) open("2");
                           });
  open("1");
  io.run();
  EXPECT_EQ(answered, (std::vector<std::string>{"matrix:acme:echo:1", "matrix:acme:echo:2"}));
  for (const auto& lane : lanes)
    lane->cancel(Error(errc::cancelled, "enough"));
  sut.close(nullptr);
  io.restart();
  io.run();
}

// What is dialled may dispatch, on this thread, whatever the bus has for those who listen inline.
TEST(SharedStreams, AskedForFiguresWhileItDials_Answers) {
  const Watchdog watchdog("figures of a dialer that dials");
  boost::asio::io_context io;
  SharingBus bus;
  ManualTimerService time;
  HastyDialer hasty;
  hasty.refuse = true;
  MultiplexedDialer sut(io.get_executor(), bus, time, hasty);
  std::vector<std::size_t> streams;
  const auto watching =
      bus.subscribe_inline({.name = "ends", .filter = Filter::type<transport::StreamClosed>()},
                           [&](const EventRef& /*event*/) { streams.push_back(sut.stats().channels); });
  const auto lane = open_lane(bus, sut, random_uuid(), "1");
  EXPECT_EQ(streams, (std::vector<std::size_t>{1}));
  io.run();
  EXPECT_EQ(streams, (std::vector<std::size_t>{1, 0})) << "the stream's end, then the registration's";
  EXPECT_EQ(sut.stats().streams, 0U);
  EXPECT_EQ(sut.stats().channels_opened, 1U);
}

TEST(SharedStreams, ClosedWhileItDials_EndsWhatWasDialled) {
  const Watchdog watchdog("close of a dialer that dials");
  boost::asio::io_context io;
  SharingBus bus;
  ManualTimerService time;
  HastyDialer hasty;
  MultiplexedDialer sut(io.get_executor(), bus, time, hasty);
  bool closed = false;
  const auto watching = bus.subscribe_inline({.name = "asks", .filter = Filter::type<messages::HeartbeatRequest>()},
                                             [&](const EventRef& /*event*/) { sut.close([&] { closed = true; }); });
  std::vector<Error> ends;
  const Uuid uid = random_uuid();
  const auto ending =
      bus.subscribe_inline({.name = "ends", .filter = Filter::connector_uid(uid)}, [&](const EventRef& event) {
        if (const auto* end = event->get_if<transport::StreamClosed>()) ends.push_back(end->error);
      });
  hasty.while_opening = [&] {
    bus.publisher().publish(messages::HeartbeatRequest{}, routing_for<messages::HeartbeatRequest>(),
                            EventOrigin::transport);
  };
  const auto lane = open_lane(bus, sut, uid, "1");
  EXPECT_FALSE(closed) << "there is a stream";
  io.run();
  EXPECT_TRUE(closed);
  ASSERT_THAT(ends, SizeIs(1));
  EXPECT_TRUE(ends[0].is(errc::cancelled)) << to_string(ends[0]);
  EXPECT_EQ(sut.stats().channels, 0U);
}

}  // namespace
}  // namespace sharingbus::test
