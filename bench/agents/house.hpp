#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "bus/async_timer_service.hpp"
#include "bus/sharing_bus.hpp"
#include "connector/agent/agent_handler.hpp"
#include "connector/agent/agent_pool_options.hpp"
#include "connector/agent/agent_server.hpp"
#include "transport/messages/agent_messages.hpp"

namespace agents {

/// An executor with threads, time and a bus. One thread waits as `wait` says, several sleep.
class House {
 public:
  House(std::size_t threads, sharingbus::WaitStrategy wait);

  [[nodiscard]] boost::asio::any_io_executor executor() { return context_.get_executor(); }
  [[nodiscard]] boost::asio::io_context& context() { return context_; }
  [[nodiscard]] sharingbus::TimerService& timers() { return timers_; }
  [[nodiscard]] sharingbus::SharingBus& bus() { return bus_; }

  /// Works until `stop`, on this thread and the others.
  void run();
  void stop();

 private:
  const std::size_t threads_;
  const sharingbus::WaitStrategy wait_;
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  sharingbus::AsyncTimerService timers_;
  sharingbus::SharingBus bus_;
};

/// Blocks what carries `x-malicious`, and has `x-inspected` set for the rest.
[[nodiscard]] std::shared_ptr<sharingbus::connector::AgentHandler> make_handler();

[[nodiscard]] std::unique_ptr<sharingbus::transport::Listener> make_listener(House& house,
                                                                             sharingbus::connector::AgentServer& server,
                                                                             const std::string& endpoint);
[[nodiscard]] sharingbus::connector::AgentDialerFactory make_dialers(House& house);

/// The request that is asked about; `zentinel-peer bench` asks the same.
[[nodiscard]] sharingbus::transport::agent_messages::RequestHeaders make_request(bool malicious);
[[nodiscard]] constexpr bool is_malicious(std::uint64_t index) {
  return index % 10 == 3;
}

}  // namespace agents
