// Bytes as operations: on the bus under the manual engine against a model of it, and on one bare subscriber queue
// against a std::deque.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "bus/internal/stream_queue.hpp"
#include "tests/fuzz/fuzz_bytes.hpp"
#include "tests/support/bus_model.hpp"

namespace {

using sharingbus::BusEvent;
using sharingbus::EventAccess;
using sharingbus::EventDraft;
using sharingbus::Gap;
using sharingbus::Received;
using sharingbus::fuzz::Bytes;
using sharingbus::fuzz::require;
using sharingbus::internal::StreamQueue;

struct Payload {
  static constexpr std::string_view event_name = "fuzz_payload";
};

void fuzz_queue(Bytes& bytes) {
  const std::size_t capacity = 1 + bytes.below(9);
  StreamQueue sut(capacity);
  std::deque<Gap> model;  // count 0: an event
  std::size_t queued = 0;
  const auto lose = [&](std::uint64_t sequence) {
    if (model.empty() || model.back().count == 0) model.push_back({sequence, sequence, 0});
    model.back().last = sequence;
    ++model.back().count;
  };
  for (std::uint64_t sequence = 1; !bytes.empty(); ++sequence) {
    switch (bytes.below(5)) {
      case 0:
      case 1: {
        EventDraft draft = sharingbus::make_event(Payload{}, sharingbus::Routing{});
        BusEvent* event = EventAccess::take(draft);
        EventAccess::set_sequence(*event, sequence);
        const bool taken = sut.push(*event);
        require(taken == (queued < capacity), "hard capacity");
        if (taken) {
          model.push_back({sequence, sequence, 0});
          ++queued;
        } else {
          EventAccess::release(*event);
          sut.lose({sequence, sequence, 1});
          lose(sequence);
        }
        break;
      }
      case 2:
        sut.lose({sequence, sequence, 1});
        lose(sequence);
        break;
      default: {
        require(sut.readable() == !model.empty(), "readable");
        const Received received = sut.pop();
        require(received.empty() == model.empty(), "empty");
        if (model.empty()) break;
        const Gap expected = model.front();
        model.pop_front();
        if (expected.count != 0) {
          require(received.gap() != nullptr && *received.gap() == expected, "gap");
        } else {
          require(received.event() != nullptr && (*received.event())->sequence() == expected.first, "event");
          --queued;
        }
      }
    }
    require(sut.depth() == queued, "depth");
  }
  require(sut.discard() == queued, "discarded");
}

void fuzz_bus(Bytes& bytes) {
  sharingbus::test::BusModel sut([&](std::uint32_t bound) { return bytes.below(bound); });
  while (!bytes.empty()) {
    const std::string difference = sut.step();
    require(difference.empty(), difference.c_str());
  }
  const std::string difference = sut.finish();
  require(difference.empty(), difference.c_str());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  Bytes bytes(data, size);
  bytes.below(2) == 0 ? fuzz_bus(bytes) : fuzz_queue(bytes);
  return 0;
}
