#include "connector/gateway/gateway.hpp"

#include <stdexcept>
#include <utility>

#include "connector/gateway/internal/gateway_core.hpp"

namespace sharingbus::connector {
namespace {

constinit thread_local bool t_executing = false;

}  // namespace

Gateway::Gateway(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers, GatewayOptions options)
    : bus_(bus), core_([&] {
        if (const auto valid = options.validate(); !valid) {
          throw std::invalid_argument("GatewayOptions: " + valid.error().message);
        }
        return std::make_shared<internal::GatewayCore>(std::move(executor), bus, timers, std::move(options));
      }()) {
  core_->start(bus);
}

Gateway::~Gateway() {
  core_->abandon();
}

transport::ListenerOptions Gateway::make_listener_options() {
  return core_->make_listener_options(bus_);
}

Result<transport::Endpoint> Gateway::serve(std::unique_ptr<transport::Listener> listener) {
  return core_->serve(std::move(listener));
}

void Gateway::execute(std::string address, ExecuteCall call, ExecuteCallback callback) {
  core_->execute(std::move(address), std::move(call), internal::make_taker(std::move(callback)), false);
}

void Gateway::execute_anywhere(std::string address, ExecuteCall call, std::unique_ptr<internal::AnswerTaker> taker) {
  struct Executing {
    ~Executing() { t_executing = outer; }
    const bool outer = std::exchange(t_executing, true);
  } executing;
  core_->execute(std::move(address), std::move(call), std::move(taker), true);
}

bool Gateway::executing_here() noexcept {
  return t_executing;
}

bool Gateway::ask_to_reconnect(const std::string& address) {
  return core_->ask_to_reconnect(address);
}

std::vector<SessionInfo> Gateway::sessions() const {
  return core_->sessions();
}

std::size_t Gateway::session_count() const {
  return core_->session_count();
}

boost::asio::any_io_executor Gateway::get_executor() const {
  return core_->executor();
}

void Gateway::close(Duration drain, std::function<void()> done) {
  core_->close(drain, std::move(done));
}

}  // namespace sharingbus::connector
