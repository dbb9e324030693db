#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "tests/conformance/transport_suite.hpp"
#include "transport/memory/memory_network.hpp"

namespace sharingbus::test {
namespace {

namespace asio = boost::asio;

using transport::Dialer;
using transport::Endpoint;
using transport::Listener;
using transport::ListenerOptions;

class Memory : public TransportUnderTest {
 public:
  std::unique_ptr<Listener> make_listener(ListenerOptions options, const Endpoint* at) override {
    const std::string name = at != nullptr ? at->host : "listener-" + std::to_string(++names_);
    return network_.make_listener(name, std::move(options));
  }
  std::unique_ptr<Dialer> make_dialer(const Endpoint& to) override { return network_.make_dialer(to.host); }
  Endpoint refused_endpoint() override { return {"memory", "nobody", 0}; }

 protected:
  asio::io_context context_;

 private:
  transport::MemoryNetwork network_{context_.get_executor()};
  int names_ = 0;
};

/// Deterministic: everything happens on the test's thread.
class MemoryByHand final : public Memory {
 public:
  [[nodiscard]] bool by_hand() const override { return true; }
  std::size_t run() override {
    context_.restart();
    return context_.poll();
  }
};

class MemoryThreaded final : public Memory {
 public:
  ~MemoryThreaded() override {
    work_.reset();
    thread_.join();
  }

 private:
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  std::thread thread_{[this] { context_.run(); }};
};

INSTANTIATE_TEST_SUITE_P(Memory, TransportConformance,
                         testing::Values(TransportCase{"by_hand", [] { return std::make_unique<MemoryByHand>(); }},
                                         TransportCase{"threaded", [] { return std::make_unique<MemoryThreaded>(); }}),
                         case_name);

}  // namespace
}  // namespace sharingbus::test
