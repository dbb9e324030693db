#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bus/sharing_bus.hpp"
#include "tests/support/text_frames.hpp"
#include "transport/dialer.hpp"
#include "transport/listener.hpp"

/// What every transport has to do, as tests (the contract: transport/link.hpp, dialer.hpp, listener.hpp). A transport
/// passes it by one file: a class that derives from TransportUnderTest, and an INSTANTIATE_TEST_SUITE_P of
/// TransportConformance (memory_conformance_test.cpp), linked with sharingbus::transport_suite.
namespace sharingbus::test {

/// The transport as the suite needs it; a new one for each test. Outlives its dialers and listeners.
class TransportUnderTest {
 public:
  virtual ~TransportUnderTest() = default;

  /// A listener that does not listen yet: at `at`, or, when null, at an address that is free.
  virtual std::unique_ptr<transport::Listener> make_listener(transport::ListenerOptions options,
                                                             const transport::Endpoint* at) = 0;
  virtual std::unique_ptr<transport::Dialer> make_dialer(const transport::Endpoint& to) = 0;
  /// Where nobody listens, for as long as the test runs.
  virtual transport::Endpoint refused_endpoint() = 0;
  /// Where dialling neither succeeds nor fails; nothing when the transport cannot be kept waiting.
  virtual std::optional<transport::Endpoint> silent_endpoint() { return std::nullopt; }
  /// Why this transport cannot show what the test named so asks for; nothing: it can.
  virtual std::optional<std::string> cannot_show(const std::string& /*test*/) { return std::nullopt; }
  /// Whether an event is the transport's own, beside those of the contract.
  [[nodiscard]] virtual bool publishes(const BusEvent& /*event*/) const { return false; }
  /// True: nothing happens but in `run`, so that the suite needs no deadlines.
  [[nodiscard]] virtual bool by_hand() const { return false; }
  /// Does what can be done now, and returns how many steps that took. Only called when `by_hand`.
  virtual std::size_t run() { return 0; }
};

struct TransportCase {
  std::string name;
  std::function<std::unique_ptr<TransportUnderTest>()> make;
};
inline std::ostream& operator<<(std::ostream& out, const TransportCase& value) {
  return out << value.name;
}
/// The third argument of INSTANTIATE_TEST_SUITE_P's friends: names tests after their case.
inline std::string case_name(const testing::TestParamInfo<TransportCase>& info) {
  return info.param.name;
}

/// Everything that was published about one stream. `Side` fills it, and fails the test when the order is wrong.
struct StreamLog {
  /// From `open` or `StreamOpened`; null when it is known from a `StreamClosed` only.
  std::shared_ptr<transport::Link> handle;
  std::optional<transport::StreamOpened> opened;
  Routing opened_routing;
  std::uint64_t source = 0;
  EventOrigin origin = EventOrigin::runtime;
  std::vector<std::string> frames;
  std::size_t requests = 0;
  std::size_t controls = 0;
  std::size_t writables = 0;
  std::optional<transport::StreamClosed> closed;

  [[nodiscard]] transport::Link& link() const { return *handle; }
  [[nodiscard]] bool closed_with(errc code) const { return closed && closed->error.is(code); }
  [[nodiscard]] bool closed_in_good_order() const { return closed && !closed->error; }
  /// The error of `StreamClosed` as text, for failure messages.
  [[nodiscard]] std::string ending() const;
};

/// One end of the transport: a bus, and what happens on it, stream by stream. One thread.
class Side {
 public:
  Side();

  SharingBus bus;
  /// Events beside those of the contract that are no mistake.
  std::function<bool(const BusEvent&)> expects_too;
  /// Accepted streams, in the order of their StreamOpened.
  std::vector<StreamLog*> accepted;

  StreamLog& of(const Uuid& uid) { return logs_[uid]; }
  [[nodiscard]] std::map<Uuid, StreamLog>& logs() { return logs_; }
  void drain();
  /// Calls `wake` when there is something to drain; false when there is already.
  bool park(const std::function<void()>& wake);
  /// Fails the test when the suite missed an event or a stream is still open.
  void check_books();

 private:
  void note(const BusEvent& event);

