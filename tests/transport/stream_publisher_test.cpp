#include "transport/stream_publisher.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/support/text_frames.hpp"

namespace sharingbus::test {
namespace {

using transport::Credit;
using transport::LinkStats;
using transport::StreamClosed;
using transport::StreamLimits;
using transport::StreamOpened;
using transport::StreamOptions;
using transport::StreamPublisher;
using transport::StreamWritable;

constexpr std::uint64_t kSource = 77;

class StreamPublisherTest : public testing::Test {
 protected:
  StreamOptions options(Credit credit = {10, 10}) {
    StreamOptions options;
    options.publisher = bus.publisher();
    options.decoder = std::make_shared<TextFrameDecoder>();
    options.id = kSource;
    options.origin = EventOrigin::connector;
    options.initial_credit = credit;
    return options;
  }
  EventRef next() {
    const Received received = events.try_receive();
    return received.event() != nullptr ? *received.event() : EventRef();
  }

  SharingBus bus;
  Subscription events = bus.subscribe_all();
};

TEST_F(StreamPublisherTest, Events_CarryTheStreamsIdentity) {
  auto chosen = options();
  chosen.routing.connector_uid = random_uuid();
  chosen.routing.address = "tenant.type.instance";
  const Routing routing = chosen.routing;
  StreamPublisher sut(std::move(chosen));
  EXPECT_EQ(sut.uid(), *routing.connector_uid);
  EXPECT_EQ(sut.id(), kSource);

  sut.opened({}, "10.0.0.1:5", 9);
  ASSERT_TRUE(sut.frame("Rwork").has_value());
  sut.writable();
  sut.closed(Error(errc::stream_failed, "reset"));

  const EventRef opened = next();
  const EventRef frame = next();
  const EventRef writable = next();
  const EventRef closed = next();
  ASSERT_TRUE(opened && frame && writable && closed);
  EXPECT_EQ(opened->get_if<StreamOpened>()->peer, "10.0.0.1:5");
  EXPECT_EQ(opened->get_if<StreamOpened>()->listener, 9U);
  EXPECT_EQ(frame->get_if<TextFrame>()->text, "Rwork");
  EXPECT_TRUE(writable->is<StreamWritable>());
  EXPECT_EQ(closed->get_if<StreamClosed>()->error, Error(errc::stream_failed, "reset"));
  EXPECT_EQ(closed->get_if<StreamClosed>()->peer, "10.0.0.1:5");
  EXPECT_EQ(closed->get_if<StreamClosed>()->stats, (LinkStats{0, 0, 1, 5}));
  for (const EventRef& event : {opened, frame, writable, closed}) {
    EXPECT_EQ(event->source(), kSource);
    EXPECT_EQ(event->origin(), EventOrigin::connector);
    EXPECT_EQ(event->routing().connector_uid, routing.connector_uid);
    EXPECT_EQ(event->routing().address, routing.address);
    EXPECT_EQ(event->kind(), event.get() == frame.get() ? EventKind::request : EventKind::stream);
  }
  EXPECT_FALSE(next());
}

TEST_F(StreamPublisherTest, Uid_NotGiven_IsRandom) {
  const StreamPublisher one(options());
  const StreamPublisher other(options());
  EXPECT_NE(one.uid(), other.uid());
}

TEST_F(StreamPublisherTest, Batch_IsCountedAtOnce_AndPublishedInOrderWhenItIsTold) {
  StreamPublisher sut(options({2, 2}));
  StreamPublisher::Batch batch;
  ASSERT_TRUE(sut.frame("Rone", batch).has_value());
  ASSERT_TRUE(sut.frame("Ctwo", batch).has_value());
  ASSERT_TRUE(sut.frame("Rthree", batch).has_value());
  EXPECT_FALSE(sut.may_read()) << "the credit is used up before anything is published";
  EXPECT_EQ(sut.stats(), (LinkStats{0, 0, 3, 14}));
  EXPECT_FALSE(next());

  ASSERT_TRUE(sut.publish(batch).has_value());
  for (const char* text : {"Rone", "Ctwo", "Rthree"}) {
    const EventRef event = next();
    ASSERT_TRUE(event);
    EXPECT_EQ(event->get_if<TextFrame>()->text, text);
    EXPECT_EQ(event->source(), kSource);
  }
  EXPECT_TRUE(sut.publish(batch).has_value()) << "it is empty";
  EXPECT_FALSE(next());
}

TEST_F(StreamPublisherTest, Batch_HasRoomAgainWhenPublished) {
  StreamPublisher sut(options({1000, 1000}));
  StreamPublisher::Batch batch;
  std::size_t size = 0;
  for (; !batch.full(); ++size)
    ASSERT_TRUE(sut.frame("R", batch).has_value());
  ASSERT_TRUE(sut.publish(batch).has_value());
  EXPECT_FALSE(batch.full());
  std::size_t published = 0;
  while (next())
    ++published;
  EXPECT_EQ(published, size);
}

TEST_F(StreamPublisherTest, Batch_ARefusedFrame_LeavesThoseBeforeIt) {
  auto chosen = options();
  chosen.limits.max_inbound_bytes = 4;
  StreamPublisher sut(std::move(chosen));
  StreamPublisher::Batch batch;
  ASSERT_TRUE(sut.frame("C123", batch).has_value());
  ASSERT_FALSE(sut.frame("C1234", batch).has_value());
  ASSERT_TRUE(sut.publish(batch).has_value());
  EXPECT_TRUE(next());
  EXPECT_FALSE(next());
}

TEST_F(StreamPublisherTest, Batch_OnAClosedBus_IsAnError) {
  StreamPublisher sut(options());
  StreamPublisher::Batch batch;
  ASSERT_TRUE(sut.frame("C", batch).has_value());
  bus.close();
  const auto refused = sut.publish(batch);
  ASSERT_FALSE(refused.has_value());
  EXPECT_TRUE(refused.error().is(errc::closed));
}

TEST_F(StreamPublisherTest, Credit_EachClassCountsDownOnItsOwn) {
  StreamPublisher sut(options({2, 3}));
  EXPECT_TRUE(sut.may_read());
  ASSERT_TRUE(sut.frame("R").has_value());
  EXPECT_TRUE(sut.may_read());
  ASSERT_TRUE(sut.frame("C").has_value());
  ASSERT_TRUE(sut.frame("C").has_value());
  EXPECT_TRUE(sut.may_read());
  ASSERT_TRUE(sut.frame("R").has_value());
  EXPECT_FALSE(sut.may_read()) << "no request credit is left";
  EXPECT_TRUE(sut.grant({1, 0}));
  ASSERT_TRUE(sut.frame("C").has_value());
  EXPECT_FALSE(sut.may_read()) << "no control credit is left";
}

TEST_F(StreamPublisherTest, Grant_SaysWhenReadingResumes) {
  StreamPublisher sut(options({0, 0}));
  EXPECT_FALSE(sut.may_read());
  EXPECT_FALSE(sut.grant({0, 0}));
  EXPECT_FALSE(sut.grant({5, 0}));
  EXPECT_FALSE(sut.may_read());
  EXPECT_TRUE(sut.grant({0, 1}));
  EXPECT_TRUE(sut.may_read());
  EXPECT_FALSE(sut.grant({1, 1})) << "it was not paused";
}

TEST_F(StreamPublisherTest, Grant_TooMuch_Saturates) {
  StreamPublisher sut(options({~0U, ~0U}));
  EXPECT_FALSE(sut.grant({1, 1}));
  EXPECT_FALSE(sut.grant({~0U, ~0U}));
  ASSERT_TRUE(sut.frame("R").has_value());
  ASSERT_TRUE(sut.frame("C").has_value());
  EXPECT_TRUE(sut.may_read());
}

TEST_F(StreamPublisherTest, Frame_OverTheLimit_IsRefusedAndNotCounted) {
  auto chosen = options();
  chosen.limits.max_inbound_bytes = 4;
  StreamPublisher sut(std::move(chosen));
  sut.opened({}, "peer:1");
  EXPECT_TRUE(next());
  ASSERT_TRUE(sut.frame("C123").has_value());
  EXPECT_TRUE(next());
  const auto refused = sut.frame("C1234");
  ASSERT_FALSE(refused.has_value());
  EXPECT_TRUE(refused.error().is(errc::message_too_large));
  for (const char* named : {"5 bytes", "peer:1", "limit of 4"}) {
    EXPECT_NE(refused.error().message.find(named), std::string::npos) << refused.error().message;
  }
  EXPECT_FALSE(next());
  EXPECT_EQ(sut.stats(), (LinkStats{0, 0, 1, 4}));
}

TEST_F(StreamPublisherTest, Frame_Malformed_IsTheDecodersError) {
  StreamPublisher sut(options({1, 1}));
  const auto refused = sut.frame("!");
  ASSERT_FALSE(refused.has_value());
  EXPECT_TRUE(refused.error().is(errc::malformed_frame));
  EXPECT_FALSE(next());
  EXPECT_EQ(sut.stats(), LinkStats{});
  EXPECT_TRUE(sut.may_read());
}

TEST_F(StreamPublisherTest, Frame_OnAClosedBus_IsClosed) {
  StreamPublisher sut(options());
  bus.close();
  sut.opened({}, "peer:1");
  const auto refused = sut.frame("C");
  ASSERT_FALSE(refused.has_value());
  EXPECT_TRUE(refused.error().is(errc::closed));
  sut.writable();
  sut.closed({});
}

TEST_F(StreamPublisherTest, Stats_WhoSeesAMessageSeesItCounted) {
  StreamPublisher sut(options());
  LinkStats seen;
  SubscriptionOptions watching;
  const auto subscription = bus.subscribe_inline(watching, [&](const EventRef&) { seen = sut.stats(); });
  sut.sent(100);
  ASSERT_TRUE(sut.frame("C23").has_value());
  EXPECT_EQ(seen, (LinkStats{1, 100, 1, 3}));
}

TEST(StreamLimits, Zero_IsRefusedByName) {
  EXPECT_TRUE(StreamLimits{}.validate().has_value());
  const std::pair<std::size_t StreamLimits::*, const char*> fields[]{
      {&StreamLimits::max_inbound_bytes, "max_inbound_bytes"},
      {&StreamLimits::max_outbound_bytes, "max_outbound_bytes"},
      {&StreamLimits::outbound_capacity, "outbound_capacity"}};
  for (const auto& [field, name] : fields) {
    StreamLimits limits;
    limits.*field = 0;
    const auto result = limits.validate();
    ASSERT_FALSE(result.has_value());
    EXPECT_TRUE(result.error().is(errc::invalid_argument));
    EXPECT_NE(result.error().message.find(name), std::string::npos) << result.error().message;
  }
}

}  // namespace
}  // namespace sharingbus::test
