#include "bus/internal/match_index.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "tests/bus/filter_samples.hpp"

namespace sharingbus::internal {
namespace {

using test::FilterSample;
using test::FilterSampler;

/// What the index needs of a subscriber.
class Sink {
 public:
  explicit Sink(Filter filter) : filter_(std::move(filter)) {}
  explicit Sink(FilterSample sample) : filter_(std::move(sample.filter)), model_(std::move(sample.model)) {}
  [[nodiscard]] const Filter& filter() const { return filter_; }
  [[nodiscard]] bool should_match(const BusEvent& event) const { return model_(event); }

  int reports = 0;

 private:
  Filter filter_;
  std::function<bool(const BusEvent&)> model_;
};

Uuid numbered(std::uint32_t n) {
  Uuid uuid;
  for (std::size_t i = 0; i < 4; ++i)
    uuid.bytes[i] = static_cast<std::uint8_t>(n >> (8 * i));
  return uuid;
}

EventDraft with_uid(const Uuid& uid) {
  Routing routing;
  routing.connector_uid = uid;
  return make_event(test::Apple{}, std::move(routing));
}

int reports(const MatchIndex<Sink>& index, const BusEvent& event) {
  int count = 0;
  index.for_each_match(event, [&](Sink& sink) {
    ++sink.reports;
    ++count;
  });
  return count;
}

/// Adds and removes at random, and compares every event with what each sink's model says.
void run_against_brute_force(std::uint32_t seed) {
  FilterSampler sampler(seed);
  MatchIndex<Sink> sut;
  std::vector<std::unique_ptr<Sink>> sinks;
  for (int step = 0; step < 150; ++step) {
    if (sinks.empty() || sampler.below(5) != 0) {
      sinks.push_back(std::make_unique<Sink>(sampler.filter(4, true)));
      sut.add(sinks.back().get(), sinks.back()->filter());
    } else {
      std::swap(sinks[sampler.below(sinks.size())], sinks.back());
      sut.remove(sinks.back().get(), sinks.back()->filter());
      sinks.pop_back();
    }
    const EventDraft event = sampler.event();
    reports(sut, *event);
    for (const auto& sink : sinks) {
      ASSERT_EQ(sink->reports, sink->should_match(*event) ? 1 : 0) << "step " << step << ": " << sink->filter().text();
      ASSERT_EQ(sink->filter().matches(*event), sink->should_match(*event)) << sink->filter().text();
      sink->reports = 0;
    }
  }
  for (const auto& sink : sinks)
    sut.remove(sink.get(), sink->filter());
  ASSERT_TRUE(sut.empty());
  ASSERT_EQ(reports(sut, *sampler.event()), 0);
}

TEST(MatchIndex, RandomFiltersAndEvents_SameAsBruteForceAndEachOnce) {
  for (std::uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    run_against_brute_force(seed);
    if (HasFatalFailure()) return;
  }
}

TEST(MatchIndex, SeveralAlternativesMatch_ReportedOnce) {
  Sink sink(Filter::connector_uid(numbered(1)) || Filter::kind(EventKind::custom) ||
            Filter::connector_uid(numbered(2)));
  MatchIndex<Sink> sut;
  sut.add(&sink, sink.filter());
  EXPECT_EQ(reports(sut, *with_uid(numbered(1))), 1);
  EXPECT_EQ(reports(sut, *with_uid(numbered(2))), 1);
  EXPECT_EQ(reports(sut, *with_uid(numbered(3))), 1);
  sut.remove(&sink, sink.filter());
  EXPECT_EQ(reports(sut, *with_uid(numbered(1))), 0);
  EXPECT_TRUE(sut.empty());
}

TEST(MatchIndex, SameAlternativeTwice_ReportedOnce) {
  const Filter uid = Filter::connector_uid(numbered(1));
  Sink sink((uid && Filter::kind(EventKind::custom)) || (uid && Filter::type<test::Apple>()));
  MatchIndex<Sink> sut;
  sut.add(&sink, sink.filter());
  EXPECT_EQ(reports(sut, *with_uid(numbered(1))), 1);
  sut.remove(&sink, sink.filter());
  EXPECT_TRUE(sut.empty());
}

TEST(MatchIndex, MoreAlternativesThanItIndexes_StillReportedOnce) {
  std::string text = "kind=request";
  for (std::uint32_t i = 0; i <= FilterCover::kKeysMax; ++i)
    text += " or connector_uid=" + to_string(numbered(i));
  Sink sink(*Filter::parse(text));
  MatchIndex<Sink> sut;
  sut.add(&sink, sink.filter());
  EXPECT_EQ(reports(sut, *with_uid(numbered(FilterCover::kKeysMax))), 1);
  EXPECT_EQ(reports(sut, *with_uid(numbered(FilterCover::kKeysMax + 1))), 0);
  sut.remove(&sink, sink.filter());
  EXPECT_TRUE(sut.empty());
}

TEST(MatchIndex, NeverMatching_IsNowhere) {
  Sink sink(!Filter::all());
  MatchIndex<Sink> sut;
  sut.add(&sink, sink.filter());
  EXPECT_TRUE(sut.empty());
  EXPECT_EQ(reports(sut, *with_uid(numbered(1))), 0);
  sut.remove(&sink, sink.filter());
}

// Cost: an event looks at the filters in its own buckets, not at those that exist.
TEST(MatchIndex, TenThousandUids_OnlyTheMatchingFilterIsEvaluated) {
  constexpr std::uint32_t kSinks = 10'000;
  int evaluated = 0;
  const Filter counting = Filter::where([&evaluated](const BusEvent&) { return ++evaluated, true; });
  std::vector<Sink> sinks;
  sinks.reserve(kSinks);
  MatchIndex<Sink> sut;
  for (std::uint32_t i = 0; i < kSinks; ++i) {
    sinks.emplace_back(counting && Filter::connector_uid(numbered(i)));
    sut.add(&sinks.back(), sinks.back().filter());
  }
  for (const std::uint32_t i : {0u, 4'711u, kSinks - 1}) {
    evaluated = 0;
    EXPECT_EQ(reports(sut, *with_uid(numbered(i))), 1);
    EXPECT_EQ(sinks[i].reports, 1);
    EXPECT_EQ(evaluated, 1);
  }
  evaluated = 0;
  EXPECT_EQ(reports(sut, *with_uid(numbered(kSinks))), 0);
  EXPECT_EQ(evaluated, 0);
}

// The most selective equality of an `&&` is the key, wherever it stands, also under De Morgan.
TEST(MatchIndex, MostSelectiveEqualityIsTheKey) {
  const Uuid uid = numbered(1);
  const struct {
    std::string text;
    int evaluated_without_uid;
  } cases[] = {
      {"kind=custom and connector_uid=" + to_string(uid), 0},
      {"not (kind!=custom or connector_uid!=" + to_string(uid) + ")", 0},
      {"(kind=custom or kind=request) and (connector_uid=" + to_string(uid) + " or scroll_id=" + to_string(uid) + ")",
       0},
      {"kind=custom and (connector_uid=" + to_string(uid) + " or not kind=request)", 1},
      {"not kind=request", 1},
  };
  for (const auto& test_case : cases) {
    SCOPED_TRACE(test_case.text);
    int evaluated = 0;
    const Filter counting = Filter::where([&evaluated](const BusEvent&) { return ++evaluated, true; });
    Sink sink(counting && *Filter::parse(test_case.text));
    MatchIndex<Sink> sut;
    sut.add(&sink, sink.filter());
    reports(sut, *make_event(test::Apple{}, Routing{}));
    EXPECT_EQ(evaluated, test_case.evaluated_without_uid);
    EXPECT_EQ(reports(sut, *with_uid(uid)), 1);
    EXPECT_EQ(evaluated, test_case.evaluated_without_uid + 1);
  }
}

TEST(MatchIndex, OneEquality_IsNotEvaluatedAgain) {
  for (const char* text : {"kind=custom", "address=a.*", "connector_id=c and native_session_id=s", "type=x",
                           "kind=custom or origin=user", "*"}) {
    EXPECT_TRUE(cover_of(*Filter::parse(text)).exact) << text;
  }
  for (const char* text :
       {"kind=custom and origin=user", "not kind=custom", "connector_id=c and native_session_id=s and kind=custom",
        "kind=custom or not origin=user"}) {
    EXPECT_FALSE(cover_of(*Filter::parse(text)).exact) << text;
  }
}

TEST(MatchIndex, SessionPair_BeatsItsHalves) {
  const Filter filter = Filter::kind(EventKind::custom) && Filter::native_session("c", "s");
  const FilterCover cover = cover_of(filter);
  ASSERT_EQ(cover.keys.size(), 1u);
  EXPECT_NE(cover.keys.front().session, nullptr);
}

TEST(MatchIndex, LargeBucket_EveryOrderOfRemovalKeepsTheRest) {
  constexpr std::size_t kSinks = 300;
  const EventDraft event = make_event(test::Apple{}, Routing{});
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    std::vector<std::unique_ptr<Sink>> sinks;
    MatchIndex<Sink> sut;
    for (std::size_t i = 0; i < kSinks; ++i) {
      sinks.push_back(std::make_unique<Sink>(Filter::kind(EventKind::custom)));
      sut.add(sinks.back().get(), sinks.back()->filter());
    }
    FilterSampler sampler(seed);
    while (!sinks.empty()) {
      std::swap(sinks[sampler.below(sinks.size())], sinks.back());
      sut.remove(sinks.back().get(), sinks.back()->filter());
      EXPECT_EQ(sinks.back()->reports, static_cast<int>(kSinks - sinks.size()));
      sinks.pop_back();
      ASSERT_EQ(reports(sut, *event), static_cast<int>(sinks.size()));
    }
    EXPECT_TRUE(sut.empty());
  }
}

}  // namespace
}  // namespace sharingbus::internal