  Subscription events_;
  std::map<Uuid, StreamLog> logs_;
  bool ended_ = false;
};

/// Both ends of one stream.
struct Ends {
  StreamLog* dialled = nullptr;
  StreamLog* accepted = nullptr;
};

/// Enough credit for any test.
inline constexpr transport::Credit kPlenty{1'000'000, 1'000'000};
inline constexpr transport::Credit kNone{};

/// The fixture. One thread, the test's; the transport publishes from its own.
class TransportConformance : public testing::TestWithParam<TransportCase> {
 public:
  TransportConformance();
  ~TransportConformance() override;
  /// A listener and a dialer to it.
  void SetUp() override;
  /// Closes everything; then each stream must have had its one StreamClosed.
  void TearDown() override;

  TransportUnderTest& transport() { return *transport_; }
  transport::Listener& listener() { return *listeners_.front(); }
  transport::Dialer& dialer() { return *dialers_.front(); }
  [[nodiscard]] const transport::Endpoint& endpoint() const { return endpoint_; }

  transport::ListenerOptions listener_options();
  transport::StreamOptions stream_options(transport::Credit initial = kPlenty);
  /// A further listener that listens; `endpoint` is where.
  transport::Listener& add_listener(transport::ListenerOptions options, transport::Endpoint& endpoint);
  transport::Dialer& add_dialer(const transport::Endpoint& to);
  /// Replaces the fixture's own listener by one with `options`, and its dialer by one to it.
  void restart_with(transport::ListenerOptions options);

  /// Dials; returns at once.
  StreamLog& open(transport::Dialer& from, transport::StreamOptions options, std::string first_frame = {});
  /// Dials, waits for both ends, and grants the accepted one `credit`. Ends are null when it failed.
  Ends open_ends(transport::Credit credit = kPlenty);
  Ends open_ends(transport::Dialer& from, transport::StreamOptions options, transport::Credit credit);
  /// As `open_ends`, while others may still be accepted too, as where a socket's dialler left before that: the end at
  /// `listener` counts.
  Ends open_ends_at(const transport::Listener& listener, transport::Dialer& from, transport::StreamOptions options,
                    transport::Credit credit);
  /// Destroys without closing first.
  void destroy_dialer(transport::Dialer& which);
  void destroy_listener(transport::Listener& which);

  /// Waits for `done()`, evaluated whenever something was published. False when it never came true. What was published
  /// before it did is in the logs.
  [[nodiscard]] bool wait_until(const std::function<bool()>& done);
  [[nodiscard]] bool opens(StreamLog& stream);
  [[nodiscard]] bool closes(StreamLog& stream);
  [[nodiscard]] bool closes(const Ends& ends);
  [[nodiscard]] bool gets(StreamLog& stream, std::size_t frames);
  /// Gives what must not happen the time to happen: a message has gone to and fro on another stream.
  void settle();
  /// Closes a dialer or listener, and waits until it says so.
  template <class T>
  [[nodiscard]] bool close(T& what) {
    const auto done = std::make_shared<std::atomic<bool>>(false);
    what.close(waker([done] { *done = true; }));
    return wait_until([&] { return done->load(); });
  }
  /// `fn`, and then whoever is in `wait_until` looks again.
  std::function<void()> waker(std::function<void()> fn);
  [[nodiscard]] bool close_everything();

  Side client;
  Side server;

 private:
  class Bell;
  void drain();

  const std::shared_ptr<Bell> bell_;
  const std::shared_ptr<const transport::FrameDecoder> decoder_ = std::make_shared<TextFrameDecoder>();
  std::unique_ptr<TransportUnderTest> transport_;
  std::vector<std::unique_ptr<transport::Listener>> listeners_;
  std::vector<std::unique_ptr<transport::Dialer>> dialers_;
  transport::Endpoint endpoint_;
  Ends barrier_;
};

/// Sends, and fails the test unless the link took it.
void queue(const StreamLog& stream, std::string frame);
/// `C0`, `C1`, … or with another first character.
std::string numbered(std::size_t number, char first = 'C');
/// What a receiver should have got of `count` numbered frames.
std::vector<std::string> numbered_until(std::size_t count, char first = 'C');

}  // namespace sharingbus::test
