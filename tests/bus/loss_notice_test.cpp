// O: nobody loses in silence. `on_drop` is called once for each lost event, outside locks; dead-letter subscriptions
// receive what others lost.
#include <atomic>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/stream_text.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"

namespace sharingbus {
namespace {

using namespace test;

BusOptions quiet(BusOptions options = {}) {
  options.log = nullptr;
  return options;
}

std::uint64_t value_of(const EventRef& event) {
  const Note* const payload = event->get_if<Note>();
  return payload != nullptr ? payload->value : ~std::uint64_t{0};
}

// --- on_drop

class OnDrop : public ::testing::TestWithParam<Overflow> {};

TEST_P(OnDrop, EachLostEvent_IsToldExactlyOnce) {
  SharingBus bus(quiet());
  std::vector<std::uint64_t> lost;
  auto options = with_overflow(GetParam(), 2);
  if (GetParam() == Overflow::latest_per_key) {
    options.key = [](const BusEvent& event) { return std::to_string(event.get_if<Note>()->value % 3); };
  }
  options.on_drop = [&](const EventRef& event) { lost.push_back(value_of(event)); };
  auto sut = bus.subscribe(options);
  std::vector<std::uint64_t> seen;
  for (std::uint64_t i = 1; i <= 50; ++i) {
    bus.publish(note(i));
    if (i % 5 != 0) continue;
    if (const Received next = sut.try_receive(); next.event() != nullptr) seen.push_back(test::value_of(next));
  }
  EXPECT_EQ(lost.size(), sut.stats().lagged);
  EXPECT_GT(lost.size(), 0u);
  for (Received next = sut.try_receive(); !next.empty() && next.closed() == nullptr; next = sut.try_receive()) {
    if (next.event() != nullptr) seen.push_back(test::value_of(next));
  }
  // Lost and received together are all that matched, each once.
  seen.insert(seen.end(), lost.begin(), lost.end());
  std::sort(seen.begin(), seen.end());
  ASSERT_EQ(seen.size(), sut.stats().matched);
  for (std::size_t i = 0; i < seen.size(); ++i)
    EXPECT_EQ(seen[i], i + 1);
}

INSTANTIATE_TEST_SUITE_P(Policies, OnDrop, ::testing::ValuesIn(kEveryOverflow),
                         [](const auto& instance) { return std::string(to_string(instance.param)); });

TEST(OnDropAtTheIngress, EventThatGaveWay_IsToldToEachThatWouldHaveMatched) {
  SharingBus bus(quiet(manual_options(2)));
  std::vector<std::uint64_t> lost;
  std::vector<std::uint64_t> lost_inline;
  auto options = named("sut", Filter::kind(EventKind::request));
  options.on_drop = [&](const EventRef& event) { lost.push_back(value_of(event)); };
  auto sut = bus.subscribe(options);
  options = named("inline");
  options.on_drop = [&](const EventRef& event) { lost_inline.push_back(value_of(event)); };
  auto counted = bus.subscribe_inline(options, [](const EventRef&) {});
  bus.publish(note(1));
  bus.publish(note(2, routing_of(EventKind::request)));
  publish_notes(bus, 3, 4);
  poll_all(bus);
  EXPECT_EQ(lost, std::vector<std::uint64_t>{2});
  EXPECT_EQ(lost_inline, (std::vector<std::uint64_t>{1, 2}));
}

TEST(OnDropHook, MayUseTheBus_ForItIsCalledOutsideLocks) {
  SharingBus bus(quiet());
  auto other = bus.subscribe_all();
  std::vector<Subscription> born;
  Subscription sut;
  auto options = with_overflow(Overflow::drop_oldest, 1);
  options.filter = Filter::kind(EventKind::request);
  options.on_drop = [&](const EventRef& event) {
    bus.publish(note(100 + value_of(event)));
    born.push_back(bus.subscribe_all());
    EXPECT_GE(bus.snapshot().published, 2u);
    EXPECT_EQ(sut.stats().lagged, 1u);
    EXPECT_GE(bus.subscriber_count(), 2u);
    bus.poll();
  };
  sut = bus.subscribe(options);
  publish_notes(bus, 1, 2, routing_of(EventKind::request));
  EXPECT_EQ(stream_text(other), "1 2 101");
  EXPECT_EQ(born.size(), 1u);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(OnDropHook, MayUnsubscribeItself) {
  SharingBus bus(quiet());
  Subscription sut;
  auto options = with_overflow(Overflow::drop_newest, 1);
  options.on_drop = [&](const EventRef&) { bus.unsubscribe(sut.id()); };
  sut = bus.subscribe(options);
  publish_notes(bus, 1, 4);
  EXPECT_EQ(stream_text(sut), "1 gap2-2(1) end:unsubscribed");
}

TEST(OnDropHook, ThatThrows_IsCaughtAndCounted) {
  SharingBus bus(quiet());
  auto options = with_overflow(Overflow::drop_newest, 1);
  options.on_drop = [](const EventRef&) { throw std::runtime_error("mine"); };
  auto sut = bus.subscribe(options);
  auto other = bus.subscribe_all();
  publish_notes(bus, 1, 4);
  EXPECT_EQ(sut.stats().callback_failures, 3u);
  EXPECT_EQ(stream_text(sut), "1 gap2-4(3)");
  EXPECT_EQ(stream_text(other), "1 2 3 4");
}

TEST(OnDropHook, KeepsTheEventByCopyingTheReference) {
  std::atomic<int> alive{0};
  SharingBus bus(quiet());
  std::vector<EventRef> kept;
  auto options = with_overflow(Overflow::drop_oldest, 1);
  options.on_drop = [&](const EventRef& event) {
    if (kept.empty()) kept.push_back(event);
  };
  auto sut = bus.subscribe(options);
  for (int i = 0; i < 4; ++i)
    bus.publish(make_event(Tracked(alive), Routing{}));
  EXPECT_EQ(alive, 2) << "the one that was kept, and the one in the queue";
  sut = {};
  bus.close();
  EXPECT_EQ(alive, 1);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0]->sequence(), 1u);
  kept.clear();
  EXPECT_EQ(alive, 0);
}

// --- dead letters

/// `sequence:name` of each letter that is there.
std::string letters_text(Subscription& subscription) {
  std::string text;
  for (;;) {
    const Received next = subscription.try_receive();
    if (next.event() == nullptr) {
      if (const Gap* gap = next.gap()) text += " gap(" + std::to_string(gap->count) + ")";
      if (next.gap() != nullptr) continue;
      return text.empty() ? text : text.substr(1);
    }
    const DeadLetter* const letter = next.get_if<DeadLetter>();
    text += letter == nullptr ? " none" : " " + std::to_string(letter->event->sequence()) + ":" + letter->name;
  }
}

TEST(DeadLetters, LostEvents_ArriveInOrderSayingWhoLostThem) {
  SharingBus bus(quiet());
  auto letters = bus.subscribe_dead_letters();
  auto all = bus.subscribe_all();
  auto newest = bus.subscribe(with_overflow(Overflow::drop_newest, 1, "newest"));
  publish_notes(bus, 1, 2);
  auto oldest = bus.subscribe(with_overflow(Overflow::drop_oldest, 1, "oldest"));
  newest = {};
  publish_notes(bus, 3, 5);
  EXPECT_EQ(letters_text(letters), "2:newest 3:oldest 4:oldest");
  EXPECT_EQ(bus.snapshot().dead_letters, 3u);
  EXPECT_EQ(stream_text(all), "1 2 3 4 5") << "letters are for those who asked for them";
  EXPECT_EQ(letters.stats().matched, 3u);
  EXPECT_EQ(letters.stats().received, 3u);
  EXPECT_TRUE(check_balanced(bus));
}

TEST(DeadLetters, Letter_CarriesTheLostEventAndWhatItSays) {
  SharingBus bus(quiet());
  auto letters = bus.subscribe_dead_letters(named("letters"));
  auto sut = bus.subscribe(with_overflow(Overflow::drop_newest, 1));
  bus.publish(note(1));
  bus.publish(make_event(Note{2}, with_uid(uuid(7)), EventOrigin::gateway, 42));
  const Received received = letters.try_receive();
  const DeadLetter* const letter = received.get_if<DeadLetter>();
  ASSERT_NE(letter, nullptr);
  EXPECT_EQ(letter->subscription, sut.id());
  EXPECT_EQ(letter->name, "sut");
  EXPECT_EQ(value_of(letter->event), 2u);
  const BusEvent& event = **received.event();
  EXPECT_EQ(event.sequence(), 2u);
  EXPECT_EQ(event.routing(), letter->event->routing());
  EXPECT_EQ(event.origin(), EventOrigin::gateway);
  EXPECT_EQ(event.source(), 42u);
}

TEST(DeadLetters, Filter_AppliesToTheLostEvent) {
  SharingBus bus(quiet());
  auto uids = bus.subscribe_dead_letters(named("uids", Filter::connector_uid(uuid(1))));
  auto notes = bus.subscribe_dead_letters(named("notes", Filter::type<Note>()));
  auto sut = bus.subscribe(with_overflow(Overflow::drop_newest, 1));
  bus.publish(note(1));
  bus.publish(note(2));
  bus.publish(note(3, with_uid(uuid(1))));
  bus.publish(Beat{});
  EXPECT_EQ(letters_text(uids), "3:sut");
  EXPECT_EQ(letters_text(notes), "2:sut 3:sut");
}

TEST(DeadLetters, OwnLoss_IsCountedAndMakesNoLetter) {
  SharingBus bus(quiet());
  auto small = bus.subscribe_dead_letters(named("small", Filter::all(), 1));
  auto large = bus.subscribe_dead_letters(named("large"));
  auto sut = bus.subscribe(with_overflow(Overflow::drop_newest, 1));
  publish_notes(bus, 1, 5);
  EXPECT_EQ(small.stats().lagged, 3u);
  EXPECT_EQ(letters_text(small), "2:sut gap(3)");
  EXPECT_EQ(letters_text(large), "2:sut 3:sut 4:sut 5:sut");
  EXPECT_EQ(bus.snapshot().dead_letters, 4u) << "one for each loss, however many want it";
  EXPECT_TRUE(check_balanced(bus));
}

// Losses need not rise: drop_oldest loses an older event than another subscription just lost.
TEST(DeadLetters, OwnLossesOutOfOrder_GapSpansThemAll) {
  SharingBus bus(quiet());
  auto letters = bus.subscribe_dead_letters(named("letters", Filter::all(), 1));
  auto oldest = bus.subscribe(with_overflow(Overflow::drop_oldest, 3, "oldest"));
  publish_notes(bus, 1, 3);
  auto newest = bus.subscribe(with_overflow(Overflow::drop_newest, 1, "newest"));
  publish_notes(bus, 4, 6);
  // oldest lost 1, 2, 3; newest lost 5 and 6; the first of these is in the queue, the others are not.
  EXPECT_NE(letters.try_receive().event(), nullptr);
  StreamText rest;
  for (Received next = letters.try_receive(); !next.empty(); next = letters.try_receive()) {
    ASSERT_NE(next.gap(), nullptr);
    EXPECT_LE(next.gap()->first, next.gap()->last);
    EXPECT_LE(next.gap()->first, 2u);
    EXPECT_EQ(next.gap()->last, 6u);
    EXPECT_EQ(next.gap()->count, 4u);
  }
  EXPECT_TRUE(check_balanced(bus));
}

TEST(DeadLetters, NobodyAsks_NoneAreMade) {
  SharingBus bus(quiet());
  auto sut = bus.subscribe(with_overflow(Overflow::drop_newest, 1));
  publish_notes(bus, 1, 5);
  EXPECT_EQ(bus.snapshot().dead_letters, 0u);
}

TEST(DeadLetters, LossAtTheIngress_MakesALetterForEachThatWouldHaveMatched) {
  SharingBus bus(quiet(manual_options(1)));
  auto letters = bus.subscribe_dead_letters(named("letters"));
  auto one = bus.subscribe(named("one"));
  auto two = bus.subscribe(named("two"));
  publish_notes(bus, 1, 2);
  poll_all(bus);
  const std::string text = letters_text(letters);
  EXPECT_TRUE(text == "1:one 1:two" || text == "1:two 1:one") << text;
  EXPECT_TRUE(check_balanced(bus));
}

TEST(DeadLetters, LetterKeepsItsEventAlive_AndLettingItGoFreesIt) {
  std::atomic<int> alive{0};
  SharingBus bus(quiet());
  auto letters = bus.subscribe_dead_letters(named("letters", Filter::all(), 2));
  auto sut = bus.subscribe(with_overflow(Overflow::drop_newest, 1));
  for (int i = 0; i < 10; ++i)
    bus.publish(make_event(Tracked(alive), Routing{}));
  EXPECT_EQ(alive, 3);
  (void)letters.try_receive();
  EXPECT_EQ(alive, 2);
  letters = {};
  sut = {};
  bus.close();
  EXPECT_EQ(alive, 0);
}

TEST(DeadLetters, EndOfTheBus_EndsThemAfterTheLast) {
  SharingBus bus(quiet(manual_options()));
  auto letters = bus.subscribe_dead_letters();
  auto sut = bus.subscribe(with_overflow(Overflow::drop_newest, 1));
  publish_notes(bus, 1, 2);
  bus.close();
  EXPECT_EQ(stream_text(letters), "? end:bus_closed");
}

}  // namespace
}  // namespace sharingbus
