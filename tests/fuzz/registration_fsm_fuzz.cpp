// Any order of anything that can happen to a registration: it opens one stream at a time, ends at most once and decides
// nothing afterwards, its deadlines lie ahead, and a shutdown always ends it.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <variant>

#include "connector/registration/registration_fsm.hpp"
#include "tests/fuzz/fuzz_bytes.hpp"

namespace {

using namespace sharingbus;
using namespace sharingbus::connector;
namespace messages = sharingbus::transport::messages;
using Fsm = RegistrationFsm;
using fuzz::Bytes;
using fuzz::require;
using std::chrono::milliseconds;

/// What must hold whatever comes, checked action by action.
class Owner {
 public:
  Owner(Bytes& bytes, std::uint8_t setup)
      : bytes_(bytes), cap_ms_(setup & 1 ? 60'000 : 0), fsm_("t.c.i", times(setup), Backoff(waits(setup), draw())) {}

  void event() {
    const std::uint8_t what = bytes_.next();
    const std::uint8_t how = bytes_.next();
    Fsm::Actions actions;
    const bool stream_was_open = stream_;
    switch (what % 12) {
      case 0:
        fsm_.start(now_, actions);
        break;
      case 1:
        if (how % 16 == 15) {
          fsm_.stream_going_away(actions);
        } else {
          fsm_.stream_opened(now_, actions);
        }
        break;
      case 2:
      case 3:
        fsm_.message(message(how), now_, ++unix_ms_, actions);
        break;
      case 4:
        stream_ = false;
        fsm_.stream_closed(error(how), now_, ++unix_ms_, actions, milliseconds(how > 200 ? how * 1'000 : 0));
        require(stream_was_open || actions.empty(), "an end without a stream means something");
        break;
      case 5:
        fsm_.send_failed(now_, actions);
        break;
      case 6:
        fsm_.in_flight_changed(how % 3, now_, actions);
        break;
      case 7:
        fsm_.reading_paused(how % 2 == 0, now_);
        break;
      case 8:
        // Seldom, because nothing much follows it.
        if (how % 4 == 0) fsm_.shutdown(now_, actions, how % 8 == 0);
        break;
      case 9:
        now_ += milliseconds(how * how);
        break;
      case 10:
        replace(how, actions);
        break;
      default:
        if (const auto deadline = fsm_.next_deadline()) now_ = std::max(now_, *deadline);
        fsm_.tick(now_, ++unix_ms_, actions);
        carry_out(actions);
        actions.clear();
        require(!fsm_.next_deadline() || *fsm_.next_deadline() > now_, "a tick left its deadline behind");
    }
    carry_out(actions);
    check_state();
  }

  void finish() {
    Fsm::Actions actions;
    fsm_.start(now_, actions);
    fsm_.shutdown(now_, actions);
    carry_out(actions);
    if (stream_) {
      actions.clear();
      stream_ = false;
      fsm_.stream_closed({}, now_, ++unix_ms_, actions);
      carry_out(actions);
    }
    require(ended_, "a shutdown did not end it");
    check_state();
  }

 private:
  static RegistrationTimes times(std::uint8_t setup) {
    RegistrationTimes times;
    times.register_timeout = milliseconds(setup & 2 ? 3 : 30'000);
    times.heartbeat_interval = milliseconds(setup & 4 ? 1 : 30'000);
    times.heartbeat_timeout = milliseconds(setup & 8 ? 1 : 45'000);
    times.minimum_stream_life = milliseconds(setup & 16 ? 0 : 10'000);
    times.drain = milliseconds(setup & 32 ? 0 : 5'000);
    times.reconnect = (setup & 64) == 0;
    return times;
  }
  BackoffOptions waits(std::uint8_t setup) const {
    return {.base_ms = 500, .cap_ms = cap_ms_, .jitter_ms = 500, .mode = static_cast<JitterMode>(setup % 3)};
  }
  Backoff::Random draw() {
    return [this](std::uint64_t bound) { return bound == ~std::uint64_t{0} ? bound : bytes_.next() % (bound + 1); };
  }

  static messages::ConnectorMessage message(std::uint8_t how) {
    switch (how % 8) {
      case 0:
      case 1: {
        messages::RegisterResponse response;
        response.success = (how & 8) != 0;
        if ((how & 16) != 0) response.session_token = "token";
        return response;
      }
      case 2:
        return messages::HeartbeatRequest{};
      case 3:
        return messages::HeartbeatResponse{"", how / 8, (how & 64) != 0};
      case 4:
        return messages::ExecuteRequest{};
      case 5:
        return messages::ApprovalNotification{"", static_cast<messages::RegistrationStatus>((how >> 3) % 5), ""};
      case 6:
        return messages::CredentialsIssued{};
      default:
        return messages::UnknownMessage{};
    }
  }
  /// As its driver does: a machine that replaces this one, and this one retired; sometimes the new one goes on.
  void replace(std::uint8_t how, Fsm::Actions& actions) {
    if (!asked_) return;
    if (how % 2 == 0) {
      fsm_.retire(now_, how / 8, actions);
      return;
    }
    Fsm::Actions of_next;
    Fsm next = fsm_.replacement(now_, of_next);
    require(of_next.size() == 1 && std::holds_alternative<BackingOff>(of_next[0]), "a replacement does not wait");
    require(next.state() == Fsm::State::backing_off && next.next_deadline().has_value(), "a replacement never comes");
  }
  static Error error(std::uint8_t how) {
    if (how % 4 == 0) return {};
    return {static_cast<errc>(1 + how % static_cast<int>(errc::internal)), "why"};
  }

  void carry_out(const Fsm::Actions& actions) {
    for (const auto& action : actions) {
      require(!ended_, "an action after the end");
      std::visit([this](const auto& a) { carry_out_one(a); }, action);
    }
  }
  template <class Action>
  void carry_out_one(const Action& action) {
    if constexpr (std::is_same_v<Action, Fsm::OpenStream>) {
      require(!stream_, "a second stream before the first has ended");
      stream_ = true;
      replace_asked_ = false;
    } else if constexpr (std::is_same_v<Action, Fsm::Send> || std::is_same_v<Action, Fsm::Execute>) {
      require(stream_ && registered_, "work without a registered stream");
    } else if constexpr (std::is_same_v<Action, Fsm::FinishStream> || std::is_same_v<Action, Fsm::CancelStream>) {
      require(stream_, "ends a stream that is none");
    } else if constexpr (std::is_same_v<Action, Fsm::ReplaceStream>) {
      require(stream_ && registered_ && !replace_asked_, "asks for a replacement twice, or of nothing");
      asked_ = replace_asked_ = true;
    } else if constexpr (std::is_same_v<Action, Registered>) {
      require(stream_ && !registered_, "registered twice, or without a stream");
      registered_ = true;
    } else if constexpr (std::is_same_v<Action, Disconnected>) {
      require(registered_ && !stream_, "disconnected without having been registered");
      registered_ = false;
    } else if constexpr (std::is_same_v<Action, RegistrationFailed>) {
      require(!registered_ && !stream_, "failed though registered");
    } else if constexpr (std::is_same_v<Action, BackingOff>) {
      require(!stream_ && action.attempt > 0, "waits with a stream");
      require(action.delay >= Duration::zero() && action.delay <= milliseconds(cap_ms_), "waits beyond the cap");
    } else if constexpr (std::is_same_v<Action, Fsm::End>) {
      require(!stream_ && !registered_, "ends with a stream");
      ended_ = true;
    }
  }

  void check_state() const {
    require((fsm_.state() == Fsm::State::ended) == ended_, "ended without saying so");
    const auto deadline = fsm_.next_deadline();
    require(!deadline || *deadline <= now_ + std::chrono::hours(1), "a deadline that never comes");
    if (ended_ || fsm_.state() == Fsm::State::idle || fsm_.state() == Fsm::State::opening) {
      require(!deadline, "a deadline with nothing to wait for");
    }
    if (fsm_.state() == Fsm::State::registering || fsm_.state() == Fsm::State::driving ||
        fsm_.state() == Fsm::State::backing_off || fsm_.state() == Fsm::State::draining ||
        fsm_.state() == Fsm::State::retiring) {
      require(deadline.has_value(), "waits without a deadline");
    }
  }

  Bytes& bytes_;
  const std::uint64_t cap_ms_;
  RegistrationFsm fsm_;
  TimePoint now_ = TimePoint{} + std::chrono::hours(1);
  std::int64_t unix_ms_ = 0;
  bool stream_ = false;
  bool registered_ = false;
  bool ended_ = false;
  /// A replacement was asked for, ever and on this stream.
  bool asked_ = false;
  bool replace_asked_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  Owner owner(bytes, bytes.next());
  while (!bytes.empty())
    owner.event();
  owner.finish();
  return 0;
}
