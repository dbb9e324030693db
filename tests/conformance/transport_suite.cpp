#include "tests/conformance/transport_suite.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace sharingbus::test {

using transport::Credit;
using transport::Dialer;
using transport::Endpoint;
using transport::Listener;
using transport::ListenerOptions;
using transport::SendStatus;
using transport::StreamClosed;
using transport::StreamOpened;
using transport::StreamOptions;
using transport::StreamWritable;

namespace {

/// Only a test that fails waits this long; sanitizers on a busy machine are slow.
constexpr auto kDeadline = std::chrono::seconds(40);
constexpr std::size_t kEventsKept = std::size_t{1} << 17;

}  // namespace

/// Wakes the test's thread.
class TransportConformance::Bell {
 public:
  void ring() {
    const std::scoped_lock lock(mutex_);
    rung_ = true;
    changed_.notify_all();
  }
  void reset() {
    const std::scoped_lock lock(mutex_);
    rung_ = false;
  }
  bool wait(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [this] { return rung_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool rung_ = false;
};

std::string StreamLog::ending() const {
  if (!closed) return "not closed";
  return closed->error.code.message() + ": " + to_string(closed->error);
}

Side::Side() : events_(bus.subscribe(Filter::all(), kEventsKept)) {}

void Side::drain() {
  for (;;) {
    const Received received = events_.try_receive();
    if (received.empty()) return;
    if (received.closed() != nullptr) {
      ended_ = true;
      return;
    }
    if (const Gap* gap = received.gap()) {
      ADD_FAILURE() << "the suite missed " << gap->count << " events";
    } else {
      note(**received.event());
    }
  }
}

bool Side::park(const std::function<void()>& wake) {
  return ended_ || events_.notify_when_ready(wake);
}

void Side::note(const BusEvent& event) {
  ASSERT_TRUE(event.routing().connector_uid.has_value()) << event.type_name() << " has no connector_uid";
  const Uuid& uid = *event.routing().connector_uid;
  StreamLog& log = of(uid);
  EXPECT_FALSE(log.closed) << event.type_name() << " after StreamClosed";
  if (const auto* opened = event.get_if<StreamOpened>()) {
    EXPECT_FALSE(log.opened) << "StreamOpened twice";
    EXPECT_EQ(event.kind(), EventKind::stream);
    log.opened = *opened;
    log.opened_routing = event.routing();
    log.source = event.source();
    log.origin = event.origin();
    if (!log.handle) log.handle = opened->link.lock();
    if (opened->listener != 0) accepted.push_back(&log);
  } else if (const auto* frame = event.get_if<TextFrame>()) {
    EXPECT_TRUE(log.opened) << "a message before StreamOpened";
    log.frames.push_back(frame->text);
    ++(event.kind() == EventKind::request ? log.requests : log.controls);
  } else if (event.is<StreamWritable>()) {
    ++log.writables;
  } else if (const auto* closed = event.get_if<StreamClosed>()) {
    log.closed = *closed;
  } else if (!expects_too || !expects_too(event)) {
    ADD_FAILURE() << "unexpected event " << event.type_name();
  }
  if (log.handle) {
    EXPECT_EQ(event.source(), log.handle->id()) << event.type_name();
    EXPECT_EQ(uid, log.handle->uid()) << event.type_name();
  }
}

void Side::check_books() {
  drain();
  EXPECT_EQ(bus.snapshot().ingress_lost, 0U);
  if (ended_) return;
  for (const auto& [uid, log] : logs_)
    EXPECT_TRUE(log.closed) << "no StreamClosed for " << to_string(uid);
}

TransportConformance::TransportConformance() : bell_(std::make_shared<Bell>()), transport_(GetParam().make()) {}
TransportConformance::~TransportConformance() = default;

void TransportConformance::SetUp() {
  // Named `Case/name_of_the_parameter`.
  const std::string test = testing::UnitTest::GetInstance()->current_test_info()->name();
  if (const auto why = transport_->cannot_show(test.substr(0, test.find('/')))) GTEST_SKIP() << *why;
  for (Side* side : {&client, &server})
    side->expects_too = [this](const BusEvent& event) { return transport_->publishes(event); };
  add_listener(listener_options(), endpoint_);
  add_dialer(endpoint_);
}

void TransportConformance::TearDown() {
  EXPECT_TRUE(close_everything());
  for (const auto& each : listeners_)
    EXPECT_EQ(each->link_count(), 0U);
  for (const auto& each : dialers_)
    EXPECT_EQ(each->stats().streams, 0U);
  for (const auto& each : dialers_)
    EXPECT_EQ(each->stats().channels, 0U);
  dialers_.clear();
  listeners_.clear();
  client.check_books();
  server.check_books();
}

ListenerOptions TransportConformance::listener_options() {
  ListenerOptions options;
  options.publisher = server.bus.publisher();
  options.decoder = decoder_;
  options.new_source = [this] { return server.bus.new_source(); };
  options.id = server.bus.new_source();
  return options;
}

StreamOptions TransportConformance::stream_options(Credit initial) {
  StreamOptions options;
  options.publisher = client.bus.publisher();
  options.decoder = decoder_;
  options.id = client.bus.new_source();
  options.initial_credit = initial;
  return options;
}

Listener& TransportConformance::add_listener(ListenerOptions options, Endpoint& endpoint) {
  Listener& added = *listeners_.emplace_back(transport_->make_listener(std::move(options), nullptr));
  const auto bound = added.listen();
  EXPECT_TRUE(bound.has_value()) << to_string(bound.error());
  if (bound) endpoint = *bound;
  return added;
}

Dialer& TransportConformance::add_dialer(const Endpoint& to) {
  return *dialers_.emplace_back(transport_->make_dialer(to));
}

void TransportConformance::restart_with(ListenerOptions options) {
  ASSERT_TRUE(close_everything());
  dialers_.clear();
  listeners_.clear();
  barrier_ = {};
  add_listener(std::move(options), endpoint_);
  add_dialer(endpoint_);
}

StreamLog& TransportConformance::open(Dialer& from, StreamOptions options, std::string first_frame) {
  const auto link = from.open(std::move(options), std::move(first_frame));
  StreamLog& log = client.of(link->uid());
  log.handle = link;
  return log;
}

Ends TransportConformance::open_ends(Credit credit) {
  return open_ends(dialer(), stream_options(), credit);
}

Ends TransportConformance::open_ends(Dialer& from, StreamOptions options, Credit credit) {
  const std::size_t before = server.accepted.size();
  StreamLog& dialled = open(from, std::move(options));
  const bool opened = wait_until([&] { return dialled.closed || (dialled.opened && server.accepted.size() > before); });
  if (!opened || dialled.closed) {
    ADD_FAILURE() << "the stream did not open: " << dialled.ending();
    return {};
  }
  EXPECT_EQ(server.accepted.size(), before + 1);
  StreamLog* accepted = server.accepted.back();
  if (!accepted->handle) {
    ADD_FAILURE() << "StreamOpened without a link";
    return {};
  }
  if (credit != kNone) accepted->link().grant(credit);
  return {&dialled, accepted};
}

Ends TransportConformance::open_ends_at(const Listener& listener, Dialer& from, StreamOptions options, Credit credit) {
  StreamLog& dialled = open(from, std::move(options));
  StreamLog* accepted = nullptr;
  const bool opened = wait_until([&] {
    for (StreamLog* each : server.accepted) {
      if (each->opened->listener == listener.id() && !each->closed) accepted = each;
    }
    return dialled.closed || (dialled.opened && accepted != nullptr);
  });
  if (!opened || dialled.closed) {
    ADD_FAILURE() << "the stream did not open: " << dialled.ending();
    return {};
  }
  accepted->link().grant(credit);
  return {&dialled, accepted};
}

void TransportConformance::destroy_dialer(Dialer& which) {
  std::erase_if(dialers_, [&](const auto& each) { return each.get() == &which; });
}
void TransportConformance::destroy_listener(Listener& which) {
  std::erase_if(listeners_, [&](const auto& each) { return each.get() == &which; });
}

void TransportConformance::drain() {
  client.drain();
  server.drain();
}

bool TransportConformance::wait_until(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  for (;;) {
    const std::size_t steps = transport_->by_hand() ? transport_->run() : 0;
    bell_->reset();
    drain();
    if (done()) {
      drain();
      return true;
    }
    if (transport_->by_hand()) {
      if (steps == 0) return false;
      continue;
    }
    const auto wake = [bell = bell_] { bell->ring(); };
    if (client.park(wake) && server.park(wake) && !bell_->wait(deadline)) return false;
  }
}

bool TransportConformance::opens(StreamLog& stream) {
  return wait_until([&] { return stream.opened || stream.closed; }) && stream.opened;
}
bool TransportConformance::closes(StreamLog& stream) {
  return wait_until([&] { return stream.closed.has_value(); });
}
bool TransportConformance::closes(const Ends& ends) {
  return closes(*ends.dialled) && closes(*ends.accepted);
}
bool TransportConformance::gets(StreamLog& stream, std::size_t frames) {
  return wait_until([&] { return stream.frames.size() >= frames || stream.closed; }) && stream.frames.size() >= frames;
}

void TransportConformance::settle() {
  if (transport_->by_hand()) {
    EXPECT_FALSE(wait_until([] { return false; }));
    return;
  }
  if (barrier_.dialled == nullptr) {
    Endpoint at;
    const Listener& listener = add_listener(listener_options(), at);
    barrier_ = open_ends_at(listener, add_dialer(at), stream_options(), kPlenty);
    ASSERT_NE(barrier_.dialled, nullptr);
  }
  const std::size_t next = barrier_.accepted->frames.size() + 1;
  queue(*barrier_.dialled, "Cto");
  EXPECT_TRUE(gets(*barrier_.accepted, next));
  queue(*barrier_.accepted, "Cfro");
  EXPECT_TRUE(gets(*barrier_.dialled, next));
}

std::function<void()> TransportConformance::waker(std::function<void()> fn) {
  return [bell = bell_, fn = std::move(fn)] {
    fn();
    bell->ring();
  };
}

bool TransportConformance::close_everything() {
  const auto open = std::make_shared<std::atomic<std::size_t>>(listeners_.size() + dialers_.size());
  const auto done = waker([open] { --*open; });
  for (const auto& each : listeners_)
    each->close(done);
  for (const auto& each : dialers_)
    each->close(done);
  return wait_until([&] { return *open == 0; });
}

void queue(const StreamLog& stream, std::string frame) {
  EXPECT_EQ(stream.link().send(std::move(frame)), SendStatus::queued);
}

std::string numbered(std::size_t number, char first) {
  return first + std::to_string(number);
}

std::vector<std::string> numbered_until(std::size_t count, char first) {
  std::vector<std::string> frames;
  for (std::size_t i = 0; i < count; ++i)
    frames.push_back(numbered(i, first));
  return frames;
}

}  // namespace sharingbus::test
