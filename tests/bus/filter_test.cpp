#include "bus/filter.hpp"

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/filter_samples.hpp"
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

bool has_address(const BusEvent& event) {
  return event.routing().address.has_value();
}

INSTANTIATE_TEST_SUITE_P(
    Spec1, FilterMatch,
    ::testing::Values(
        Case{"all", Filter::all(), true, true}, Case{"connector_uid", Filter::connector_uid(uuid(2)), true, false},
        Case{"other_connector_uid", Filter::connector_uid(uuid(3)), false, false},
        Case{"scroll_id", Filter::scroll_id(uuid(1)), true, false},
        Case{"other_scroll_id", Filter::scroll_id(uuid(2)), false, false},
        // A missing uuid is not the zero one, a missing string not the empty one.
        Case{"zero_uid", Filter::connector_uid(Uuid{}), false, false},
        Case{"zero_scroll", Filter::scroll_id(Uuid{}), false, false},
        Case{"empty_connector_id", Filter::connector_id(""), false, false},
        Case{"connector_id", Filter::connector_id("c"), true, false},
        Case{"other_connector_id", Filter::connector_id("s"), false, false},
        Case{"native_session_id", Filter::native_session_id("s"), true, false},
        Case{"other_native_session_id", Filter::native_session_id("c"), false, false},
        Case{"native_session", Filter::native_session("c", "s"), true, false},
        Case{"native_session_of_another", Filter::native_session("d", "s"), false, false},
        Case{"another_native_session", Filter::native_session("c", "t"), false, false},
        Case{"address", Filter::address("acme.echo.1"), true, false},
        Case{"other_address", Filter::address("acme.echo.2"), false, false},
        Case{"address_star", Filter::address("acme.*.1"), true, false},
        Case{"address_rest", Filter::address("acme.>"), true, false},
        Case{"any_address", Filter::address(">"), true, false},
        Case{"kind", Filter::kind(EventKind::request), true, false},
        Case{"other_kind", Filter::kind(EventKind::response), false, false},
        Case{"origin", Filter::origin(EventOrigin::gateway), true, false},
        Case{"other_origin", Filter::origin(EventOrigin::user), false, true},
        Case{"source", Filter::source(9), true, false}, Case{"no_source", Filter::source(0), false, false},
        Case{"type", Filter::type<Note>(), true, true}, Case{"other_type", Filter::type<Beat>(), false, false},
        Case{"type_by_name", *Filter::parse("type=test_note"), true, true},
        Case{"where", Filter::where(has_address), true, false},
        Case{"both", Filter::origin(EventOrigin::gateway) && Filter::connector_uid(uuid(2)), true, false},
        Case{"one_of_both", Filter::origin(EventOrigin::user) && Filter::connector_uid(uuid(2)), false, false},
        Case{"all_and_kind", Filter::all() && Filter::kind(EventKind::custom), false, true},
        Case{"all_or_kind", Filter::all() || Filter::kind(EventKind::stream), true, true},
        Case{"contradiction", Filter::connector_uid(uuid(2)) && Filter::connector_uid(uuid(3)), false, false},
        Case{"either", Filter::connector_uid(uuid(3)) || Filter::kind(EventKind::custom), false, true},
        Case{"never", !Filter::all(), false, false},
        // Plain negation: what lacks the field does not have that value.
        Case{"not_connector_id", !Filter::connector_id("c"), false, true},
        Case{"not_another_connector_id", !Filter::connector_id("d"), true, true},
        Case{"not_source_0", !Filter::source(0), true, true},
        Case{"not_where", !Filter::where(has_address), false, true},
        Case{"three", Filter::type<Note>() && Filter::kind(EventKind::request) && Filter::scroll_id(uuid(1)), true,
             false}),
    [](const auto& instance) { return instance.param.name; });

// R: an event that lacks a field never matches a filter on that field.
TEST(Filter, EventThatLacksTheField_NeverMatches) {
  const EventDraft event = bare();
  EXPECT_FALSE(Filter::connector_uid(uuid(2)).matches(*event));
  EXPECT_FALSE(Filter::scroll_id(uuid(1)).matches(*event));
  EXPECT_FALSE(Filter::connector_id("c").matches(*event));
  EXPECT_FALSE(Filter::native_session_id("s").matches(*event));
  EXPECT_FALSE(Filter::native_session("c", "s").matches(*event));
  EXPECT_FALSE(Filter::address("acme.echo.1").matches(*event));
  EXPECT_FALSE(Filter::address(">").matches(*event));
  EXPECT_FALSE(Filter::source(9).matches(*event));
}

