// What filters and the index take from the heap. A program of its own, for it replaces operator new.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <malloc.h>

#include "bus/filter.hpp"
#include "bus/internal/match_index.hpp"
#include "tests/bus/filter_samples.hpp"

namespace {

struct Heap {
  /// Ever asked for.
  std::size_t allocations = 0;
  /// In use now.
  std::size_t blocks = 0;
  std::size_t bytes = 0;
};
thread_local Heap heap;

void release(void* block) noexcept {
  if (block == nullptr) return;
  --heap.blocks;
  heap.bytes -= malloc_usable_size(block);
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) {
  void* const block = std::malloc(size);
  if (block == nullptr) throw std::bad_alloc();
  ++heap.allocations;
  ++heap.blocks;
  heap.bytes += malloc_usable_size(block);
  return block;
}
void operator delete(void* block) noexcept {
  release(block);
}
void operator delete(void* block, std::size_t) noexcept {
  release(block);
}

namespace sharingbus {
namespace {

class Sink {
 public:
  explicit Sink(Filter filter) : filter_(std::move(filter)) {}
  [[nodiscard]] const Filter& filter() const { return filter_; }

 private:
  Filter filter_;
};

EventDraft event_with_everything() {
  Routing routing;
  routing.scroll_id = Uuid{};
  routing.connector_uid = Uuid{};
  routing.connector_id = "a connector with a long name";
  routing.native_session_id = "a session with a long name";
  routing.address = "a tenant with a long name.echo.1";
  routing.kind = EventKind::request;
  return make_event(test::Apple{}, std::move(routing), EventOrigin::gateway, 9);
}

// 10,000 subscriptions with a filter each are ordinary.
TEST(FilterMemory, OneTerm_IsOneSmallBlock) {
  const auto expect_one_block = [](const char* what, auto&& make) {
    const Heap before = heap;
    const Filter filter = make();
    EXPECT_EQ(heap.blocks - before.blocks, 1u) << what;
    EXPECT_LE(heap.bytes - before.bytes, 96u) << what;
  };
  expect_one_block("connector_uid", [] { return Filter::connector_uid(Uuid{}); });
  expect_one_block("connector_id", [] { return Filter::connector_id("short"); });
  expect_one_block("kind", [] { return Filter::kind(EventKind::agent); });
  expect_one_block("type", [] { return Filter::type<test::Apple>(); });
}

TEST(FilterMemory, AllAndCopies_AreFree) {
  const Filter filter = Filter::kind(EventKind::agent);
  const Heap before = heap;
  const Filter all = Filter::all();
  const Filter copy = filter;  // NOLINT(performance-unnecessary-copy-initialization): its cost is the subject.
  EXPECT_TRUE(all.is_all());
  EXPECT_EQ(copy.is_all(), filter.is_all());
  EXPECT_EQ(heap.allocations, before.allocations);
}

TEST(FilterMemory, IndexOfTenThousandUids_TakesLessThan96BytesEach) {
  constexpr std::size_t kSinks = 10'000;
  std::vector<Sink> sinks;
  sinks.reserve(kSinks);
  for (std::size_t i = 0; i < kSinks; ++i) {
    Uuid uid;
    uid.bytes[0] = static_cast<std::uint8_t>(i);
    uid.bytes[1] = static_cast<std::uint8_t>(i >> 8);
    sinks.emplace_back(Filter::connector_uid(uid));
  }
  const Heap before = heap;
  internal::MatchIndex<Sink> index;
  for (Sink& sink : sinks)
    index.add(&sink, sink.filter());
  EXPECT_LE(heap.bytes - before.bytes, kSinks * 96);
}

TEST(FilterMemory, MatchingAndLookingUp_AllocateNothing) {
  const EventDraft event = event_with_everything();
  std::vector<Sink> sinks;
  for (const char* text :
       {"*", "kind=request", "origin=gateway", "type=test_apple", "source=9", "address=a.b.c",
        "address=\"a tenant with a long name.*.>\"", "connector_uid=00000000000000000000000000000000",
        "scroll_id=00000000000000000000000000000000", "connector_id=\"a connector with a long name\"",
        "native_session_id=\"a session with a long name\"",
        "connector_id=\"a connector with a long name\" and native_session_id=\"a session with a long name\"",
        "not kind=agent", "kind=request or origin=gateway or connector_id=x",
        "(kind=request or source=1) and not source=2"})
    sinks.emplace_back(*Filter::parse(text));
  internal::MatchIndex<Sink> index;
  for (Sink& sink : sinks)
    index.add(&sink, sink.filter());

  const Heap before = heap;
  std::size_t found = 0;
  std::size_t matching = 0;
  index.for_each_match(*event, [&](Sink&) { ++found; });
  for (const Sink& sink : sinks)
    matching += sink.filter().matches(*event) ? 1 : 0;
  EXPECT_EQ(heap.allocations, before.allocations);
  EXPECT_EQ(found, matching);
  EXPECT_EQ(found, sinks.size() - 1);
}

}  // namespace
}  // namespace sharingbus
