#include "bus/filter.hpp"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"

namespace sharingbus {
namespace {

using test::Beat;
using test::Note;
using test::uuid;

/// An event that has every field, and one that has none but kind, type and origin.
EventDraft full() {
  Routing routing;
  routing.scroll_id = uuid(1);
  routing.connector_uid = uuid(2);
  routing.connector_id = "c";
  routing.native_session_id = "s";
  routing.address = "acme.echo.1";
  routing.kind = EventKind::request;
  return make_event(Note{1}, std::move(routing), EventOrigin::gateway, 9);
}
EventDraft bare() {
  return make_event(Note{2}, Routing{});
}

struct Case {
  const char* name;
  Filter filter;
  bool matches_full;
  bool matches_bare;
};
void PrintTo(const Case& test_case, std::ostream* out) {
  *out << test_case.name;
}

class FilterMatch : public ::testing::TestWithParam<Case> {};

TEST_P(FilterMatch, Matches_ExactlyItsEvents) {
  EXPECT_EQ(GetParam().filter.matches(*full()), GetParam().matches_full);
  EXPECT_EQ(GetParam().filter.matches(*bare()), GetParam().matches_bare);
}

// The bus finds subscribers by an index; it must agree with the filter itself.
TEST_P(FilterMatch, OnTheBus_DeliversExactlyItsEvents) {
  SharingBus bus;
  auto subscription = bus.subscribe(GetParam().filter);
  bus.publish(full());
  bus.publish(bare());
  std::vector<std::uint64_t> expected;
  if (GetParam().matches_full) expected.push_back(1);
  if (GetParam().matches_bare) expected.push_back(2);
  EXPECT_EQ(test::drain_values(subscription), expected);
}

INSTANTIATE_TEST_SUITE_P(
    Spec1, FilterMatch,
    ::testing::Values(
        Case{"all", Filter::all(), true, true}, Case{"connector_uid", Filter::connector_uid(uuid(2)), true, false},
        Case{"other_connector_uid", Filter::connector_uid(uuid(3)), false, false},
        Case{"scroll_id", Filter::scroll_id(uuid(1)), true, false},
        Case{"other_scroll_id", Filter::scroll_id(uuid(2)), false, false},
        // A missing uuid is not the zero one.
        Case{"zero_uid", Filter::connector_uid(Uuid{}), false, false},
        Case{"zero_scroll", Filter::scroll_id(Uuid{}), false, false},
        Case{"kind", Filter::kind(EventKind::request), true, false},
        Case{"other_kind", Filter::kind(EventKind::response), false, false},
        Case{"origin", Filter::origin(EventOrigin::gateway), true, false},
        Case{"other_origin", Filter::origin(EventOrigin::user), false, true},
        Case{"source", Filter::source(9), true, false}, Case{"no_source", Filter::source(0), false, false},
        Case{"type", Filter::type<Note>(), true, true}, Case{"other_type", Filter::type<Beat>(), false, false},
        Case{"both", Filter::origin(EventOrigin::gateway) && Filter::connector_uid(uuid(2)), true, false},
        Case{"one_of_both", Filter::origin(EventOrigin::user) && Filter::connector_uid(uuid(2)), false, false},
        Case{"all_and_kind", Filter::all() && Filter::kind(EventKind::custom), false, true},
        Case{"contradiction", Filter::connector_uid(uuid(2)) && Filter::connector_uid(uuid(3)), false, false},
        Case{"three", Filter::type<Note>() && Filter::kind(EventKind::request) && Filter::scroll_id(uuid(1)), true,
             false}),
    [](const auto& instance) { return instance.param.name; });

// R: an event that lacks a field never matches a filter on that field.
TEST(Filter, EventThatLacksTheField_NeverMatches) {
  const EventDraft event = bare();
  EXPECT_FALSE(Filter::connector_uid(uuid(2)).matches(*event));
  EXPECT_FALSE(Filter::scroll_id(uuid(1)).matches(*event));
  EXPECT_FALSE(Filter::source(9).matches(*event));
}

TEST(Filter, Text_NamesEveryTerm) {
  EXPECT_EQ(Filter::all().text(), "*");
  EXPECT_EQ(Filter::kind(EventKind::request).text(), "kind=request");
  EXPECT_EQ(Filter::connector_uid(uuid(2)).text(), "connector_uid=00000000-0000-0000-0000-000000000002");
  EXPECT_EQ(Filter::scroll_id(uuid(1)).text(), "scroll_id=00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(Filter::type<Note>().text(), "type=test_note");
  EXPECT_EQ(Filter::source(9).text(), "source=9");
  EXPECT_EQ((Filter::origin(EventOrigin::gateway) && Filter::kind(EventKind::request)).text(),
            "kind=request and origin=gateway");
}

TEST(Filter, Copy_SharesItsTerms) {
  const Filter filter = Filter::kind(EventKind::request);
  const Filter copy = filter;
  EXPECT_EQ(&copy.terms(), &filter.terms());
}

// Cost: matching ones, not all that exist. The oracle is that thousands of others get nothing and stay open.
TEST(Filter, ManySubscriptionsOnOtherKeys_AreNotTouched) {
  SharingBus bus;
  std::vector<Subscription> others;
  for (int i = 0; i < 2000; ++i) {
    Uuid uid;
    uid.bytes[0] = static_cast<std::uint8_t>(i >> 8);
    uid.bytes[1] = static_cast<std::uint8_t>(i);
    uid.bytes[2] = 1;
    others.push_back(bus.subscribe(Filter::connector_uid(uid)));
  }
  auto mine = bus.subscribe(Filter::connector_uid(uuid(2)));
  bus.publish(test::note(5, test::with_uid(uuid(2))));
  EXPECT_EQ(test::drain_values(mine), std::vector<std::uint64_t>{5});
  for (auto& other : others)
    EXPECT_EQ(other.stats().matched, 0u);
  while (others.size() > 3)
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(others.size() / 2));
  bus.publish(test::note(6, test::with_uid(uuid(2))));
  EXPECT_EQ(bus.subscriber_count(), 4u);
  EXPECT_EQ(test::drain_values(mine), std::vector<std::uint64_t>{6});
}

}  // namespace
}  // namespace sharingbus
