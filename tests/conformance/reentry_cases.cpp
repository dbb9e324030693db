// Links used from inside the events they publish, and from many threads.
#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "tests/conformance/transport_suite.hpp"

namespace sharingbus::test {

using transport::Credit;
using transport::Dialer;
using transport::Link;
using transport::SendStatus;
using transport::StreamClosed;
using transport::StreamOpened;
using transport::StreamOptions;
using transport::StreamWritable;

namespace {

constexpr std::size_t kRounds = 200;

/// Plays ball with every stream of its bus from inside the dispatch, with one credit of each kind at a time.
class PingPong {
 public:
  void operator()(const EventRef& event) {
    const std::scoped_lock lock(mutex_);
    const Uuid uid = *event->routing().connector_uid;
    if (const auto* opened = event->get_if<StreamOpened>()) {
      const auto link = opened->link.lock();
      if (!link) return;
      links_[uid] = link;
      link->grant({1, 1});
      if (opened->listener == 0) link->send("Cball");
    } else if (const auto* frame = event->get_if<TextFrame>()) {
      const auto& link = links_[uid];
      link->grant({0, 1});
      if (++seen_[uid] < kRounds) {
        link->send(frame->text);
      } else {
        link->finish();
      }
    } else if (event->is<StreamClosed>()) {
      if (const auto& link = links_[uid]) poke(*link);
    }
  }

 private:
  static void poke(Link& link) {
    EXPECT_EQ(link.send("Clate"), SendStatus::closed);
    link.grant({1, 1});
    link.finish();
    link.cancel(Error(errc::internal, "too late"));
    static_cast<void>(link.stats());
  }

