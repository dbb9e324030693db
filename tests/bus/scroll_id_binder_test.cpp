#include "bus/observers/scroll_id_binder.hpp"

#include <algorithm>
#include <array>
#include <list>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/bus/test_events.hpp"
#include "tests/support/bus_oracle.hpp"
#include "tests/support/log_capture.hpp"

namespace sharingbus {
namespace {

using namespace test;

/// A bus with a binder of its own, and a subscriber that sees what the binder made of each event.
class LateBinding : public ::testing::Test {
 protected:
  explicit LateBinding(std::size_t max_bindings = 100) {
    ScrollIdBinderOptions options;
    options.max_bindings = max_bindings;
    options.log = log.sink();
    sut = std::make_shared<ScrollIdBinder>(std::move(options));
    BusOptions bus_options;
    bus_options.stages = {sut};
    bus.emplace(std::move(bus_options));
    all = bus->subscribe_all();
  }

  void bind(const std::string& connector_id, const std::string& session_id, const std::string& scroll_id,
            Routing routing = {}) {
    bus->publish(SessionRegistered{connector_id, session_id, scroll_id}, std::move(routing));
  }
  /// The scroll id of the next event that arrived.
  std::optional<Uuid> next_scroll_id() {
    const Received received = all.try_receive();
    if (received.event() == nullptr) {
      ADD_FAILURE() << "no event";
      return std::nullopt;
    }
    return (*received.event())->routing().scroll_id;
  }
  std::optional<Uuid> stamped_on(Routing routing) {
    drain_values(all);
    bus->publish(note(1, std::move(routing)));
    return next_scroll_id();
  }

  LogCapture log;
  std::shared_ptr<ScrollIdBinder> sut;
  std::optional<SharingBus> bus;
  Subscription all;
};

// R: an event without `scroll_id` that has `connector_id` and `native_session_id` gets the one last bound to that pair.
TEST_F(LateBinding, BoundPair_StampsLaterEvents) {
  EXPECT_EQ(stamped_on(with_session("c", "s")), std::nullopt);
  bind("c", "s", to_string(uuid(1)));
  EXPECT_EQ(stamped_on(with_session("c", "s")), uuid(1));
  EXPECT_EQ(stamped_on(with_session("c", "s")), uuid(1));
}

TEST_F(LateBinding, OtherPairOrMissingField_IsNotStamped) {
  bind("c", "s", to_string(uuid(1)));
  EXPECT_EQ(stamped_on(with_session("c", "other")), std::nullopt);
  EXPECT_EQ(stamped_on(with_session("other", "s")), std::nullopt);
  EXPECT_EQ(stamped_on(with_session("s", "c")), std::nullopt);
  Routing only_connector;
  only_connector.connector_id = "c";
  EXPECT_EQ(stamped_on(only_connector), std::nullopt);
  Routing only_session;
  only_session.native_session_id = "s";
  EXPECT_EQ(stamped_on(only_session), std::nullopt);
  EXPECT_EQ(stamped_on({}), std::nullopt);
}

TEST_F(LateBinding, EventWithAScrollId_KeepsIt) {
  bind("c", "s", to_string(uuid(1)));
  Routing routing = with_session("c", "s");
  routing.scroll_id = uuid(2);
  EXPECT_EQ(stamped_on(routing), uuid(2));
  EXPECT_EQ(stamped_on(with_session("c", "s")), uuid(1));
}

// R: SessionRegistered is itself stamped with that scroll id, replacing one it carried …
TEST_F(LateBinding, SessionRegistered_IsStampedReplacingWhatItCarried) {
  bind("c", "s", to_string(uuid(1)));
  EXPECT_EQ(next_scroll_id(), uuid(1));
  bind("c", "s2", to_string(uuid(2)), with_scroll(uuid(7)));
  EXPECT_EQ(next_scroll_id(), uuid(2));
}

// R: … the key comes from the payload …
TEST_F(LateBinding, Key_ComesFromThePayloadNotTheRouting) {
  bind("c", "s", to_string(uuid(1)), with_session("routed", "elsewhere"));
  EXPECT_EQ(stamped_on(with_session("c", "s")), uuid(1));
  EXPECT_EQ(stamped_on(with_session("routed", "elsewhere")), std::nullopt);
}

// R: … binding again replaces.
TEST_F(LateBinding, BoundAgain_Replaces) {
  bind("c", "s", to_string(uuid(1)));
  bind("c", "s", to_string(uuid(2)));
  EXPECT_EQ(stamped_on(with_session("c", "s")), uuid(2));
  EXPECT_EQ(sut->stats().bindings, 1u);
}

// R: any UUID text form counts.
TEST_F(LateBinding, AnyUuidTextForm_Binds) {
  int session = 0;
  for (const std::string& text :
       {std::string("00000000-0000-0000-0000-0000000000ab"), std::string("000000000000000000000000000000AB"),
        std::string("{00000000-0000-0000-0000-0000000000Ab}"),
        std::string("urn:uuid:00000000-0000-0000-0000-0000000000ab"),
        std::string("URN:UUID:00000000-0000-0000-0000-0000000000AB")}) {
    const std::string id = std::to_string(++session);
    bind("c", id, text);
    EXPECT_EQ(stamped_on(with_session("c", id)), uuid(0xab)) << text;
  }
  EXPECT_EQ(log.lines().size(), 0u);
}

// R: an unparseable one binds nothing, logs one warning with the three ids, and is still delivered …
TEST_F(LateBinding, Unparseable_BindsNothingWarnsOnceAndIsDelivered) {
  bind("connector-x", "session-y", "no-uuid-z");
  const Received received = all.try_receive();
  ASSERT_NE(received.get_if<SessionRegistered>(), nullptr);
  EXPECT_EQ((*received.event())->routing().scroll_id, std::nullopt);
  const auto lines = log.lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].first, LogLevel::warn);
  for (const char* id : {"connector-x", "session-y", "no-uuid-z"}) {
    EXPECT_NE(lines[0].second.find(id), std::string::npos) << id;
  }
  EXPECT_EQ(stamped_on(with_session("connector-x", "session-y")), std::nullopt);
  EXPECT_EQ(sut->stats().bindings, 0u);
  EXPECT_EQ(sut->stats().unparseable, 1u);
}

