// The ways down, in every state, and with real threads.
#include <atomic>
#include <future>
#include <random>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/strand.hpp>
#include <gmock/gmock.h>

#include "bus/async.hpp"
#include "bus/async_timer_service.hpp"
#include "tests/connector/gateway/gateway_fixture.hpp"
#include "tests/support/watchdog.hpp"

namespace sharingbus::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GatewayCloseTest : public GatewayFixture {
 protected:
  void close(Duration drain) {
    gateway->close(drain, [this] { ++closed; });
    run();
  }
  int closed = 0;
};

TEST_F(GatewayCloseTest, Close_NeverStarted_Completes) {
  gateway.emplace(io.get_executor(), bus, time, options());
  close(10s);
  EXPECT_EQ(closed, 1);
}

TEST_F(GatewayCloseTest, Close_Twice_EveryDoneIsCalled) {
  start();
  const auto connector = connect("one");
  gateway->close(10s, [this] { ++closed; });
  gateway->close(0s, [this] { ++closed; });
  EXPECT_EQ(closed, 0) << "asynchronous";
  run();
  EXPECT_EQ(closed, 2);
  gateway->close(0s, [this] { ++closed; });
  gateway->close(0s, nullptr);
  run();
  EXPECT_EQ(closed, 3);
  EXPECT_EQ(time.pending(), 0U) << "not even the drain's";
  ASSERT_TRUE(connector->closed());
  EXPECT_TRUE(connector->closed()->is(errc::stream_closed)) << "in good order: " << connector->closed()->message;
}

TEST_F(GatewayCloseTest, Close_WaitsForPendingRequests) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one");
  run();
  close(10s);
  EXPECT_EQ(closed, 0);
  const auto refused = execute("acme.echo.one");
  const auto late = dial();
  run();
  EXPECT_TRUE(refused->error.is(errc::closed));
  ASSERT_TRUE(late->closed());
  EXPECT_TRUE(late->closed()->is(errc::connection_refused)) << late->closed()->message;
  const auto request = connector->next<messages::ExecuteRequest>();
  connector->answer(*request);
  run();
  EXPECT_TRUE(outcome->reply.success);
  EXPECT_EQ(closed, 1);
  EXPECT_FALSE(gateway->serve(network.make_listener("x", gateway->make_listener_options())));
}

TEST_F(GatewayCloseTest, Close_DrainOver_CancelsWhatIsLeft) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one");
  run();
  close(10s);
  advance(9999ms);
  EXPECT_EQ(closed, 0);
  EXPECT_FALSE(outcome->done);
  advance(1ms);
  EXPECT_EQ(closed, 1);
  EXPECT_TRUE(outcome->error.is(errc::closed));
  EXPECT_TRUE(connector->closed());
  EXPECT_THAT(events<ConnectorDisconnected>(observer), SizeIs(1));
}

TEST_F(GatewayCloseTest, Close_AgainWithLessPatience_Hurries) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one", call("1", 1h));
  run();
  close(60s);
  close(600s);
  close(10s);
  advance(10s);
  EXPECT_EQ(closed, 3);
  EXPECT_TRUE(outcome->error.is(errc::closed));
}

TEST_F(GatewayCloseTest, Close_AgainAtOnce_DoesNotWait) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one");
  run();
  close(Duration::max());
  EXPECT_EQ(closed, 0);
  close(0s);
  EXPECT_EQ(closed, 2);
}

TEST_F(GatewayCloseTest, Close_NoDrain_CancelsAtOnce) {
  start();
  const auto connector = connect("one");
  const auto unregistered = dial();
  const auto outcome = execute("acme.echo.one");
  run();
  close(0s);
  EXPECT_EQ(closed, 1);
  EXPECT_TRUE(outcome->error.is(errc::closed));
}

TEST_F(GatewayCloseTest, Close_PeerThatDoesNotRead_IsCancelledWhenTheDrainIsOver) {
  start();
  const auto deaf = connect("deaf", {10, 1});
  // Never read, so the stream cannot end in good order.
  deaf->send(messages::HeartbeatRequest{});
  run();
  close(5s);
  EXPECT_EQ(closed, 0);
  advance(5s);
  EXPECT_EQ(closed, 1);
}

TEST_F(GatewayCloseTest, Close_RegisterDuringTheDrain_IsRefused) {
  start();
  const auto connector = connect("one");
  const auto slow = dial();
  const auto outcome = execute("acme.echo.one");
  run();
  close(10s);
  slow->send(register_request("slow"));
  run();
  const auto response = slow->next<messages::RegisterResponse>();
  ASSERT_TRUE(response);
  EXPECT_FALSE(response->success);
  EXPECT_THAT(response->error, HasSubstr("closing"));
}

