#pragma once

#include <atomic>
#include <climits>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "bus/sharing_bus.hpp"

namespace sharingbus::scenarios {

/// How a subscriber is attached to the bus.
enum class Attach {
  /// A callback on the executor, called for every event; all subscribers in one group.
  callback,
  /// The same, called for whole runs of events.
  batches,
  /// Called by the dispatcher itself, without a queue.
  inlined,
  /// A thread of its own, which waits.
  blocking,
  /// A task of the executor looks at every subscription and posts itself again, for ever.
  polling,
};

/// One way to run the bus; each is a peer of its own in the rows.
struct Way {
  std::string_view peer;
  Attach attach = Attach::callback;
  Engine engine = Engine::executor;
  /// Of the executor.
  int threads = 1;
  WaitStrategy wait = WaitStrategy::block;
  /// Left out where there are more subscribers.
  int most_subscribers = INT_MAX;
  bool inside_publish = false;
};

/// Publish, dispatch and drain on one executor of one thread.
inline constexpr Way kExecutor{"sharingbus"};
inline constexpr Way kBatches{"sharingbus+batches", Attach::batches};
inline constexpr Way kTwoThreads{"sharingbus+2threads", Attach::batches, Engine::executor, 2};
/// Whoever publishes dispatches.
inline constexpr Way kCombining{"sharingbus+combining", Attach::batches, Engine::combining};
/// And callbacks run at the end of `publish`, when it is called on their executor.
inline constexpr Way kInside{
    "sharingbus+inside", Attach::batches, Engine::combining, 1, WaitStrategy::block, INT_MAX, true};
inline constexpr Way kInline{"sharingbus+inline", Attach::inlined, Engine::combining};
/// The executor looks for 20 µs before it sleeps.
inline constexpr Way kPhased{"sharingbus+phased", Attach::batches, Engine::executor, 1, WaitStrategy::phased};
inline constexpr Way kBlocking{"sharingbus+blocking", Attach::blocking, Engine::combining, 1, WaitStrategy::block, 16};
inline constexpr Way kPolling{"sharingbus+poll", Attach::polling, Engine::combining};
inline constexpr Way kPollingApart{"sharingbus+poll+2threads", Attach::polling, Engine::combining, 2};

/// Which engine the bus of a way runs, and its sizes: those of the reference.
[[nodiscard]] BusOptions bus_options(const Way& way, boost::asio::io_context& executor);

/// A bus, and the executor that its subscribers run on.
class House {
 public:
  /// Confines the executor's threads to `cpu`.
  explicit House(const Way& way, std::optional<int> cpu = std::nullopt);
  ~House();
  House(const House&) = delete;
  House& operator=(const House&) = delete;

  [[nodiscard]] SharingBus& bus() noexcept { return *bus_; }
  [[nodiscard]] boost::asio::io_context& executor() noexcept { return context_; }

 private:
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::unique_ptr<SharingBus> bus_;
  std::vector<std::thread> threads_;
};

/// A task of the executor that posts itself again while `step` says so.
class Task {
 public:
  Task(House& house, std::function<bool()> step);
  /// Waits for the end.
  ~Task();
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  void wait() const { ended_.wait(); }

 private:
  void turn();

  boost::asio::io_context& context_;
  std::function<bool()> step_;
  std::promise<void> end_;
  std::shared_future<void> ended_ = end_.get_future().share();
};

/// Waits until `holds`, without much work.
void wait_until(const std::function<bool()>& holds);

}  // namespace sharingbus::scenarios
