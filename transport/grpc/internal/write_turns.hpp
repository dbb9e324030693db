#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

struct grpc_call;

namespace sharingbus::transport::internal {

class LinkCore;

/// Writes that other threads than gRPC's want while gRPC has writes under way are begun by one of gRPC's threads: all
/// that have come together by its turn. Otherwise every such thread takes part in gRPC's own work, waits for its locks,
/// and wakes one of gRPC's threads to hear of the write's end. A write into the quiet begins at once, where it was
/// asked for.
///
/// One for the process, as are gRPC's threads. Any thread.
class WriteTurns {
 public:
  [[nodiscard]] static WriteTurns& instance();

  /// Whether writes are under way, of any link.
  [[nodiscard]] bool busy() const noexcept { return under_way_.load(std::memory_order_relaxed) != 0; }
  void started() noexcept { under_way_.fetch_add(1, std::memory_order_relaxed); }
  void done() noexcept { under_way_.fetch_sub(1, std::memory_order_relaxed); }

  /// `LinkCore::write_turn` of a pinned link is called soon. `call`, the link's, wakes a thread when none is on its
  /// way.
  void add(std::shared_ptr<LinkCore> link, grpc_call* call);

 private:
  void run();

  std::atomic<int> under_way_{0};
  std::mutex mutex_;
  std::vector<std::shared_ptr<LinkCore>> links_;
};

}  // namespace sharingbus::transport::internal
