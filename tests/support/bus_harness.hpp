#pragma once

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "bus/async.hpp"
#include "bus/sharing_bus.hpp"

namespace sharingbus::test {

inline std::string name_of(Engine engine) {
  switch (engine) {
    case Engine::combining:
      return "combining";
    case Engine::manual:
      return "manual";
    case Engine::thread:
      return "thread";
    case Engine::executor:
      return "executor";
  }
  return "unknown";
}

/// A bus and whatever its engine needs to move: a thread inside `run()`, or one that runs an io_context, or nobody.
class BusHarness {
 public:
  explicit BusHarness(Engine engine, BusOptions options = {}) : engine_(engine) {
    options.engine = engine;
    if (engine == Engine::executor) options.scheduler = dispatch_on(context_.get_executor());
    bus_ = std::make_unique<SharingBus>(std::move(options));
    if (engine == Engine::thread) thread_ = std::thread([this] { bus_->run(); });
    if (engine == Engine::executor) thread_ = std::thread([this] { context_.run(); });
  }
  ~BusHarness() { destroy(); }
  BusHarness(const BusHarness&) = delete;
  BusHarness& operator=(const BusHarness&) = delete;

  [[nodiscard]] SharingBus& operator*() noexcept { return *bus_; }
  [[nodiscard]] SharingBus* operator->() noexcept { return bus_.get(); }
  [[nodiscard]] Engine engine() const noexcept { return engine_; }

  /// All that was published before has been dispatched, and what the bus said about it, too.
  void settle() {
    if (engine_ != Engine::manual) return bus_->flush();
    while (bus_->poll() != 0) {
    }
  }

  /// Closes, ends the helpers, destroys the bus. Subscriptions and publishers stay.
  void destroy() {
    if (bus_ == nullptr) return;
    bus_->close();
    guard_.reset();
    if (thread_.joinable()) thread_.join();
    bus_.reset();
  }

 private:
  const Engine engine_;
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{context_.get_executor()};
  std::unique_ptr<SharingBus> bus_;
  std::thread thread_;
};

}  // namespace sharingbus::test

namespace sharingbus {

// GoogleTest finds it by ADL.
inline void PrintTo(Engine engine, std::ostream* out) {
  *out << test::name_of(engine);
}

}  // namespace sharingbus
