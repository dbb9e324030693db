#pragma once

#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace sharingbus::transport::internal {

/// Closes something on a thread of its own, which lives until every `done` was called: the end of a server waits for what
/// its completion threads have to do, so it must not come on one of them. Any thread, but for the destructor.
class Closer {
 public:
  Closer() = default;
  Closer(const Closer&) = delete;
  Closer& operator=(const Closer&) = delete;
  /// Waits for the thread. Not on that thread.
  ~Closer() {
    if (thread_.joinable()) thread_.join();
  }

  /// The first call has `work` done; each `done`, if any, is called once after that. True when it was the first.
  bool close(std::function<void()> work, std::function<void()> done) {
    bool first = false;
    {
      const std::scoped_lock lock(mutex_);
      if (!finished_ && done) waiting_.push_back(std::exchange(done, nullptr));
      first = !std::exchange(started_, true);
      if (first) thread_ = std::thread([this, work = std::move(work)] { run(work); });
    }
    if (done) done();
    return first;
  }
  [[nodiscard]] bool started() const {
    const std::scoped_lock lock(mutex_);
    return started_;
  }

 private:
  void run(const std::function<void()>& work) {
    work();
    std::vector<std::function<void()>> done;
    {
      const std::scoped_lock lock(mutex_);
      finished_ = true;
      done.swap(waiting_);
    }
    for (const auto& fn : done)
      fn();
  }

  mutable std::mutex mutex_;
  bool started_ = false;
  bool finished_ = false;
  std::vector<std::function<void()>> waiting_;
  std::thread thread_;
};

}  // namespace sharingbus::transport::internal