TEST(Filter, Operators_TruthTable) {
  const EventDraft event = full();
  for (const bool a : {false, true}) {
    for (const bool b : {false, true}) {
      for (const bool c : {false, true}) {
        const auto term = [](bool value) { return Filter::kind(value ? EventKind::request : EventKind::stream); };
        const Filter fa = term(a);
        const Filter fb = term(b);
        const Filter fc = term(c);
        EXPECT_EQ((fa && fb && fc).matches(*event), a && b && c);
        EXPECT_EQ((fa || fb || fc).matches(*event), a || b || c);
        EXPECT_EQ(((fa && fb) || fc).matches(*event), (a && b) || c);
        EXPECT_EQ((fa && (fb || fc)).matches(*event), a && (b || c));
        EXPECT_EQ((!fa && !(fb || fc)).matches(*event), !a && !(b || c));
        EXPECT_EQ((!(fa && fb) || !fc).matches(*event), !(a && b) || !c);
        EXPECT_EQ((!!fa).matches(*event), a);
      }
    }
  }
}

TEST(Filter, IsAll_OnlyWithoutTerms) {
  EXPECT_TRUE(Filter::all().is_all());
  EXPECT_TRUE((Filter::all() && Filter::all()).is_all());
  EXPECT_TRUE((Filter::kind(EventKind::agent) || Filter::all()).is_all());
  EXPECT_TRUE((!!Filter::all()).is_all());
  EXPECT_FALSE((!Filter::all()).is_all());
  EXPECT_FALSE((Filter::kind(EventKind::agent) && Filter::all()).is_all());
  EXPECT_FALSE((Filter::kind(EventKind::agent) || !Filter::kind(EventKind::agent)).is_all());
}

TEST(Filter, AddressPattern_MatchesTokenByToken) {
  const std::vector<std::string> patterns = {"a",   "*",     ">",     "a.b",   "a.*",   "*.b",    "*.*",
                                             "a.>", "*.>",   "a.b.c", "a.*.c", "a.*.>", "*.b.*",  "a.b.>",
                                             "b.>", "*.*.*", "*.*.>", "ab",    "ab.>",  "a.b.c.d"};
  const std::vector<std::string> addresses = {"",   "a",   "b",    "ab",    "a.b",    "a.",   ".a",
                                              ".",  "b.a", "a.bc", "a.b.c", "a..c",   "a.b.", "b.b.c",
                                              "..", "a.*", ">",    "ab.c",  "a.b.c.d"};
  for (const auto& pattern : patterns) {
    const Filter sut = Filter::address(pattern);
    for (const auto& address : addresses) {
      Routing routing;
      routing.address = address;
      EXPECT_EQ(sut.matches(*test::note(1, std::move(routing))), test::model_address_matches(pattern, address))
          << pattern << " on " << address;
    }
  }
}

TEST(Filter, AddressPattern_NatsCasesByHand) {
  const struct {
    const char* pattern;
    const char* address;
    bool matches;
  } table[] = {{"acme.*.>", "acme.echo.1", true},
               {"acme.*.>", "acme.echo", false},
               {"acme.*.>", "acme.a.b.c", true},
               {"acme.>", "acme", false},
               {">", "acme", true},
               {"*", "acme.echo", false},
               {"acme.*", "acme.echo.1", false},
               {"*.echo.*", "acme.echo.1", true},
               {"acme", "acme2", false}};
  for (const auto& row : table) {
    Routing routing;
    routing.address = row.address;
    EXPECT_EQ(Filter::address(row.pattern).matches(*test::note(1, std::move(routing))), row.matches)
        << row.pattern << " on " << row.address;
  }
}

TEST(Filter, InvalidArguments_Throw) {
  for (const char* pattern : {"", ".", "a.", ".a", "a..b", "a.>.b", ">.a", "a*", "*a.b", "a.b>", "**", ">>", "*>"})
    EXPECT_THROW((void)Filter::address(pattern), std::invalid_argument) << pattern;
  std::string tokens = "*";
  for (std::size_t i = 1; i < Filter::kAddressTokensMax; ++i)
    tokens += ".*";
  EXPECT_NO_THROW((void)Filter::address(tokens));
  EXPECT_THROW((void)Filter::address(tokens + ".>"), std::invalid_argument);
  EXPECT_THROW((void)Filter::where(nullptr, "none"), std::invalid_argument);
  EXPECT_THROW((void)Filter::kind(static_cast<EventKind>(200)), std::invalid_argument);
  EXPECT_THROW((void)Filter::origin(static_cast<EventOrigin>(200)), std::invalid_argument);
  EXPECT_THROW((void)Filter::connector_id(std::string(Filter::kTextBytesMax, 'x')), std::invalid_argument);
}

