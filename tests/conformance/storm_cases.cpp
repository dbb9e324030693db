// Random operations in a random order; what arrived must be a beginning of what was sent.
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>

#include "tests/conformance/transport_suite.hpp"

namespace sharingbus::test {

using transport::Link;
using transport::ListenerOptions;
using transport::SendStatus;
using transport::StreamOptions;

namespace {

constexpr std::size_t kLimit = 4096;

/// One end that the storm drives, and what it was told to do.
struct Driven {
  StreamLog* log = nullptr;
  std::size_t number = 0;
  std::size_t queued = 0;
  bool finished = false;
};

/// `C<who> <count> …`: who sent it, and how many it had sent before.
std::string stamped(char first, const Driven& from, std::size_t padding) {
  return first + std::to_string(from.number) + " " + std::to_string(from.queued) + " " + std::string(padding, 'x');
}

struct Stamp {
  std::size_t who = 0;
  std::size_t count = 0;
};
Stamp stamp_of(const std::string& frame) {
  std::size_t end = 0;
  const std::size_t who = std::stoul(frame.substr(1), &end);
  return {who, std::stoul(frame.substr(end + 1))};
}

class Storm {
 public:
  Storm(TransportConformance& suite, std::uint64_t seed) : suite_(suite), random_(seed) {}

  void blow(int steps) {
    for (int step = 0; step < steps; ++step) {
      adopt();
      if (driven_.empty() || below(20) == 0) {
        dial();
      } else {
        act(driven_[below(driven_.size())]);
      }
      if (below(8) == 0) static_cast<void>(suite_.wait_until([] { return true; }));
    }
    EXPECT_TRUE(suite_.close_everything());
    adopt();
    for (const Driven& each : driven_)
      judge(each);
  }

 private:
  std::size_t below(std::size_t bound) { return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_); }

  void dial() {
    StreamOptions options =
        suite_.stream_options({static_cast<std::uint32_t>(below(4)), static_cast<std::uint32_t>(below(20))});
    options.limits.max_inbound_bytes = kLimit;
    options.limits.outbound_capacity = 1 + below(64);
    Driven driven;
    driven.number = driven_.size();
    std::string first = below(2) == 0 ? std::string() : stamped('C', driven, 0);
    driven.queued = first.empty() ? 0 : 1;
    driven.log = &suite_.open(suite_.dialer(), std::move(options), std::move(first));
    driven_.push_back(driven);
  }

  /// Accepted ends become driven too.
  void adopt() {
    for (; adopted_ < suite_.server.accepted.size(); ++adopted_) {
      if (!suite_.server.accepted[adopted_]->handle) continue;
      driven_.push_back({suite_.server.accepted[adopted_], driven_.size()});
    }
  }

  void act(Driven& end) {
    Link& link = end.log->link();
    const std::size_t what = below(100);
    if (what < 70) {
      for (std::size_t i = below(30); i > 0 && send(end, below(3) == 0 ? 'R' : 'C', below(600)); --i) {
      }
    } else if (what < 90) {
      link.grant({static_cast<std::uint32_t>(below(20)), static_cast<std::uint32_t>(below(40))});
    } else if (what < 94) {
      link.finish();
      end.finished = true;
    } else if (what < 97) {
      link.cancel(Error(errc::cancelled, "the storm"));
    } else if (what < 98) {
      send(end, '!', 0);
    } else if (what < 99) {
      send(end, 'C', 2 * kLimit);
    } else {
      EXPECT_EQ(link.stats().frames_sent > end.queued, false);
    }
  }

  bool send(Driven& end, char first, std::size_t padding) {
    if (end.log->link().send(stamped(first, end, padding)) != SendStatus::queued) return false;
    ++end.queued;
    return true;
  }

  /// All from one sender, from its first frame on, without holes; all of them when the sender finished.
  void judge(const Driven& end) {
    ASSERT_TRUE(end.log->closed);
    std::size_t sender = driven_.size();
    for (std::size_t i = 0; i < end.log->frames.size(); ++i) {
      const Stamp stamp = stamp_of(end.log->frames[i]);
      if (i == 0) sender = stamp.who;
      ASSERT_EQ(stamp.who, sender);
      ASSERT_EQ(stamp.count, i);
    }
    EXPECT_EQ(end.log->closed->stats.frames_received, end.log->frames.size());
    EXPECT_LE(end.log->closed->stats.frames_sent, end.queued);
    if (sender == driven_.size()) return;
    ASSERT_LE(end.log->frames.size(), driven_[sender].queued);
    if (end.log->closed_with(errc::stream_closed) && !end.finished) {
      EXPECT_EQ(end.log->frames.size(), driven_[sender].queued)
          << (end.log->opened->listener != 0 ? "accepted: " : "dialled: ") << end.log->ending()
          << "; the sender: " << driven_[sender].log->ending();
    }
  }

  TransportConformance& suite_;
  std::mt19937_64 random_;
  std::vector<Driven> driven_;
  std::size_t adopted_ = 0;
};

}  // namespace

TEST_P(TransportConformance, Storm_RandomOperations_KeepTheContract) {
  std::vector<std::uint64_t> seeds{1, 2, 3, 20261121};
  if (const char* chosen = std::getenv("SHARINGBUS_TEST_SEED")) seeds = {std::stoull(chosen)};
  for (const std::uint64_t seed : seeds) {
    SCOPED_TRACE("replay: SHARINGBUS_TEST_SEED=" + std::to_string(seed));
    ListenerOptions options = listener_options();
    options.limits.max_inbound_bytes = kLimit;
    options.limits.outbound_capacity = 32;
    restart_with(std::move(options));
    server.accepted.clear();
    Storm(*this, seed).blow(600);
  }
}

}  // namespace sharingbus::test