TEST_F(GatewayCloseTest, Close_BusClosedBefore_Completes) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one");
  run();
  bus.close();
  run();
  EXPECT_TRUE(outcome->error.is(errc::closed));
  close(10s);
  EXPECT_EQ(closed, 1);
}

TEST_F(GatewayCloseTest, Destroy_WithoutClose_CompletesPendingAndTouchesNothing) {
  start();
  const auto connector = connect("one");
  const auto unregistered = dial();
  const auto outcome = execute("acme.echo.one");
  run();
  const auto posted = execute("acme.echo.one");
  gateway->close(10s, [this] { ++closed; });
  gateway.reset();
  EXPECT_EQ(time.pending(), 0U) << "timers are cancelled at once";
  run();
  EXPECT_TRUE(outcome->error.is(errc::closed)) << outcome->error.message;
  EXPECT_TRUE(posted->done);
  EXPECT_EQ(closed, 1);
  EXPECT_TRUE(connector->closed());
}

TEST_F(GatewayCloseTest, Destroy_WithoutCloseAndWithoutRunning_LeaksNothing) {
  start();
  const auto connector = connect("one");
  const auto outcome = execute("acme.echo.one");
  gateway.reset();
  // Only now does anything run, or be destroyed with the context.
}

TEST_F(GatewayCloseTest, Destroy_FromACallback_IsFine) {
  start();
  const auto connector = connect("one");
  bool called = false;
  gateway->execute("acme.echo.one", call("1", 1s), [&](const Error&, const ExecuteReply&) {
    called = true;
    gateway.reset();
  });
  run();
  advance(1s);
  EXPECT_TRUE(called);
  EXPECT_FALSE(gateway);
}

/// A link that does nothing, and is still there after its end.
class IdleLink final : public transport::Link {
 public:
  [[nodiscard]] std::uint64_t id() const noexcept override { return 0; }
  [[nodiscard]] const Uuid& uid() const noexcept override { return uid_; }
  transport::SendStatus send(std::string) override { return transport::SendStatus::closed; }
  void grant(transport::Credit) override {}
  void finish() override {}
  void cancel(Error) override {}
  [[nodiscard]] transport::LinkStats stats() const override { return {}; }

 private:
  const Uuid uid_ = random_uuid();
};

/// Nothing is dispatched until the test says so, so a stream can end before the gateway sees it open.
class GatewayManualBusTest : public GatewayFixture {
 protected:
  GatewayManualBusTest() : GatewayFixture(Engine::manual) {}

  void open_and_close_a_stream() {
    gateway.emplace(io.get_executor(), bus, time, options());
    auto listener = gateway->make_listener_options();
    const std::uint64_t listener_id = listener.id;
    ASSERT_TRUE(gateway->serve(network.make_listener("gateway", std::move(listener))));
    bus.poll();
    Routing routing = routing_for<transport::StreamOpened>();
    routing.connector_uid = link->uid();
    bus.publish(transport::StreamOpened{link, "brief", listener_id}, routing, EventOrigin::transport);
    bus.publish(transport::StreamClosed{Error(errc::stream_failed, "gone"), "brief", {}}, routing,
                EventOrigin::transport);
    bus.poll();
  }
  const std::shared_ptr<IdleLink> link = std::make_shared<IdleLink>();
};

TEST_F(GatewayManualBusTest, StreamClosedBeforeTheGatewaySawItOpen_LeavesNoSession) {
  open_and_close_a_stream();
  run();
  EXPECT_EQ(link.use_count(), 1) << "a session waits for an end that was already";
  EXPECT_EQ(time.pending(), 0U);
}

TEST_F(GatewayManualBusTest, StreamClosedBeforeTheGatewaySawItOpen_CloseCompletes) {
  open_and_close_a_stream();
  close_gateway();
}

/// Connectors that answer on their own, requests from other threads, real time.
class GatewayThreads {
 public:
  explicit GatewayThreads(unsigned seed) : random_(seed) {
    auto listener = gateway_->make_listener_options();
    listener.limits.outbound_capacity = 16;
    EXPECT_TRUE(gateway_->serve(network_.make_listener("gateway", std::move(listener))));
    for (int i = 0; i < 2; ++i)
      threads_.emplace_back([this] { io_.run(); });
    for (int i = 0; i < 3; ++i)
      add_connector(i);
  }
  ~GatewayThreads() {
    work_.reset();
    for (auto& thread : threads_)
      thread.join();
  }

  enum class Ending : std::uint8_t { close, destroy };

