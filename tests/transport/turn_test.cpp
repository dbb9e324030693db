// What a message gives others to do is done by the thread that brought it, at the end of its turn, and only there.
#include "transport/turn.hpp"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include "transport/strand.hpp"

namespace sharingbus::test {
namespace {

using transport::ErasedExecutor;
using transport::Strand;
using transport::Turn;

class TurnTest : public testing::Test {
 protected:
  [[nodiscard]] boost::asio::any_io_executor executor() { return context_.get_executor(); }
  [[nodiscard]] Strand strand_in_turns() { return Strand(ErasedExecutor(executor(), true)); }
  void post(const Strand& strand, const std::string& name) {
    boost::asio::post(strand, [this, name] { done_.push_back(name); });
  }

  /// Nobody runs it but `poll`.
  boost::asio::io_context context_;
  std::vector<std::string> done_;
};

using Done = std::vector<std::string>;

TEST_F(TurnTest, WhatIsPosted_RunsAtTheEnd) {
  const Strand strand = strand_in_turns();
  {
    const Turn turn(Turn::On::executor);
    post(strand, "work");
    EXPECT_EQ(done_, Done());
  }
  EXPECT_EQ(done_, Done({"work"}));
  EXPECT_EQ(context_.poll(), 0U);
}

TEST_F(TurnTest, WhatIsPostedBehindIt_GoesToTheExecutor) {
  const Strand strand = strand_in_turns();
  {
    const Turn turn(Turn::On::executor);
    post(strand, "first");
    post(strand, "second");
  }
  EXPECT_EQ(done_, Done({"first"}));
  context_.poll();
  EXPECT_EQ(done_, Done({"first", "second"}));
}

TEST_F(TurnTest, WithoutTurn_GoesToTheExecutor) {
  post(strand_in_turns(), "work");
  EXPECT_EQ(done_, Done());
  context_.poll();
  EXPECT_EQ(done_, Done({"work"}));
}

TEST_F(TurnTest, StrandThatTakesNoPart_GoesToTheExecutor) {
  {
    const Turn turn(Turn::On::library);
    post(Strand(executor()), "handler");
  }
  EXPECT_EQ(done_, Done());
  context_.poll();
  EXPECT_EQ(done_, Done({"handler"}));
}

TEST_F(TurnTest, SecondStrand_GoesToTheExecutor) {
  const Strand first = strand_in_turns();
  const Strand second = strand_in_turns();
  {
    const Turn turn(Turn::On::executor);
    post(first, "first");
    post(second, "second");
  }
  EXPECT_EQ(done_, Done({"first"}));
  context_.poll();
  EXPECT_EQ(done_, Done({"first", "second"}));
}

TEST_F(TurnTest, BusyStrand_KeepsItsOrder) {
  const Strand strand = strand_in_turns();
  post(strand, "before");
  {
    const Turn turn(Turn::On::executor);
    post(strand, "within");
  }
  EXPECT_EQ(done_, Done());
  context_.poll();
  EXPECT_EQ(done_, Done({"before", "within"}));
}

TEST_F(TurnTest, WhatComesMeanwhile_GoesToTheExecutor) {
  const Strand strand = strand_in_turns();
  {
    const Turn turn(Turn::On::executor);
    boost::asio::post(strand, [&] { post(strand, "next"); });
  }
  EXPECT_EQ(done_, Done());
  context_.poll();
  EXPECT_EQ(done_, Done({"next"}));
}

TEST_F(TurnTest, OnlyWorkInALibrarysTurn_IsElsewhere) {
  const Strand strand = strand_in_turns();
  const auto elsewhere_on = [&](Turn::On on) {
    bool seen = false;
    {
      const Turn turn(on);
      boost::asio::post(strand, [&] { seen = Turn::elsewhere(); });
      EXPECT_FALSE(Turn::elsewhere());
    }
    EXPECT_FALSE(Turn::elsewhere());
    return seen;
  };
  EXPECT_TRUE(elsewhere_on(Turn::On::library));
  EXPECT_FALSE(elsewhere_on(Turn::On::executor));
}

TEST_F(TurnTest, OnALibrarysThread_OthersAndWhatComesOfItRunToo) {
  const Strand first = strand_in_turns();
  const Strand second = strand_in_turns();
  const Strand third = strand_in_turns();
  {
    const Turn turn(Turn::On::library);
    boost::asio::post(first, [&] {
      done_.emplace_back("first");
      post(first, "of the first");
      boost::asio::dispatch(third, [&] { done_.emplace_back("third"); });
    });
    post(second, "second");
  }
  EXPECT_EQ(done_, Done({"first", "second", "third", "of the first"}));
  EXPECT_EQ(context_.poll(), 0U);
}

TEST_F(TurnTest, OnALibrarysThread_BeyondTheBoundGoesToTheExecutor) {
  const Strand strand = strand_in_turns();
  std::size_t rounds = 0;
  std::function<void()> again = [&] {
    if (++rounds < 100) boost::asio::post(strand, again);
  };
  {
    const Turn turn(Turn::On::library);
    boost::asio::post(strand, again);
  }
  EXPECT_EQ(rounds, Turn::kMost);
  context_.poll();
  EXPECT_EQ(rounds, 100U);
}

TEST_F(TurnTest, Beginning_TheFirstThatMayRunHereDoes) {
  const Strand strand{executor()};
  const Strand other{executor()};
  {
    const Turn::Beginning beginning(true);
    boost::asio::dispatch(strand, [this] { done_.emplace_back("first"); });
    boost::asio::dispatch(other, [this] { done_.emplace_back("second"); });
  }
  EXPECT_EQ(done_, Done({"first"}));
  boost::asio::dispatch(strand, [this] { done_.emplace_back("third"); });
  EXPECT_EQ(done_, Done({"first"}));
  context_.poll();
  EXPECT_EQ(done_, Done({"first", "second", "third"}));
}

TEST_F(TurnTest, Beginning_LeavesWhatIsPosted) {
  const Turn::Beginning beginning(true);
  post(Strand(executor()), "posted");
  EXPECT_EQ(done_, Done());
  context_.poll();
  EXPECT_EQ(done_, Done({"posted"}));
}

TEST_F(TurnTest, TurnWithinATurn_HasItsOwnEnd) {
  const Strand outer = strand_in_turns();
  const Strand inner = strand_in_turns();
  {
    const Turn turn(Turn::On::executor);
    post(outer, "outer");
    {
      const Turn within(Turn::On::executor);
      post(inner, "inner");
    }
    EXPECT_EQ(done_, Done({"inner"}));
  }
  EXPECT_EQ(done_, Done({"inner", "outer"}));
}

}  // namespace
}  // namespace sharingbus::test