  std::mutex mutex_;
  std::map<Uuid, std::shared_ptr<Link>> links_;
  std::map<Uuid, std::size_t> seen_;
};

SubscriptionOptions inline_options() {
  SubscriptionOptions options;
  options.name = "inline";
  return options;
}

}  // namespace

TEST_P(TransportConformance, Inline_BothEndsOnOneBus_PlayBall) {
  PingPong play;
  const auto subscription = client.bus.subscribe_inline(inline_options(), std::ref(play));
  auto options = listener_options();
  options.publisher = client.bus.publisher();
  options.new_source = [this] { return client.bus.new_source(); };
  restart_with(std::move(options));
  std::vector<StreamLog*> streams;
  for (int i = 0; i < 4; ++i)
    streams.push_back(&open(dialer(), stream_options(kNone)));
  for (StreamLog* each : streams) {
    ASSERT_TRUE(closes(*each));
    EXPECT_TRUE(!each->closed->error || each->closed_with(errc::stream_closed)) << each->ending();
  }
  ASSERT_TRUE(close_everything());
  EXPECT_EQ(client.logs().size(), 8U);
  std::size_t frames = 0;
  for (const auto& [uid, log] : client.logs())
    frames += log.frames.size();
  EXPECT_EQ(frames, 4 * (2 * kRounds - 1));
  EXPECT_EQ(subscription.stats().callback_failures, 0U);
}

TEST_P(TransportConformance, Inline_CancelInsideOpened_EndsOnce) {
  const auto cancel = [](const EventRef& event) {
    const auto* opened = event->get_if<StreamOpened>();
    if (opened == nullptr) return;
    if (const auto link = opened->link.lock()) link->cancel(Error(errc::rejected, "not you"));
  };
  for (Side* side : {&client, &server}) {
    const auto subscription = side->bus.subscribe_inline(inline_options(), cancel);
    for (int i = 0; i < 10; ++i) {
      StreamLog& dialled = open(dialer(), stream_options(), "Cfirst");
      ASSERT_TRUE(closes(dialled));
      EXPECT_TRUE(dialled.closed->error);
      EXPECT_TRUE(side == &server || dialled.closed_with(errc::rejected)) << dialled.ending();
    }
    EXPECT_EQ(subscription.stats().callback_failures, 0U);
  }
  ASSERT_TRUE(close_everything());
  for (const StreamLog* each : server.accepted)
    EXPECT_TRUE(each->closed);
}

TEST_P(TransportConformance, Inline_FinishAndSendInsideOpened_ArriveInOrder) {
  const auto greet = [](const EventRef& event) {
    const auto* opened = event->get_if<StreamOpened>();
    if (opened == nullptr) return;
    const auto link = opened->link.lock();
    ASSERT_NE(link, nullptr);
    EXPECT_EQ(link->send("C0"), SendStatus::queued);
    EXPECT_EQ(link->send("C1"), SendStatus::queued);
    link->finish();
    link->grant(kPlenty);
  };
  const auto subscription = server.bus.subscribe_inline(inline_options(), greet);
  StreamLog& dialled = open(dialer(), stream_options());
  ASSERT_TRUE(closes(dialled));
  EXPECT_EQ(dialled.frames, numbered_until(2));
  EXPECT_TRUE(dialled.closed_with(errc::stream_closed)) << dialled.ending();
}

TEST_P(TransportConformance, Inline_SendInsideWritable_Works) {
  constexpr std::size_t kFrames = 300;
  std::atomic<std::size_t> sent{0};
  std::atomic<Link*> sender{nullptr};
  const auto fill = [&] {
    while (sent < kFrames && sender.load()->send(numbered(sent)) == SendStatus::queued)
      ++sent;
  };
  const auto subscription = client.bus.subscribe_inline(inline_options(), [&](const EventRef& event) {
    if (event->is<StreamWritable>()) fill();
  });
  StreamOptions options = stream_options();
  options.limits.outbound_capacity = 4;
  const Ends ends = open_ends(dialer(), std::move(options), kNone);
  ASSERT_NE(ends.dialled, nullptr);
  sender = &ends.dialled->link();
  // Once `full` was answered only StreamWritable sends, so there is one sender at a time.
  fill();
  ends.accepted->link().grant(kPlenty);
  ASSERT_TRUE(gets(*ends.accepted, kFrames));
  EXPECT_EQ(ends.accepted->frames, numbered_until(kFrames));
}

TEST_P(TransportConformance, Inline_OpenInsideClosed_Reconnects) {
  std::atomic<int> left{5};
  std::mutex mutex;
  std::vector<Uuid> reopened;
  const auto subscription = client.bus.subscribe_inline(inline_options(), [&](const EventRef& event) {
    if (!event->is<StreamClosed>() || left.fetch_sub(1) <= 0) return;
    const auto link = dialer().open(stream_options(), "Cagain");
    const std::scoped_lock lock(mutex);
    reopened.push_back(link->uid());
  });
  const auto reject = server.bus.subscribe_inline(inline_options(), [](const EventRef& event) {
    const auto* opened = event->get_if<StreamOpened>();
    if (opened == nullptr) return;
    if (const auto link = opened->link.lock()) link->cancel(Error(errc::rejected, "go away"));
  });
  open(dialer(), stream_options(), "Cfirst");
  ASSERT_TRUE(wait_until([&] {
    const auto& logs = client.logs();
    return logs.size() == 6 &&
           std::all_of(logs.begin(), logs.end(), [](const auto& each) { return each.second.closed.has_value(); });
  }));
  EXPECT_EQ(reopened.size(), 5U);
}

TEST_P(TransportConformance, Inline_CloseInsideOpened_Completes) {
  const auto done = std::make_shared<std::atomic<int>>(0);
  const auto closing = [&](auto& what) {
    return [&what, done, this](const EventRef& event) {
      if (event->is<StreamOpened>()) what.close(waker([done] { ++*done; }));
    };
  };
  const auto at_client = client.bus.subscribe_inline(inline_options(), closing(dialer()));
  const auto at_server = server.bus.subscribe_inline(inline_options(), closing(listener()));
  StreamLog& dialled = open(dialer(), stream_options(), "Cfirst");
  ASSERT_TRUE(closes(dialled));
  ASSERT_TRUE(close_everything());
  EXPECT_GE(*done, 1);
}

TEST_P(TransportConformance, Threads_SixteenLinksFromFour_KeepTheirOrder) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kLinksEach = 4;
  constexpr std::size_t kFrames = 200;
  const auto subscription = server.bus.subscribe_inline(inline_options(), [](const EventRef& event) {
    const auto* opened = event->get_if<StreamOpened>();
    if (opened == nullptr) return;
    if (const auto link = opened->link.lock()) link->grant(kPlenty);
  });
  std::array<std::vector<std::shared_ptr<Link>>, kThreads> links;
  {
    std::vector<std::jthread> threads;
    for (std::size_t thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (std::size_t i = 0; i < kLinksEach; ++i) {
          links[thread].push_back(dialer().open(stream_options(), "C" + std::to_string(thread * kLinksEach + i)));
        }
        for (std::size_t frame = 0; frame < kFrames; ++frame) {
          for (const auto& link : links[thread])
            EXPECT_EQ(link->send(numbered(frame)), SendStatus::queued);
        }
        for (const auto& link : links[thread])
          link->finish();
      });
    }
  }
  for (const auto& of_thread : links) {
    for (const auto& link : of_thread) {
      StreamLog& log = client.of(link->uid());
      ASSERT_TRUE(closes(log));
      EXPECT_TRUE(log.closed_in_good_order()) << log.ending();
    }
  }
  ASSERT_EQ(server.accepted.size(), kThreads * kLinksEach);
  std::vector<bool> seen(kThreads * kLinksEach);
  for (StreamLog* each : server.accepted) {
    ASSERT_TRUE(closes(*each));
    ASSERT_EQ(each->frames.size(), kFrames + 1);
    seen.at(std::stoul(each->frames.front().substr(1))) = true;
    each->frames.erase(each->frames.begin());
    EXPECT_EQ(each->frames, numbered_until(kFrames));
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), static_cast<std::ptrdiff_t>(seen.size()));
}

TEST_P(TransportConformance, Threads_OpenAgainstClose_EveryStreamEndsOnce) {
  for (int round = 0; round < 10; ++round) {
    Dialer& shared = add_dialer(endpoint());
    std::vector<std::shared_ptr<Link>> links;
    std::atomic<bool> go{false};
    {
      std::jthread opening([&] {
        go.wait(false);
        for (int i = 0; i < 30; ++i)
          links.push_back(shared.open(stream_options(), "Cfirst"));
      });
      std::jthread closing([&] {
        go.wait(false);
        shared.close(waker([] {}));
      });
      go = true;
      go.notify_all();
    }
    for (const auto& link : links) {
      StreamLog& log = client.of(link->uid());
      ASSERT_TRUE(closes(log));
      EXPECT_TRUE(log.closed->error);
    }
    EXPECT_TRUE(close(shared));
  }
}

}  // namespace sharingbus::test
