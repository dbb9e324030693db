#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bus/base/error.hpp"
#include "transport/dialer.hpp"

namespace sharingbus::transport::internal {

class WebSocketLink;

/// The links that a dialer or listener owns, until they have published `StreamClosed`: those that are open or opening,
/// and, of a listener, those whose handshake is under way. Any thread.
class WebSocketLinkSet {
 public:
  enum class Admission : std::uint8_t { admitted, full, closed };

  /// Is called when fewer are waiting. Before anything is added.
  void on_fewer_waiting(std::function<void()> fn) { on_fewer_waiting_ = std::move(fn); }
  /// False once closed.
  [[nodiscard]] bool add(std::shared_ptr<WebSocketLink> link);
  /// Gives a link one of `most` places for open streams, until it is removed.
  [[nodiscard]] Admission admit(const WebSocketLink* link, std::size_t most);
  void remove(const WebSocketLink* link);
  /// Admits no more.
  void stop_admitting();
  /// Takes no more, cancels all, and calls `done` when the last was removed, maybe at once. Every `done` is called.
  void close(const Error& why, std::function<void()> done);

  [[nodiscard]] std::size_t admitted() const;
  /// Those without a place.
  [[nodiscard]] std::size_t waiting() const;
  [[nodiscard]] DialerStats stats() const;

 private:
  struct Entry {
    std::shared_ptr<WebSocketLink> link;
    bool admitted = false;
  };

  std::function<void()> on_fewer_waiting_;
  mutable std::mutex mutex_;
  std::unordered_map<const WebSocketLink*, Entry> links_;
  std::size_t admitted_ = 0;
  std::uint64_t added_ = 0;
  bool admitting_ = true;
  bool closed_ = false;
  std::vector<std::function<void()>> closers_;
};

}  // namespace sharingbus::transport::internal
