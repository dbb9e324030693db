#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/support/text_frames.hpp"
#include "transport/link.hpp"

namespace sharingbus::test {

/// What was published about one stream.
struct StreamRecord {
  std::shared_ptr<transport::Link> link;
  std::optional<transport::StreamOpened> opened;
  std::vector<std::string> frames;
  std::size_t writables = 0;
  std::optional<transport::StreamClosed> closed;
  /// Events beside those of the contract.
  std::vector<EventRef> others;

  [[nodiscard]] std::string ending() const {
    if (!closed) return "not closed";
    return closed->error.code.message() + ": " + to_string(closed->error);
  }
  [[nodiscard]] bool closed_with(errc code) const { return closed && closed->error.is(code); }
  /// The first other event of this type, or null.
  template <class T>
  [[nodiscard]] const T* other() const {
    for (const EventRef& each : others) {
      if (const T* found = each->get_if<T>()) return found;
    }
    return nullptr;
  }
  /// Other events of this type.
  template <class T>
  [[nodiscard]] std::size_t count_of() const {
    return static_cast<std::size_t>(
        std::count_if(others.begin(), others.end(), [](const EventRef& each) { return each->is<T>(); }));
  }
};

/// A bus and what happened on its streams. One thread.
class StreamObserver {
 public:
  SharingBus bus;
  /// In the order in which their first events came.
  std::vector<Uuid> order;

  StreamRecord& of(const Uuid& uid) { return records_[uid]; }
  StreamRecord& of(const std::shared_ptr<transport::Link>& link) {
    of(link->uid()).link = link;
    return of(link->uid());
  }
  /// The `index`-th stream that was seen.
  StreamRecord& at(std::size_t index) { return of(order.at(index)); }

  [[nodiscard]] bool wait(const std::function<bool()>& done,
                          std::chrono::milliseconds limit = std::chrono::seconds(40)) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (;;) {
      for (Received next = events_.try_receive(); next.event() != nullptr; next = events_.try_receive())
        note(next);
      if (done()) return true;
      if (std::chrono::steady_clock::now() >= deadline) return false;
      note(events_.receive_for(std::chrono::milliseconds(20)));
    }
  }
  [[nodiscard]] bool opens(StreamRecord& stream) {
    return wait([&] { return stream.opened || stream.closed; }) && !stream.closed;
  }
  [[nodiscard]] bool closes(StreamRecord& stream) {
    return wait([&] { return stream.closed.has_value(); });
  }
  [[nodiscard]] bool gets(StreamRecord& stream, std::size_t frames) {
    return wait([&] { return stream.frames.size() >= frames; });
  }
  /// Waits for the `count`-th stream, and for nothing else.
  [[nodiscard]] bool sees(std::size_t count) {
    return wait([&] { return order.size() >= count; });
  }

 private:
  void note(const Received& received) {
    if (received.event() == nullptr) return;
    const BusEvent& event = **received.event();
    // Of no stream.
    if (!event.routing().connector_uid) return;
    const Uuid uid = event.routing().connector_uid.value();
    if (std::find(order.begin(), order.end(), uid) == order.end()) order.push_back(uid);
    StreamRecord& record = records_[uid];
    EXPECT_FALSE(record.closed) << event.type_name() << " after StreamClosed";
    if (const auto* opened = event.get_if<transport::StreamOpened>()) {
      record.opened = *opened;
      if (!record.link) record.link = opened->link.lock();
    } else if (const auto* frame = event.get_if<TextFrame>()) {
      record.frames.push_back(frame->text);
    } else if (event.is<transport::StreamWritable>()) {
      ++record.writables;
    } else if (const auto* closed = event.get_if<transport::StreamClosed>()) {
      record.closed = *closed;
    } else {
      EXPECT_TRUE(record.opened) << event.type_name() << " before StreamOpened";
      record.others.push_back(*received.event());
    }
  }

  Subscription events_{bus.subscribe(Filter::all(), std::size_t{1} << 16)};
  std::map<Uuid, StreamRecord> records_;
};

}  // namespace sharingbus::test