// The ids are a peer's: none of them makes a line of its own.
TEST_F(LateBinding, UnparseableWithControlCharacters_IsOneLine) {
  bind("c\n1", "s\r\n2", std::string("no\nerror: forged\x1b[2J\x7f\0", 22));
  const auto lines = log.lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].second,
            "scroll id does not parse connector_id=c?1 session_id=s??2 scroll_id=no?error: forged?[2J??");
}

// R: … the earlier binding stays and stamps it as it would any event.
TEST_F(LateBinding, UnparseableAfterABinding_LeavesItAndIsStampedByIt) {
  bind("c", "s", to_string(uuid(1)));
  drain_values(all);
  bind("c", "s", "garbage", with_session("c", "s"));
  EXPECT_EQ(next_scroll_id(), uuid(1));
  EXPECT_EQ(stamped_on(with_session("c", "s")), uuid(1));
  drain_values(all);
  bind("c", "s", "garbage", with_scroll(uuid(5)));
  EXPECT_EQ(next_scroll_id(), uuid(5)) << "an event that carries one keeps it";
}

// O: a SessionClosed event releases its entry.
TEST_F(LateBinding, SessionClosed_IsStampedAndReleasesTheBinding) {
  bind("c", "s", to_string(uuid(1)));
  drain_values(all);
  bus->publish(SessionClosed{"c", "s"}, with_session("c", "s"));
  EXPECT_EQ(next_scroll_id(), uuid(1));
  EXPECT_EQ(stamped_on(with_session("c", "s")), std::nullopt);
  EXPECT_EQ(sut->stats().bindings, 0u);
  bus->publish(SessionClosed{"never", "bound"});
  EXPECT_EQ(sut->stats().evicted, 0u);
}

// O: the stage is ordered before the fan-out, so a ScrollId filter sees late-bound events.
TEST_F(LateBinding, ScrollIdFilter_MatchesStampedEvents) {
  auto scroll = bus->subscribe(Filter::scroll_id(uuid(1)));
  bus->publish(note(1, with_session("c", "s")));
  bind("c", "s", to_string(uuid(1)));
  bus->publish(note(2, with_session("c", "s")));
  EXPECT_NE(scroll.try_receive().get_if<SessionRegistered>(), nullptr);
  EXPECT_EQ(drain_values(scroll), std::vector<std::uint64_t>{2});
}

// O: binding and dispatch are one total order, whatever thread publishes SessionRegistered.
TEST_F(LateBinding, BoundByAnotherThread_HappensBeforeWhatFollows) {
  for (int i = 0; i < 200; ++i) {
    const std::string id = std::to_string(i);
    std::thread([&] { bind("c", id, to_string(uuid(3))); }).join();
    EXPECT_EQ(stamped_on(with_session("c", id)), uuid(3));
    bus->publish(SessionClosed{"c", id});
  }
}

class SmallTable : public LateBinding {
 protected:
  SmallTable() : LateBinding(2) {}
};

