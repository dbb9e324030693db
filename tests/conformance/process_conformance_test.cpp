// The dialled end is a child that relays its standard streams to a Unix socket, where the suite's listener accepts.
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "tests/conformance/framing_cases.hpp"
#include "tests/conformance/transport_suite.hpp"
#include "tests/support/context_threads.hpp"
#include "tests/support/short_folder.hpp"
#include "transport/process/process_dialer.hpp"
#include "transport/uds/uds_listener.hpp"

namespace sharingbus::test {
namespace {

using transport::Dialer;
using transport::Endpoint;
using transport::Framing;
using transport::Listener;
using transport::ListenerOptions;

class Process final : public TransportUnderTest {
 public:
  Process(std::shared_ptr<const Framing> framing, std::size_t threads)
      : framing_(std::move(framing)), threads_(threads) {}

  std::unique_ptr<Listener> make_listener(ListenerOptions options, const Endpoint* at) override {
    transport::UdsListenerOptions listening;
    listening.base = std::move(options);
    listening.framing = framing_;
    const Endpoint free{"unix", folder_ / std::to_string(++names_), 0};
    return std::make_unique<transport::UdsListener>(threads_.executor(), threads_.timers(), at != nullptr ? *at : free,
                                                    std::move(listening));
  }
  std::unique_ptr<Dialer> make_dialer(const Endpoint& to) override {
    transport::ProcessDialerOptions dialing;
    dialing.framing = framing_;
    dialing.command = to == refused_endpoint() ? to.host : STDIO_RELAY;
    dialing.args = {to.host};
    // A child that hangs is a failure of the test, and not to be helped.
    dialing.stop_grace = dialing.kill_grace = std::chrono::minutes(10);
    return std::make_unique<transport::ProcessDialer>(threads_.executor(), threads_.timers(), std::move(dialing));
  }
  /// A program that is not there.
  Endpoint refused_endpoint() override { return {"unix", folder_ / "nobody", 0}; }

  std::optional<std::string> cannot_show(const std::string& test) override {
    static const std::map<std::string, std::string> kTests{
        {"Restart_SameEndpoint_TheDialerOpensAgain", "it is the relay that is refused, after its program was started"},
        {"StopAccepting_RefusesNewAndKeepsOld", "it is the relay that is refused, after its program was started"},
        {"MaxLinks_RefusesWhatIsBeyond", "it is the relay that is refused, after its program was started"},
        {"Vanish_ListenerDestroyed_BothEnd", "it is the relay that is refused, after its program was started"},
    };
    const auto found = kTests.find(test);
    return found == kTests.end() ? std::nullopt : std::optional(found->second);
  }
  bool publishes(const BusEvent& event) const override {
    return event.is<transport::ProcessStarted>() || event.is<transport::ProcessExited>();
  }

 private:
  const std::shared_ptr<const Framing> framing_;
  const ShortFolder folder_;
  int names_ = 0;
  ContextThreads threads_;
};

INSTANTIATE_TEST_SUITE_P(Process, TransportConformance, framing_cases<Process>(), case_name);

}  // namespace
}  // namespace sharingbus::test
