// A strand runs what it is given one at a time and in order, whatever the executor below it does.
#include "transport/strand.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

namespace sharingbus::test {
namespace {

namespace asio = boost::asio;
using transport::Strand;

class StrandTest : public testing::Test {
 protected:
  asio::io_context context_;
  const Strand strand_{asio::any_io_executor(context_.get_executor())};
  std::vector<std::string> done_;
};

using Done = std::vector<std::string>;

TEST_F(StrandTest, ManyThreads_OneAtATimeAndEachInItsOrder) {
  constexpr int kThreads = 3;
  constexpr int kEach = 2'000;
  std::vector<int> last(kThreads, -1);
  int count = 0;
  auto work = asio::make_work_guard(context_);
  std::vector<std::thread> running;
  for (int i = 0; i < 2; ++i)
    running.emplace_back([this] { context_.run(); });
  std::vector<std::thread> posting;
  for (int thread = 0; thread < kThreads; ++thread) {
    posting.emplace_back([&, thread] {
      for (int i = 0; i < kEach; ++i) {
        // Neither of the two is guarded by anything else.
        asio::post(strand_, [&, thread, i] {
          EXPECT_EQ(std::exchange(last[thread], i), i - 1);
          ++count;
        });
      }
    });
  }
  for (std::thread& each : posting)
    each.join();
  work.reset();
  for (std::thread& each : running)
    each.join();
  EXPECT_EQ(count, kThreads * kEach);
}

TEST_F(StrandTest, Dispatch_FromWithin_RunsAtOnce) {
  asio::post(strand_, [this] {
    asio::dispatch(strand_, [this] { done_.emplace_back("inner"); });
    asio::post(strand_, [this] { done_.emplace_back("posted"); });
    done_.emplace_back("outer");
  });
  EXPECT_FALSE(strand_.running_in_this_thread());
  context_.run();
  EXPECT_EQ(done_, Done({"inner", "outer", "posted"}));
}

TEST_F(StrandTest, Handles_AreTheSameStrand) {
  const asio::any_io_executor erased(strand_);
  bool inside = false;
  asio::post(erased, [&] { inside = Strand(strand_).running_in_this_thread(); });
  context_.run();
  EXPECT_TRUE(inside);
  EXPECT_EQ(asio::any_io_executor(strand_), erased);
  EXPECT_NE(asio::any_io_executor(Strand(asio::any_io_executor(context_.get_executor()))), erased);
}

TEST_F(StrandTest, OneThrows_TheOthersRun) {
  asio::post(strand_, [this] { done_.emplace_back("first"); });
  asio::post(strand_, [] { throw std::runtime_error("second"); });
  asio::post(strand_, [this] { done_.emplace_back("third"); });
  EXPECT_THROW(context_.run(), std::runtime_error);
  context_.restart();
  context_.run();
  EXPECT_EQ(done_, Done({"first", "third"}));
}

TEST_F(StrandTest, MoveOnlyFunction_IsTaken) {
  asio::post(strand_, [text = std::make_unique<std::string>("moved"), this] { done_.push_back(*text); });
  context_.run();
  EXPECT_EQ(done_, Done({"moved"}));
}

// What waits may keep its own strand, and may post to it from its destructor.
TEST(StrandEndTest, ContextGone_LetsGoWhatWaits) {
  struct PostsAtItsEnd {
    PostsAtItsEnd(Strand on, std::shared_ptr<int> what) : strand(std::move(on)), kept(std::move(what)) {}
    PostsAtItsEnd(PostsAtItsEnd&&) = default;
    PostsAtItsEnd& operator=(PostsAtItsEnd&&) = delete;
    ~PostsAtItsEnd() {
      if (kept) asio::post(strand, [kept = kept] {});
    }
    void operator()() const {}
    Strand strand;
    std::shared_ptr<int> kept;
  };
  auto kept = std::make_shared<int>();
  const std::weak_ptr<int> watched = kept;
  {
    asio::io_context context;
    const Strand strand{asio::any_io_executor(context.get_executor())};
    for (int i = 0; i < 3; ++i)
      asio::post(strand, [strand, kept] {});
    asio::post(strand, PostsAtItsEnd(strand, std::move(kept)));
    context.run_one();
  }
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace sharingbus::test