// O: the table is bounded, least recently used out, with a counter for what went.
TEST_F(SmallTable, Full_TheLeastRecentlyUsedGoesCounted) {
  bind("c", "1", to_string(uuid(1)));
  bind("c", "2", to_string(uuid(2)));
  EXPECT_EQ(stamped_on(with_session("c", "1")), uuid(1));  // used: 2 is the oldest now
  bind("c", "3", to_string(uuid(3)));
  EXPECT_EQ(sut->stats().bindings, 2u);
  EXPECT_EQ(sut->stats().evicted, 1u);
  EXPECT_EQ(stamped_on(with_session("c", "2")), std::nullopt);
  EXPECT_EQ(stamped_on(with_session("c", "1")), uuid(1));
  EXPECT_EQ(stamped_on(with_session("c", "3")), uuid(3));
}

TEST_F(SmallTable, RebindingWhenFull_PushesNobodyOut) {
  bind("c", "1", to_string(uuid(1)));
  bind("c", "2", to_string(uuid(2)));
  bind("c", "1", to_string(uuid(4)));
  EXPECT_EQ(sut->stats().evicted, 0u);
  bind("c", "3", to_string(uuid(3)));
  EXPECT_EQ(stamped_on(with_session("c", "1")), uuid(4));
  EXPECT_EQ(stamped_on(with_session("c", "2")), std::nullopt);
}

/// What a table of 40 bindings is to say, kept in a list in the order of use.
class ListOfBindings {
 public:
  using Key = std::pair<std::string, std::string>;

  std::optional<Uuid> find(const Key& key) {
    const auto found = at(key);
    if (found == bindings_.end()) return std::nullopt;
    bindings_.splice(bindings_.begin(), bindings_, found);
    return bindings_.front().second;
  }
  void bind(const Key& key, const Uuid& scroll_id) {
    release(key);
    bindings_.emplace_front(key, scroll_id);
    if (bindings_.size() <= 40) return;
    bindings_.pop_back();
    ++evicted;
  }
  void release(const Key& key) {
    if (const auto found = at(key); found != bindings_.end()) bindings_.erase(found);
  }
  [[nodiscard]] std::size_t size() const { return bindings_.size(); }
  std::size_t evicted = 0;

 private:
  using Bindings = std::list<std::pair<Key, Uuid>>;
  Bindings::iterator at(const Key& key) {
    return std::find_if(bindings_.begin(), bindings_.end(), [&](const auto& one) { return one.first == key; });
  }
  Bindings bindings_;
};

class TableOf40 : public LateBinding {
 protected:
  TableOf40() : LateBinding(40) {}
};

// Texts of a pair are kept in one place up to 48 bytes and in another beyond, and may be cut in two anywhere.
TEST_F(TableOf40, PairsOfAllLengths_AreBoundAsAListWouldHaveThem) {
  ListOfBindings list;
  std::minstd_rand random(29);
  const auto pick = [&](std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); };
  for (int step = 0; step < 20'000; ++step) {
    const std::string text(44 + pick(8), static_cast<char>('a' + pick(2)));
    const std::size_t cut = pick(6) * 8;
    const ListOfBindings::Key key(text.substr(0, cut), text.substr(cut));
    switch (pick(8)) {
      case 0:
      case 1: {
        const Uuid scroll_id = uuid(1 + pick(200));
        bind(key.first, key.second, to_string(scroll_id));
        list.bind(key, scroll_id);
        break;
      }
      case 2:
        bus->publish(SessionClosed{key.first, key.second});
        list.release(key);
        break;
      default:
        ASSERT_EQ(stamped_on(with_session(key.first, key.second)), list.find(key)) << "step " << step;
    }
    ASSERT_EQ(sut->stats().bindings, list.size());
    ASSERT_EQ(sut->stats().evicted, list.evicted);
  }
  EXPECT_GT(list.evicted, 100u);
}

class NoTable : public LateBinding {
 protected:
  NoTable() : LateBinding(0) {}
};

TEST_F(NoTable, ZeroBindings_IsTakenAsOne) {
  bind("c", "1", to_string(uuid(1)));
  EXPECT_EQ(stamped_on(with_session("c", "1")), uuid(1));
  bind("c", "2", to_string(uuid(2)));
  EXPECT_EQ(stamped_on(with_session("c", "1")), std::nullopt);
  EXPECT_EQ(sut->stats().bindings, 1u);
}

