#include "transport/grpc/internal/completion_thread.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <grpc/support/time.h>

#include "transport/grpc/internal/link_core.hpp"

namespace sharingbus::transport::internal {

CompletionThread::CompletionThread(std::unique_ptr<grpc::CompletionQueue> queue)
    : queue_(std::move(queue)), thread_([this] { run(); }) {}

CompletionThread::~CompletionThread() {
  // By the thread itself, so that it has seen all that came before.
  grpc::Alarm alarm(queue_.get(), gpr_inf_past(GPR_CLOCK_MONOTONIC), &end_);
  thread_.join();
}

void CompletionThread::run() {
  t_current = this;
  // As Asio sees it, the thread runs a context, so what coroutines and strands allocate here is kept for the next.
  boost::asio::io_context context(1);
  boost::asio::post(context, [this] {
    void* tag = nullptr;
    bool ok = false;
    while (queue_->Next(&tag, &ok)) {
      static_cast<Completion*>(tag)->completed(ok);
      while (!due_.empty())
        burst();
    }
  });
  context.run();
}

/// Goes on with what is ready, then does what is due.
void CompletionThread::burst() {
  void* tag = nullptr;
  bool ok = false;
  const gpr_timespec at_once = gpr_inf_past(GPR_CLOCK_MONOTONIC);
  for (int i = 0; i < kBurst && queue_->AsyncNext(&tag, &ok, at_once) == grpc::CompletionQueue::GOT_EVENT; ++i)
    static_cast<Completion*>(tag)->completed(ok);
  doing_.swap(due_);
  do_all(doing_);
  doing_.clear();
}

void CompletionThread::do_all(const std::vector<Work>& all) {
  for (const Work& each : all)
    ((*each.link).*each.what)();
}

void CompletionThread::after_burst(std::shared_ptr<LinkCore> link, void (LinkCore::*what)()) {
  due_.push_back({std::move(link), what});
}

void CompletionThread::end(bool /*ok*/) {
  queue_->Shutdown();
}

void CompletionThread::later(std::shared_ptr<LinkCore> link, void (LinkCore::*what)()) {
  const std::scoped_lock lock(mutex_);
  waiting_.push_back({std::move(link), what});
  if (waiting_.size() == 1) wake();
}

void CompletionThread::wake() {
  alarm_.Set(queue_.get(), gpr_inf_past(GPR_CLOCK_MONOTONIC), &work_);
}

void CompletionThread::work(bool /*ok*/) {
  std::vector<Work> some;
  {
    const std::scoped_lock lock(mutex_);
    const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(waiting_.size(), kBurst));
    some.assign(std::move_iterator(waiting_.begin()), std::move_iterator(end));
    waiting_.erase(waiting_.begin(), end);
    // Behind what has come meanwhile.
    if (!waiting_.empty()) wake();
  }
  do_all(some);
}

std::size_t CompletionThread::usual_count() {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency() / 2, 1, 16);
}

std::shared_ptr<DialerThreads> DialerThreads::get() {
  // Never destroyed: a dialler may be one of the process's last things.
  static std::mutex& mutex = *new std::mutex;                                        // NOLINT
  static std::weak_ptr<DialerThreads>& present = *new std::weak_ptr<DialerThreads>;  // NOLINT
  const std::scoped_lock lock(mutex);
  auto threads = present.lock();
  if (!threads) present = threads = std::make_shared<DialerThreads>();
  return threads;
}

DialerThreads::DialerThreads() {
  for (std::size_t i = 0; i < CompletionThread::usual_count(); ++i)
    threads_.push_back(std::make_unique<CompletionThread>(std::make_unique<grpc::CompletionQueue>()));
}

CompletionThread& DialerThreads::next() noexcept {
  return *threads_[turn_.fetch_add(1, std::memory_order_relaxed) % threads_.size()];
}

}  // namespace sharingbus::transport::internal
