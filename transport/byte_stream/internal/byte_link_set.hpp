#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bus/base/error.hpp"
#include "transport/dialer.hpp"

namespace sharingbus::transport::internal {

class ByteLink;

/// The links that a dialer or listener owns, until they have published `StreamClosed`. Any thread.
class ByteLinkSet {
 public:
  /// Calls `fn` after each removal. Before anything is added.
  void on_removed(std::function<void()> fn) { on_removed_ = std::move(fn); }
  /// False once closed.
  [[nodiscard]] bool add(std::shared_ptr<ByteLink> link);
  void remove(const ByteLink* link);
  /// Takes no more, cancels all, and calls `done` when the last was removed, maybe at once. Every `done` is called.
  void close(const Error& why, std::function<void()> done);

  [[nodiscard]] std::size_t size() const;
  /// For dialers whose streams have a channel each.
  [[nodiscard]] DialerStats stats() const;

 private:
  std::function<void()> on_removed_;
  mutable std::mutex mutex_;
  std::unordered_map<const ByteLink*, std::shared_ptr<ByteLink>> links_;
  std::uint64_t added_ = 0;
  bool closed_ = false;
  std::vector<std::function<void()>> waiting_;
};

/// What `Dialer::open` does with a link that was just made: owns it and starts it, or ends it.
void launch(ByteLinkSet& links, const std::shared_ptr<ByteLink>& link, std::string first_frame);

}  // namespace sharingbus::transport::internal
