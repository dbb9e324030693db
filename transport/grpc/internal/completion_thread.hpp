#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include "transport/grpc/internal/completion.hpp"

namespace sharingbus::transport::internal {

class LinkCore;

/// A completion queue of gRPC's, and the thread that waits for it: sockets are read and reactions run there. Any
/// thread.
class CompletionThread {
 public:
  /// Starts the thread.
  explicit CompletionThread(std::unique_ptr<grpc::CompletionQueue> queue);
  CompletionThread(const CompletionThread&) = delete;
  CompletionThread& operator=(const CompletionThread&) = delete;
  /// Ends the thread once everything was given back that is under way; nothing may be started any more but by
  /// reactions to what has been in the queue. Not on that thread.
  ~CompletionThread();

  [[nodiscard]] grpc::CompletionQueue& queue() noexcept { return *queue_; }
  /// Whether the calling thread is this one.
  [[nodiscard]] bool is_current() const noexcept { return t_current == this; }

  /// Calls `(link.*what)()` soon, on the thread; a link that waits for it is kept.
  void later(std::shared_ptr<LinkCore> link, void (LinkCore::*what)());
  /// The same at the end of the present burst: when nothing is ready any more, or enough was done. On the thread.
  void after_burst(std::shared_ptr<LinkCore> link, void (LinkCore::*what)());

  // Writes that other threads want while there are some under way are better begun by this thread, all that have come
  // together by its turn: otherwise each such thread takes part in gRPC's own work and waits for its locks. A write
  // into the quiet begins at once, where it was asked for; one that this thread wants when its burst ends, since what
  // is still ready may bring more, and one system call then takes them all.
  [[nodiscard]] bool writing() const noexcept { return writes_.load(std::memory_order_relaxed) != 0; }
  void write_started() noexcept { writes_.fetch_add(1, std::memory_order_relaxed); }
  void write_done() noexcept { writes_.fetch_sub(1, std::memory_order_relaxed); }

  /// How many a listener has, and all diallers of the process share: half of the processors, 16 at most.
  [[nodiscard]] static std::size_t usual_count();

 private:
  struct Work {
    std::shared_ptr<LinkCore> link;
    void (LinkCore::*what)();
  };

  /// Completions of a burst, so that whoever waits for an answer has something to do meanwhile.
  static constexpr int kBurst = 32;

  void run();
  void burst();
  static void do_all(const std::vector<Work>& all);
  /// A burst of what waits, so that what comes meanwhile has its turn between.
  void work(bool ok);
  /// With the mutex held.
  void wake();
  void end(bool ok);

  static inline constinit thread_local const CompletionThread* t_current = nullptr;

  const std::unique_ptr<grpc::CompletionQueue> queue_;
  CompletionOf<CompletionThread, &CompletionThread::work> work_{*this};
  CompletionOf<CompletionThread, &CompletionThread::end> end_{*this};
  std::atomic<int> writes_{0};
  std::mutex mutex_;
  std::deque<Work> waiting_;
  /// For the end of the burst, and what is being done of that. The thread's.
  std::vector<Work> due_;
  std::vector<Work> doing_;
  /// Wakes the thread for what waits.
  grpc::Alarm alarm_;
  std::thread thread_;
};

/// The threads that all diallers of the process share: there may be thousands of those. They live as long as anybody
/// has them.
class DialerThreads {
 public:
  /// Any thread.
  [[nodiscard]] static std::shared_ptr<DialerThreads> get();

  DialerThreads();
  /// In turns. Any thread.
  [[nodiscard]] CompletionThread& next() noexcept;

 private:
  std::vector<std::unique_ptr<CompletionThread>> threads_;
  std::atomic<std::size_t> turn_{0};
};

}  // namespace sharingbus::transport::internal
