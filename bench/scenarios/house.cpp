#include "bench/scenarios/house.hpp"

#include <chrono>

#include "bench/peers/common/bench.hpp"
#include "bus/async.hpp"

namespace sharingbus::scenarios {

BusOptions bus_options(const Way& way, boost::asio::io_context& executor) {
  BusOptions options;
  options.ingress_capacity = 1024;
  options.engine = way.engine;
  options.wait = way.wait;
  if (way.engine == Engine::executor) options.scheduler = dispatch_on(executor.get_executor());
  options.log = nullptr;
  // The reference has none.
  options.timestamps = false;
  return options;
}

House::House(const Way& way, std::optional<int> cpu)
    : context_(way.threads),
      work_(boost::asio::make_work_guard(context_)),
      bus_(std::make_unique<SharingBus>(bus_options(way, context_))) {
  for (int i = 0; i < way.threads; ++i) {
    threads_.emplace_back([this, cpu] {
      if (cpu) ::bench::pin(*cpu);
      context_.run();
    });
  }
}

House::~House() {
  bus_->close();
  work_.reset();
  context_.stop();
  for (std::thread& thread : threads_)
    thread.join();
}

Task::Task(House& house, std::function<bool()> step) : context_(house.executor()), step_(std::move(step)) {
  boost::asio::post(context_, [this] { turn(); });
}

Task::~Task() {
  wait();
}

void Task::turn() {
  if (step_()) {
    boost::asio::post(context_, [this] { turn(); });
  } else {
    end_.set_value();
  }
}

void wait_until(const std::function<bool()>& holds) {
  while (!holds())
    std::this_thread::sleep_for(std::chrono::microseconds(20));
}

}  // namespace sharingbus::scenarios