TEST(Filter, Bounds_ThrowBeyond) {
  const Filter term = Filter::kind(EventKind::request);
  Filter wide = term;
  for (std::size_t i = 1; i < Filter::kTermsMax; ++i)
    wide = wide && term;
  EXPECT_TRUE(wide.matches(*full()));
  EXPECT_THROW((void)(wide && term), std::invalid_argument);
  EXPECT_THROW((void)(wide || term), std::invalid_argument);
  EXPECT_NO_THROW((void)!wide);

  Filter deep = term;
  for (std::size_t level = 1; level < Filter::kDepthMax; ++level)
    deep = level % 2 == 0 ? deep && term : deep || term;
  EXPECT_TRUE(deep.matches(*full()));
  EXPECT_THROW((void)!deep, std::invalid_argument);
  EXPECT_THROW((void)(deep && term && !term && !(deep || term)), std::invalid_argument);

  // Shared halves: the tree that it stands for is what counts, not the nodes.
  Filter doubled = term;
  EXPECT_THROW(for (int i = 0; i < 64; ++i) doubled = i % 2 == 0 ? doubled && doubled : doubled || doubled,
               std::invalid_argument);

  const Filter long_text = Filter::connector_id(std::string(Filter::kTextBytesMax / 2, 'x'));
  EXPECT_THROW((void)(long_text || long_text), std::invalid_argument);
}

TEST(Filter, Negation_CancelsOut) {
  Filter filter = Filter::kind(EventKind::request);
  for (int i = 0; i < 10'000; ++i)
    filter = !filter;
  EXPECT_EQ(filter.text(), "kind=request");
}

TEST(Filter, PredicateThatThrows_CountsAsFalse) {
  const Filter throwing = Filter::where([](const BusEvent&) -> bool { throw std::runtime_error("mine"); }, "bad");
  const EventDraft event = full();
  EXPECT_FALSE(throwing.matches(*event));
  EXPECT_EQ(throwing.predicate_failures(), 1u);
  EXPECT_TRUE((!throwing).matches(*event));
  const Filter combined = Filter::kind(EventKind::request) && (throwing || Filter::connector_id("c"));
  EXPECT_TRUE(combined.matches(*event));
  EXPECT_EQ(combined.predicate_failures(), 3u);
  EXPECT_FALSE((Filter::kind(EventKind::stream) && throwing).matches(*event));
  EXPECT_EQ(throwing.predicate_failures(), 3u);
  EXPECT_EQ(Filter::all().predicate_failures(), 0u);
}

TEST(Filter, Text_NamesEveryTerm) {
  EXPECT_EQ(Filter::all().text(), "*");
  EXPECT_EQ(Filter::kind(EventKind::request).text(), "kind=request");
  EXPECT_EQ(Filter::connector_uid(uuid(2)).text(), "connector_uid=00000000-0000-0000-0000-000000000002");
  EXPECT_EQ(Filter::scroll_id(uuid(1)).text(), "scroll_id=00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(Filter::type<Note>().text(), "type=test_note");
  EXPECT_EQ(Filter::source(9).text(), "source=9");
  EXPECT_EQ(Filter::native_session("c", "s 1").text(), "connector_id=c and native_session_id=\"s 1\"");
  EXPECT_EQ((Filter::origin(EventOrigin::gateway) && !Filter::address("acme.>")).text(),
            "origin=gateway and not address=acme.>");
}

TEST(Filter, Copy_OutlivesTheOriginalAndAMovedFromOneIsAll) {
  Filter copy = Filter::all();
  {
    Filter filter = Filter::kind(EventKind::request) && Filter::connector_id("c");
    copy = filter;
    const Filter moved = std::move(filter);
    EXPECT_TRUE(filter.is_all());  // NOLINT(bugprone-use-after-move): what the class promises.
    EXPECT_EQ(moved.text(), copy.text());
  }
  EXPECT_TRUE(copy.matches(*full()));
  EXPECT_FALSE(copy.matches(*bare()));
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
