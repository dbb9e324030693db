#include "connector/agent/internal/call_line.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bus/event.hpp"

namespace sharingbus::connector::internal {
namespace {

using std::chrono::seconds;

/// Calls as "id number", in the order in which they started.
class CallLineTest : public testing::Test {
 protected:
  AgentCallPtr push(const std::string& id, int at = 0) {
    names_.push_back(std::make_shared<std::string>(id));
    auto call = std::make_shared<AgentCall>();
    call->id = *names_.back();
    call->arrived = TimePoint{} + seconds(at);
    sut.push(call);
    return call;
  }
  std::vector<std::string> started() {
    std::vector<std::string> ids;
    while (const AgentCallPtr call = sut.start()) {
      ids.emplace_back(call->id);
      running.push_back(call);
    }
    return ids;
  }
  void end(std::size_t index) {
    sut.ended(*running.at(index));
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(index));
  }

  CallLine sut{2};
  std::vector<AgentCallPtr> running;

 private:
  std::vector<std::shared_ptr<std::string>> names_;
};

using Ids = std::vector<std::string>;

TEST_F(CallLineTest, DifferentIds_RunAtOnce_UpToTheLimit) {
  push("a");
  push("b");
  push("c");
  EXPECT_EQ(started(), (Ids{"a", "b"}));
  EXPECT_EQ(sut.running(), 2U);
  EXPECT_EQ(sut.waiting(), 1U);
  end(1);
  EXPECT_EQ(started(), Ids{"c"});
  end(0);
  end(0);
  EXPECT_TRUE(sut.idle());
}

TEST_F(CallLineTest, SameId_RunsOneAfterAnother_InOrder) {
  const auto first = push("a");
  const auto second = push("a");
  push("b");
  EXPECT_EQ(started(), (Ids{"a", "b"}));
  EXPECT_EQ(running[0], first);
  end(1);
  EXPECT_EQ(started(), Ids{}) << "there is room, but not its turn";
  end(0);
  EXPECT_EQ(started(), Ids{"a"});
  EXPECT_EQ(running[0], second);
}

TEST_F(CallLineTest, BusyIds_TakeTurns) {
  for (int i = 0; i < 2; ++i) {
    for (const char* id : {"a", "b", "c"})
      push(id);
  }
  Ids order;
  for (int i = 0; i < 6; ++i) {
    for (const std::string& id : started())
      order.push_back(id);
    end(0);
  }
  EXPECT_EQ(order, (Ids{"a", "b", "c", "a", "b", "c"}));
}

TEST_F(CallLineTest, Held_NothingStarts) {
  sut.hold();
  push("a");
  EXPECT_EQ(started(), Ids{});
  sut.release();
  EXPECT_EQ(started(), Ids{"a"});
}

TEST_F(CallLineTest, Abandon_WaitingEnd_RunningLinger) {
  const auto runs = push("a");
  EXPECT_EQ(started(), Ids{"a"});
  const auto waits = push("a");
  push("b");
  const auto gone = sut.abandon("a");
  EXPECT_EQ(gone, (std::vector<AgentCallPtr>{runs, waits}));
  EXPECT_EQ(runs->state, AgentCall::State::lingering);
  EXPECT_EQ(waits->state, AgentCall::State::ended);
  EXPECT_TRUE(sut.abandon("a").empty()) << "once";
  EXPECT_TRUE(sut.abandon("nobody").empty());
  EXPECT_EQ(sut.running(), 1U) << "it still has its place";
  push("a");
  EXPECT_EQ(started(), Ids{"b"}) << "and its turn";
  end(0);
  EXPECT_EQ(started(), Ids{"a"});
}

TEST_F(CallLineTest, AbandonAll_LeavesOnlyWhatRuns) {
  push("a");
  push("b");
  started();
  push("a");
  push("c");
  EXPECT_EQ(sut.abandon_all().size(), 4U);
  EXPECT_EQ(sut.waiting(), 0U);
  end(0);
  end(0);
  EXPECT_TRUE(sut.idle());
  EXPECT_EQ(started(), Ids{});
}

TEST_F(CallLineTest, AbandonOlder_TakesTheOldest_InOrderOfArrival) {
  const auto runs = push("a", 1);
  started();
  const auto waits = push("a", 2);
  push("a", 3);
  EXPECT_EQ(sut.oldest(), TimePoint{} + seconds(1));
  EXPECT_TRUE(sut.abandon_older(TimePoint{}).empty());
  EXPECT_EQ(sut.abandon_older(TimePoint{} + seconds(2)), (std::vector<AgentCallPtr>{runs, waits}));
  EXPECT_EQ(runs->state, AgentCall::State::lingering);
  EXPECT_EQ(sut.oldest(), TimePoint{} + seconds(3));
  end(0);
  EXPECT_EQ(started(), Ids{"a"});
}

TEST_F(CallLineTest, OneSlowCall_DoesNotKeepAllThatFollow) {
  std::weak_ptr<AgentCall> answered;
  push("slow");
  started();
  for (int i = 0; i < 500; ++i) {
    const auto call = push("quick");
    if (i == 0) answered = call;
    EXPECT_EQ(started(), Ids{"quick"});
    end(1);
  }
  EXPECT_TRUE(answered.expired());
  EXPECT_TRUE(sut.oldest().has_value());
}

TEST_F(CallLineTest, EventsThatAreCancelledBeforeTheirTurn_LeaveNothing) {
  sut.hold();
  for (int i = 0; i < 1000; ++i) {
    push("x" + std::to_string(i));
    EXPECT_EQ(sut.abandon("x" + std::to_string(i)).size(), 1U);
  }
  EXPECT_TRUE(sut.idle());
  sut.release();
  EXPECT_EQ(started(), Ids{});
}

}  // namespace
}  // namespace sharingbus::connector::internal
