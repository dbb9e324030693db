#include "bus/event.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/received.hpp"
#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"

/// A type that its author did not make for this framework.
struct ForeignPayload {
  std::string text;
};
template <>
struct sharingbus::EventName<ForeignPayload> {
  static constexpr std::string_view value = "foreign";
};

namespace sharingbus {
namespace {

using test::Beat;
using test::Note;
using test::Tracked;

struct Owner {
  static constexpr std::string_view event_name = "test_owner";
  std::unique_ptr<int> value;
};

struct Aligned {
  static constexpr std::string_view event_name = "test_aligned";
  alignas(__STDCPP_DEFAULT_NEW_ALIGNMENT__) char byte = 'x';
};

TEST(EventKind, Names_GoThereAndBack) {
  for (const std::string_view name : {"system", "session_lifecycle", "connector_lifecycle", "registration", "request",
                                      "response", "stream", "heartbeat", "metrics", "agent", "service", "custom"}) {
    const auto kind = parse_event_kind(name);
    ASSERT_TRUE(kind.has_value()) << name;
    EXPECT_EQ(to_string(*kind), name);
  }
  EXPECT_FALSE(parse_event_kind("no_such_kind").has_value());
  EXPECT_FALSE(parse_event_kind("").has_value());
}

TEST(EventOrigin, Names_GoThereAndBack) {
  for (const std::string_view name : {"runtime", "transport", "connector", "gateway", "agent", "service", "user"}) {
    const auto origin = parse_event_origin(name);
    ASSERT_TRUE(origin.has_value()) << name;
    EXPECT_EQ(to_string(*origin), name);
  }
  EXPECT_FALSE(parse_event_origin("Gateway").has_value());
}

TEST(Event, UsersOwnType_CarriesNameKindAndPayload) {
  const EventDraft draft = make_event(Beat{}, routing_for<Beat>());
  EXPECT_EQ(draft->type_name(), "test_beat");
  EXPECT_EQ(draft->kind(), EventKind::heartbeat);
  EXPECT_TRUE(draft->is<Beat>());
  EXPECT_EQ(draft->get_if<Note>(), nullptr);
  EXPECT_EQ(draft->origin(), EventOrigin::user);
  EXPECT_EQ(draft->sequence(), 0u);
}

TEST(Event, TypeThatCannotBeEdited_NeedsOnlyASpecialisation) {
  const EventDraft draft = make_event(ForeignPayload{"hello"}, routing_for<ForeignPayload>());
  EXPECT_EQ(draft->type_name(), "foreign");
  EXPECT_EQ(draft->kind(), EventKind::custom);
  ASSERT_NE(draft->get_if<ForeignPayload>(), nullptr);
  EXPECT_EQ(draft->get_if<ForeignPayload>()->text, "hello");
}

TEST(Event, MoveOnlyPayload_IsCarried) {
  const EventDraft draft = make_event(Owner{std::make_unique<int>(7)}, Routing{});
  EXPECT_EQ(*draft->get_if<Owner>()->value, 7);
}

TEST(Event, MostAlignedPayload_IsAligned) {
  const EventDraft draft = make_event(Aligned{}, Routing{});
  const auto address = reinterpret_cast<std::uintptr_t>(draft->get_if<Aligned>());
  EXPECT_EQ(address % alignof(Aligned), 0u);
}

TEST(Event, SizeBytes_GrowsByWhatTheMakerDeclares) {
  const EventDraft plain = make_event(Note{}, Routing{});
  const EventDraft heavy = make_event(Note{}, Routing{}, EventOrigin::user, 0, 1000);
  EXPECT_GE(plain->size_bytes(), sizeof(BusEvent) + sizeof(Note));
  EXPECT_EQ(heavy->size_bytes(), plain->size_bytes() + 1000);
}

TEST(OptionalText, OfAnySize_ReadsAsItWasGiven) {
  std::string text;
  for (int size = 0; size < 200; ++size) {
    const OptionalText sut(text);
    const OptionalText copy = sut;
    ASSERT_TRUE(sut.has_value());
    EXPECT_EQ(*sut, text);
    EXPECT_EQ(copy, text);
    text.push_back(static_cast<char>('!' + size % 90));
  }
}

TEST(EventDraft, DroppedUnpublished_DestroysThePayload) {
  std::atomic<int> alive{0};
  {
    EventDraft draft = make_event(Tracked(alive), Routing{});
    EXPECT_EQ(alive, 1);
    EventDraft moved = std::move(draft);
    EXPECT_FALSE(draft);
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

TEST(EventDraft, RoutingBeforePublishing_MayChange) {
  EventDraft draft = test::note(1);
  draft.routing().address = "acme.echo.1";
  EXPECT_EQ(draft->routing().address, "acme.echo.1");
}

TEST(EventRef, CopiesAndMoves_KeepThePayloadUntilTheLastLetsGo) {
  std::atomic<int> alive{0};
  SharingBus bus;
  auto subscription = bus.subscribe_all();
  bus.publish(make_event(Tracked(alive), Routing{}));
  EventRef kept;
  {
    const Received received = subscription.try_receive();
    ASSERT_NE(received.event(), nullptr);
    kept = *received.event();
    const EventRef copy = kept;
    EventRef moved = copy;
    EventRef target;
    target = std::move(moved);
    EXPECT_EQ(target.get(), kept.get());
  }
  EXPECT_EQ(alive, 1);
  auto& itself = kept;
  kept = itself;
  EXPECT_EQ(alive, 1);
  kept = {};
  EXPECT_EQ(alive, 0);
}

TEST(Received, DefaultConstructed_IsEmpty) {
  const Received received;
  EXPECT_TRUE(received.empty());
  EXPECT_EQ(received.event(), nullptr);
  EXPECT_EQ(received.gap(), nullptr);
  EXPECT_EQ(received.closed(), nullptr);
  EXPECT_EQ(received.get_if<Note>(), nullptr);
}

TEST(CloseReason, Names_AreTheEnumerators) {
  EXPECT_EQ(to_string(CloseReason::unsubscribed), "unsubscribed");
  EXPECT_EQ(to_string(CloseReason::bus_closed), "bus_closed");
  EXPECT_EQ(to_string(CloseReason::callback_failed), "callback_failed");
}

}  // namespace
}  // namespace sharingbus