// O: a default-constructed bus has this stage; options can leave it out.
TEST(LateBindingStage, DefaultBus_HasItAndOptionsCanLeaveItOut) {
  const SharingBus with;
  EXPECT_EQ(with.snapshot().stages, std::vector<std::string>{"scroll_id_binder"});
  BusOptions options;
  options.stages.clear();
  SharingBus without(std::move(options));
  EXPECT_TRUE(without.snapshot().stages.empty());
  auto all = without.subscribe_all();
  without.publish(SessionRegistered{"c", "s", to_string(uuid(1))});
  without.publish(note(1, with_session("c", "s")));
  EXPECT_EQ((*all.try_receive().event())->routing().scroll_id, std::nullopt);
  EXPECT_EQ((*all.try_receive().event())->routing().scroll_id, std::nullopt);
}

// Two buses do not share a table.
TEST(LateBindingStage, TwoDefaultBuses_BindApart) {
  SharingBus first;
  SharingBus second;
  auto all = second.subscribe_all();
  first.publish(SessionRegistered{"c", "s", to_string(uuid(1))});
  second.publish(note(1, with_session("c", "s")));
  EXPECT_EQ((*all.try_receive().event())->routing().scroll_id, std::nullopt);
}

// An event that gave way in a full ingress still had its place in the order.
TEST(LateBindingStage, SessionRegisteredThatGaveWay_StillBinds) {
  SharingBus bus(manual_options(1));
  auto all = bus.subscribe_all();
  bus.publish(SessionRegistered{"c", "s", to_string(uuid(1))});
  bus.publish(note(1, with_session("c", "s")));
  bus.poll();
  EXPECT_NE(all.try_receive().gap(), nullptr);
  const Received received = all.try_receive();
  ASSERT_NE(received.event(), nullptr);
  EXPECT_EQ((*received.event())->routing().scroll_id, uuid(1));
}

/// Leaves everything as it is: beside it, the binder gets event by event.
class NoStage final : public Stage {
 public:
  [[nodiscard]] std::string_view name() const override { return "none"; }
  void on_event(StagedEvent& /*event*/) override {}
};

// A turn is looked up ahead of its events; what it binds and releases itself is to count from there on.
TEST(LateBindingTurns, WholeTurns_AreBoundAsEventByEvent) {
  for (const std::size_t max_bindings : {std::size_t{7}, std::size_t{1000}}) {
    SCOPED_TRACE(max_bindings);
    const auto make = [&](bool alone) {
      ScrollIdBinderOptions binder;
      binder.max_bindings = max_bindings;
      binder.log = nullptr;
      BusOptions options;
      options.engine = Engine::manual;
      options.stages = {std::make_shared<ScrollIdBinder>(std::move(binder))};
      if (!alone) options.stages.push_back(std::make_shared<NoStage>());
      return std::make_unique<SharingBus>(std::move(options));
    };
    const std::array<std::unique_ptr<SharingBus>, 2> buses{make(true), make(false)};
    std::array<Subscription, 2> seen{buses[0]->subscribe(Filter::all(), 4096),
                                     buses[1]->subscribe(Filter::all(), 4096)};
    std::minstd_rand random(17);
    const auto pick = [&](std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); };
    std::size_t stamped = 0;
    for (int turn = 0; turn < 300; ++turn) {
      for (std::uint32_t i = 1 + pick(128); i > 0; --i) {
        const std::uint32_t action = pick(20);
        // Of all lengths that are hashed and compared in ways of their own.
        const std::string connector(pick(3) * 9, 'c');
        const std::string session = std::string(pick(40), 's') + std::to_string(pick(3));
        const std::string scroll = action == 0 ? "no uuid" : to_string(uuid(pick(250)));
        for (const auto& bus : buses) {
          if (action < 4) {
            bus->publish(SessionRegistered{connector, session, scroll}, with_session(connector, session));
          } else if (action == 4) {
            bus->publish(SessionClosed{connector, session}, with_session(connector, session));
          } else if (action == 5) {
            bus->publish(note(1));
          } else {
            bus->publish(note(1, with_session(connector, session)));
          }
        }
      }
      for (const auto& bus : buses)
        bus->poll(1000);
      for (;;) {
        const Received one = seen[0].try_receive();
        const Received other = seen[1].try_receive();
        ASSERT_EQ(one.event() == nullptr, other.event() == nullptr);
        if (one.event() == nullptr) break;
        const auto& scroll_id = (*one.event())->routing().scroll_id;
        ASSERT_EQ(scroll_id, (*other.event())->routing().scroll_id) << "turn " << turn;
        if (scroll_id) ++stamped;
      }
    }
    EXPECT_GT(stamped, 1000u);
  }
}

}  // namespace
}  // namespace sharingbus
