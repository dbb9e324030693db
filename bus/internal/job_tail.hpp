#pragma once

#include <memory>
#include <utility>

namespace sharingbus::internal {

/// What the dispatch job on this thread's executor runs when it has let go of the bus: the job of a callback group that
/// has the same executor. It comes to the events while these are still in the core's cache, and saves a way through the
/// executor's queue. One only: a callback may block, and that is to hold up no other group. Alive for as long as the
/// job; used by its thread alone.
class JobTail {
 public:
  class Task {
   public:
    virtual void run_in_tail() noexcept = 0;

   protected:
    ~Task() = default;
  };

  JobTail() noexcept : outer_(std::exchange(t_innermost, this)) {}
  ~JobTail() {
    t_innermost = outer_;
    if (task_ != nullptr) task_->run_in_tail();
  }
  JobTail(const JobTail&) = delete;
  JobTail& operator=(const JobTail&) = delete;

  /// The one of the job that is dispatching on this thread, or null.
  [[nodiscard]] static JobTail* here() noexcept { return t_innermost; }
  /// False when there is another already.
  [[nodiscard]] bool take(std::shared_ptr<Task> task) noexcept {
    if (task_ != nullptr) return false;
    task_ = std::move(task);
    return true;
  }

 private:
  static inline constinit thread_local JobTail* t_innermost = nullptr;

  JobTail* const outer_;
  std::shared_ptr<Task> task_;
};

}  // namespace sharingbus::internal
