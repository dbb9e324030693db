#include <memory>
#include <string>
#include <utility>

#include "tests/conformance/framing_cases.hpp"
#include "tests/conformance/transport_suite.hpp"
#include "tests/support/context_threads.hpp"
#include "tests/support/short_folder.hpp"
#include "transport/uds/uds_dialer.hpp"
#include "transport/uds/uds_listener.hpp"

namespace sharingbus::test {
namespace {

using transport::Dialer;
using transport::Endpoint;
using transport::Framing;
using transport::Listener;
using transport::ListenerOptions;

class Uds final : public TransportUnderTest {
 public:
  Uds(std::shared_ptr<const Framing> framing, std::size_t threads) : framing_(std::move(framing)), threads_(threads) {}

  std::unique_ptr<Listener> make_listener(ListenerOptions options, const Endpoint* at) override {
    transport::UdsListenerOptions listening;
    listening.base = std::move(options);
    listening.framing = framing_;
    const Endpoint free{"unix", folder_ / std::to_string(++names_), 0};
    return std::make_unique<transport::UdsListener>(threads_.executor(), threads_.timers(), at != nullptr ? *at : free,
                                                    std::move(listening));
  }
  std::unique_ptr<Dialer> make_dialer(const Endpoint& to) override {
    return std::make_unique<transport::UdsDialer>(threads_.executor(), threads_.timers(), to,
                                                  transport::UdsDialerOptions{framing_});
  }
  Endpoint refused_endpoint() override { return {"unix", folder_ / "nobody", 0}; }

 private:
  const std::shared_ptr<const Framing> framing_;
  const ShortFolder folder_;
  int names_ = 0;
  ContextThreads threads_;
};

INSTANTIATE_TEST_SUITE_P(Uds, TransportConformance, framing_cases<Uds>(), case_name);

}  // namespace
}  // namespace sharingbus::test
