// Spec 4, Config and metrics: config pushes; D23, D24.

#include "connector/agent/config_pusher.hpp"

#include <gtest/gtest.h>

namespace sharingbus::connector {
namespace {

using namespace std::chrono_literals;

const TimePoint t0 = TimePoint{} + 1h;

ConfigPusher pusher(ConfigPusherOptions options = {}) {
  ConfigPusher sut(options);
  sut.add_agent("waf", true);
  sut.add_agent("auth", true);
  sut.add_agent("plain", false);
  return sut;
}

TEST(ConfigPusher, Push_HasAnIdAVersionAndIsDueAtOnce) {
  ConfigPusher sut = pusher();
  EXPECT_EQ(sut.push("waf", {"{}"}, t0).value(), "push-1");
  EXPECT_EQ(sut.push("waf", {"{\"a\":1}", "2026-11"}, t0).value(), "push-2");
  const auto due = sut.due(t0);
  ASSERT_EQ(due.size(), 2U);
  EXPECT_EQ(due[0].agent_id, "waf");
  EXPECT_EQ(due[0].update.version, "1");
  EXPECT_EQ(due[1].update.config_json, "{\"a\":1}");
  EXPECT_EQ(due[1].update.version, "2026-11");
  EXPECT_TRUE(sut.due(t0).empty());
  EXPECT_EQ(sut.result("push-1")->status, PushStatus::sent);
}

TEST(ConfigPusher, PushToAll_GoesToThoseThatSupportIt) {
  ConfigPusher sut = pusher();
  EXPECT_EQ(sut.push_all({"{}"}, t0).size(), 2U);
  const auto due = sut.due(t0);
  ASSERT_EQ(due.size(), 2U);
  EXPECT_EQ(due[0].update.version, due[1].update.version);
}

TEST(ConfigPusher, UnknownOrUnwilling_IsAnError) {
  ConfigPusher sut = pusher();
  EXPECT_TRUE(sut.push("nobody", {"{}"}, t0).error().is(errc::not_found));
  EXPECT_TRUE(sut.push("plain", {"{}"}, t0).error().is(errc::unimplemented));
}

TEST(ConfigPusher, Acknowledge_EndsIt) {
  ConfigPusher sut = pusher();
  const auto first = sut.push("waf", {"{}"}, t0).value();
  const auto second = sut.push("waf", {"{}"}, t0).value();
  EXPECT_TRUE(sut.acknowledge(first, true, ""));
  EXPECT_TRUE(sut.acknowledge(second, false, ""));
  EXPECT_FALSE(sut.acknowledge(second, true, "")) << "it has an end already";
  EXPECT_FALSE(sut.acknowledge("push-99", true, ""));
  EXPECT_FALSE(sut.acknowledge("push-x", true, ""));
  EXPECT_FALSE(sut.acknowledge("nonsense", true, ""));
  EXPECT_EQ(sut.result(first)->status, PushStatus::acknowledged);
  EXPECT_EQ(sut.result(second)->status, PushStatus::failed);
  EXPECT_EQ(sut.result(second)->error, "Unknown error");
  EXPECT_EQ(sut.pending_count(), 0U);
}

TEST(ConfigPusher, D24_Unacknowledged_IsRetriedThenExpires) {
  ConfigPusher sut = pusher({.ack_timeout = 10s, .retry_interval = 2s, .max_retries = 2});
  const auto id = sut.push("waf", {"{}"}, t0).value();
  EXPECT_EQ(sut.due(t0).size(), 1U);
  EXPECT_EQ(sut.next_deadline(), t0 + 2s);
  EXPECT_TRUE(sut.due(t0 + 1s).empty());
  EXPECT_EQ(sut.due(t0 + 2s).size(), 1U);
  EXPECT_EQ(sut.due(t0 + 4s).size(), 1U);
  EXPECT_TRUE(sut.due(t0 + 6s).empty()) << "the retries are used up";
  EXPECT_TRUE(sut.expire(t0 + 9s).empty()) << "the last one may still be acknowledged";
  EXPECT_EQ(sut.next_deadline(), t0 + 10s);
  const auto expired = sut.expire(t0 + 10s);
  ASSERT_EQ(expired.size(), 1U);
  EXPECT_EQ(expired[0].status, PushStatus::expired);
  EXPECT_EQ(expired[0].attempts, 3U);
  EXPECT_EQ(sut.pending_count(), 0U);
  EXPECT_EQ(sut.next_deadline(), std::nullopt);
  EXPECT_EQ(sut.result(id)->status, PushStatus::expired);
}

TEST(ConfigPusher, NotDelivered_IsTriedAgainAtItsTime) {
  ConfigPusher sut = pusher();
  const auto id = sut.push("waf", {"{}"}, t0).value();
  EXPECT_EQ(sut.due(t0).size(), 1U);
  sut.not_delivered(id);
  EXPECT_EQ(sut.result(id)->status, PushStatus::pending);
  EXPECT_TRUE(sut.due(t0 + 1s).empty());
  EXPECT_EQ(sut.due(t0 + 2s).size(), 1U);
}

TEST(ConfigPusher, D11_PendingPushesOfAnAgent_AreBounded) {
  ConfigPusher sut = pusher({.max_pending_per_agent = 2});
  EXPECT_TRUE(sut.push("waf", {"{}"}, t0));
  EXPECT_TRUE(sut.push("waf", {"{}"}, t0));
  EXPECT_TRUE(sut.push("waf", {"{}"}, t0).error().is(errc::capacity_exceeded));
  EXPECT_EQ(sut.push_all({"{}"}, t0).size(), 1U) << "the other agent has room";
}

TEST(ConfigPusher, RemovedAgent_AbandonsItsPushes) {
  ConfigPusher sut = pusher();
  const auto id = sut.push("waf", {"{}"}, t0).value();
  const auto other = sut.push("auth", {"{}"}, t0).value();
  sut.remove_agent("waf");
  sut.remove_agent("nobody");
  EXPECT_EQ(sut.result(id)->status, PushStatus::abandoned);
  EXPECT_EQ(sut.result(other)->status, PushStatus::pending);
  EXPECT_TRUE(sut.push("waf", {"{}"}, t0).error().is(errc::not_found));
}

TEST(ConfigPusher, Results_AreBounded) {
  ConfigPusher sut = pusher({.max_results = 5});
  for (int i = 0; i < 20; ++i)
    sut.acknowledge(sut.push("waf", {"{}"}, t0).value(), true, "");
  EXPECT_EQ(sut.results().size(), 5U);
  EXPECT_EQ(sut.results().back().push_id, "push-20");
}

TEST(ConfigPusherOptions, BadOnes_AreRefusedByName) {
  EXPECT_TRUE(ConfigPusherOptions{}.validate());
  EXPECT_NE(ConfigPusherOptions{.ack_timeout = 0s}.validate().error().message.find("ack_timeout"), std::string::npos);
  EXPECT_NE(ConfigPusherOptions{.max_results = 0}.validate().error().message.find("max_results"), std::string::npos);
}

}  // namespace
}  // namespace sharingbus::connector