  /// Requests from a thread of their own, and the end somewhere in the midst of them. Returns how many were answered.
  int hammer(int requests, bool wait_for_connectors, Ending ending) {
    while (wait_for_connectors && gateway_->session_count() < static_cast<std::size_t>(kConnectors))
      std::this_thread::yield();
    std::thread caller([this, requests] {
      for (int i = 0; i < requests; ++i)
        execute(i);
    });
    std::uniform_int_distribution<int> pauses(0, 200);
    const int spins = pauses(random_);
    for (int i = 0; i < spins; ++i)
      std::this_thread::yield();
    if (spins % 3 == 0) links_[0]->cancel(Error(errc::cancelled, "at random"));
    if (ending == Ending::destroy) {
      caller.join();
      gateway_.reset();
    } else {
      std::promise<void> closed;
      gateway_->close(spins % 2 == 0 ? Duration(0s) : Duration(20ms), [&closed] { closed.set_value(); });
      closed.get_future().wait();
      caller.join();
    }
    // Those that came after the close are refused through the executor.
    while (completed_ != requests)
      std::this_thread::yield();
    gateway_.reset();
    std::promise<void> hung_up;
    dialer_->close([&hung_up] { hung_up.set_value(); });
    hung_up.get_future().wait();
    subscriptions_.clear();
    EXPECT_EQ(gateway_timers_.pending(), 0U);
    return answered_;
  }

  SharingBus bus{BusOptions{.log = nullptr}};

 private:
  static constexpr int kConnectors = 3;

  void execute(int index) {
    ExecuteCall call;
    call.payload.bytes = std::to_string(index);
    call.timeout = 2s;
    // One address more than there are connectors.
    gateway_->execute("acme.echo." + std::to_string(index % (kConnectors + 1)), std::move(call),
                      [this](const Error& error, const ExecuteReply&) {
                        if (!error) ++answered_;
                        ++completed_;
                      });
  }

  void add_connector(int index) {
    transport::StreamOptions options;
    options.publisher = bus.publisher();
    options.decoder = std::make_shared<transport::ConnectorFrameDecoder>();
    options.routing.connector_uid = random_uuid();
    options.initial_credit = {1000, 1000};
    const auto link = std::make_shared<std::weak_ptr<transport::Link>>();
    subscriptions_.push_back(
        subscribe_on(bus, boost::asio::make_strand(io_.get_executor()),
                     {.filter = Filter::connector_uid(*options.routing.connector_uid), .capacity = 5000},
                     [link](const Received& item) {
                       if (const auto* opened = item.get_if<transport::StreamOpened>()) *link = opened->link;
                       const auto* request = item.get_if<messages::ExecuteRequest>();
                       const auto open = link->lock();
                       if (request == nullptr || !open) return;
                       open->send(transport::encode_connector_message(messages::ExecuteResponse{
                           request->request_id, true, request->payload, messages::PayloadEncoding::json, "", 0}));
                       open->grant({1, 0});
                     }));
    links_.push_back(dialer_->open(std::move(options),
                                   transport::encode_connector_message(register_request(std::to_string(index)))));
  }

  std::mt19937 random_;
  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io_.get_executor()};
  AsyncTimerService gateway_timers_{boost::asio::make_strand(io_.get_executor())};
  transport::MemoryNetwork network_{boost::asio::make_strand(io_.get_executor())};
  std::unique_ptr<transport::Dialer> dialer_ = network_.make_dialer("gateway");
  std::optional<Gateway> gateway_{std::in_place, io_.get_executor(), bus, gateway_timers_,
                                  GatewayOptions{.log = nullptr}};
  std::vector<CallbackSubscription> subscriptions_;
  std::vector<std::shared_ptr<transport::Link>> links_;
  std::atomic<int> completed_{0};
  std::atomic<int> answered_{0};
  std::vector<std::thread> threads_;
};

TEST(GatewayThreadsTest, ShutdownAtRandomPoints_CompletesEveryRequestOnce) {
  const Watchdog watchdog("gateway shutdown at random points", 110s);
  int answered = 0;
  for (unsigned seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    GatewayThreads run(seed);
    answered += run.hammer(300, seed % 4 != 0, GatewayThreads::Ending::close);
    EXPECT_TRUE(check_balanced(run.bus));
  }
  EXPECT_GT(answered, 0) << "it was never in the midst of anything";
}

TEST(GatewayThreadsTest, DestroyedAtRandomPoints_CompletesEveryRequestOnce) {
  const Watchdog watchdog("gateway destroyed at random points", 110s);
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    GatewayThreads run(seed);
    run.hammer(300, seed % 4 != 0, GatewayThreads::Ending::destroy);
    EXPECT_TRUE(check_balanced(run.bus));
  }
}

}  // namespace
}  // namespace sharingbus::test
