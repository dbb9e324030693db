// Any order of anything that can happen to a service: only legal transitions, one link at a time, deadlines that lie
// ahead, every reconnect ends, and a stop always ends it.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>

#include "connector/lifecycle/service_fsm.hpp"
#include "tests/fuzz/fuzz_bytes.hpp"

namespace {

using namespace sharingbus;
using namespace sharingbus::connector;
using std::chrono::milliseconds;
using Fsm = ServiceFsm;
using fuzz::Bytes;
using fuzz::require;

class Owner {
 public:
  Owner(Bytes& bytes, std::uint8_t setup)
      : bytes_(bytes),
        config_(config(setup)),
        policy_(config_.reconnect, [this](std::uint64_t bound) { return bytes_.next() % (bound + 1); }),
        fsm_(service(setup), config_, policy_) {
    input([&](auto& out) { fsm_.start(now_, (setup & 1) != 0, out); });
  }

  void event() {
    const std::uint8_t what = bytes_.next();
    const std::uint8_t how = bytes_.next();
    switch (what % 14) {
      case 0:
      case 1:
        if (link_) input([&](auto& out) { fsm_.link_ready(now_, out); });
        break;
      case 2:
        if (link_) lose(how % 3 == 0 ? Error() : Error(errc::stream_failed, "why"));
        break;
      case 3:
      case 4:
        input([&](auto& out) { fsm_.probe_answered(now_, out); });
        break;
      case 5:
        input([&](auto& out) { fsm_.heartbeat(now_, out); });
        break;
      case 6:
        fail();
        break;
      case 7:
        input([&](auto& out) { fsm_.time_out(now_, out); });
        break;
      case 8:
        input([&](auto& out) { fsm_.hold(now_, out); });
        break;
      case 9:
        input([&](auto& out) { fsm_.unblock(now_, out); });
        break;
      case 10:
        input([&](auto& out) { fsm_.give_up("in vain", out); });
        break;
      case 11:
        fsm_.set_auto_reconnect(how % 4 != 0);
        break;
      case 12:
        // Seldom, because nothing much follows it.
        if (how % 8 == 0) input([&](auto& out) { fsm_.stop(now_, out); });
        if (how % 8 == 1) input([&](auto& out) { fsm_.hurry(now_, out); });
        if (releasing_ && how % 2 == 0) release();
        break;
      default:
        tick(how);
        break;
    }
  }

  void finish() {
    input([&](auto& out) { fsm_.stop(now_, out); });
    for (int i = 0; i < 4 && link_; ++i) {
      if (cancelled_)
        lose(Error(errc::cancelled, "cancelled"));
      else
        tick(255);
    }
    require(!link_, "a stop left its link");
    require(releasing_ || stopped_, "a stop did not release the transport");
    if (releasing_) release();
    require(stopped_ && fsm_.status() == ServiceStatus::stopped, "a stop did not end it");
    require(!waits_, "a reconnect that somebody waits for has not ended");
    require(!fsm_.next_deadline(), "a deadline after the end");
  }

 private:
  static LifecycleConfig config(std::uint8_t setup) {
    LifecycleConfig config;
    config.auto_reconnect = (setup & 2) == 0;
    config.healthy_after = 1 + (setup >> 2 & 1) * 2;
    config.failed_after = 1 + (setup >> 3 & 1) * 2;
    config.reconnect.max_attempts = setup >> 4 & 3;
    config.heartbeat_interval = milliseconds(300);
    config.heartbeat_timeout = milliseconds(900);
    config.supervision = {(setup & 64) != 0 ? SupervisionStrategy::one_for_one : SupervisionStrategy::none, 3,
                          milliseconds(5000)};
    return config;
  }
  static ExtensionService service(std::uint8_t setup) {
    ExtensionService service;
    service.name = "one";
    if ((setup & 128) == 0) service.transport.address = "somewhere";
    service.transport.timeout = milliseconds(500);
    return service;
  }

  void tick(std::uint8_t how) {
    now_ += milliseconds(how);
    if (how > 200) now_ = std::max(now_, fsm_.next_deadline().value_or(now_));
    for (int i = 0; fsm_.next_deadline() && *fsm_.next_deadline() <= now_; ++i) {
      require(i < 100, "deadlines that ticks leave behind");
      input([&](auto& out) { fsm_.tick(now_, out); });
    }
  }
  void lose(const Error& why) {
    link_ = false;
    cancelled_ = false;
    input([&](auto& out) { fsm_.link_lost(why, now_, out); });
  }
  void release() {
    releasing_ = false;
    input([&](auto& out) { fsm_.released(out); });
  }
  void fail() {
    Fsm::Actions actions;
    const Error refused = fsm_.fail("bad", now_, actions);
    require(!refused || refused.is(errc::invalid_state), "another error than invalid_state");
    if (!refused) waits_ = true;
    carry_out(actions);
  }

  template <class Input>
  void input(Input fn) {
    Fsm::Actions actions;
    fn(actions);
    carry_out(actions);
  }
  void carry_out(const Fsm::Actions& actions) {
    for (const auto& action : actions)
      std::visit([this](const auto& a) { carry_out_one(a); }, action);
    require(status_ == fsm_.status(), "a status that was not published");
    require(waits_ == false || fsm_.recovering() || fsm_.blocked(),
            "nothing is under way that could end the reconnect");
  }
  template <class Action>
  void carry_out_one(const Action& action) {
    require(!stopped_ || std::is_same_v<Action, ServiceError>, "an action after the end");
    if constexpr (std::is_same_v<Action, ServiceStatusChanged>) {
      require(action.old_status == status_ && action.old_status != action.new_status, "not from where it was");
      require(check_transition(action.old_status, action.new_status).has_value(), "an illegal transition");
      status_ = action.new_status;
    } else if constexpr (std::is_same_v<Action, Fsm::OpenLink>) {
      require(!link_ && !releasing_, "a second link");
      link_ = true;
    } else if constexpr (std::is_same_v<Action, Fsm::CancelLink>) {
      require(link_ && !cancelled_, "cancels no link, or twice");
      cancelled_ = true;
    } else if constexpr (std::is_same_v<Action, Fsm::FinishLink> || std::is_same_v<Action, Fsm::SendProbe>) {
      require(link_ && !cancelled_, "uses a link that is none");
    } else if constexpr (std::is_same_v<Action, Fsm::ReleaseTransport>) {
      require(!link_ && !releasing_, "releases a transport in use");
      releasing_ = true;
    } else if constexpr (std::is_same_v<Action, ServiceReconnecting>) {
      require(action.attempt >= 1 && action.attempt <= config_.reconnect.max_attempts, "an attempt too many");
      require(action.delay <= config_.reconnect.max_delay, "waits beyond the cap");
      require(config_.auto_reconnect, "reconnects though it may not");
    } else if constexpr (std::is_same_v<Action, ServiceReconnected>) {
      require(status_ == ServiceStatus::reconnecting, "reconnected without reconnecting");
    } else if constexpr (std::is_same_v<Action, Fsm::RecoveryEnded>) {
      waits_ = false;
    } else if constexpr (std::is_same_v<Action, ServiceStopped>) {
      stopped_ = true;
    }
  }

  Bytes& bytes_;
  const LifecycleConfig config_;
  const ReconnectPolicy policy_;
  Fsm fsm_;
  TimePoint now_ = TimePoint{} + std::chrono::hours(1);
  ServiceStatus status_ = ServiceStatus::starting;
  bool link_ = false;
  bool cancelled_ = false;
  bool releasing_ = false;
  bool stopped_ = false;
  bool waits_ = false;
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
