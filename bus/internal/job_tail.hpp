#pragma once

#include <memory>
#include <utility>

namespace sharingbus::internal {

/// What whoever dispatches on a thread of an executor runs when he has let go of the bus: the job of a callback group
/// that has the same executor. It comes to the events while these are still in the core's cache, and saves a way
/// through the executor's queue. One only: a callback may block, and that is to hold up no other group. Alive for as
/// long as the dispatching; used by its thread alone.
class JobTail {
 public:
  class Task {
   public:
    virtual void run_in_tail() noexcept = 0;

   protected:
    ~Task() = default;
  };

  enum class After : bool {
    /// The dispatch job of the executor: nobody waits for it.
    job,
    /// A publisher's own call.
    publish,
  };
  explicit JobTail(After after) noexcept : after_(after), outer_(std::exchange(t_innermost, this)) {}
  ~JobTail() {
    t_innermost = outer_;
    if (task_ != nullptr) task_->run_in_tail();
  }
  JobTail(const JobTail&) = delete;
  JobTail& operator=(const JobTail&) = delete;

  /// The one of whoever is dispatching on this thread, or null.
  [[nodiscard]] static JobTail* here() noexcept { return t_innermost; }
  [[nodiscard]] After after() const noexcept { return after_; }
  /// There is no other yet.
  [[nodiscard]] bool free() const noexcept { return task_ == nullptr; }
  /// Only when it is free.
  void take(std::shared_ptr<Task> task) noexcept { task_ = std::move(task); }

 private:
  static inline constinit thread_local JobTail* t_innermost = nullptr;

  const After after_;
  JobTail* const outer_;
  std::shared_ptr<Task> task_;
};

}  // namespace sharingbus::internal
