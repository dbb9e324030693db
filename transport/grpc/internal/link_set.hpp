#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include <grpcpp/alarm.h>

#include "bus/base/error.hpp"

namespace sharingbus::transport::internal {

class LinkCore;

/// The links that a dialer or listener owns, until they have published `StreamClosed`. While there are any, keeps
/// gRPC's threads awake. Any thread.
class LinkSet : public std::enable_shared_from_this<LinkSet> {
 public:
  enum class Admission : std::uint8_t { admitted, full, closed };

  [[nodiscard]] Admission add(const std::shared_ptr<LinkCore>& link,
                              std::size_t max_links = std::numeric_limits<std::size_t>::max());
  /// The link may be freed by this, and whoever waits for the last one is called.
  void remove(const LinkCore* link);
  /// Admits no more, cancels all, and calls `done` when the last was removed, maybe at once. Every `done` is called.
  void close(const Error& why, std::function<void()> done);

  /// `fn` is called every half second while there are links, on a thread of gRPC. Before there are any.
  void on_tick(std::function<void()> fn) { on_tick_ = std::move(fn); }
  void for_each(const std::function<void(LinkCore&)>& fn) const;

  [[nodiscard]] std::size_t size() const;
  /// Links admitted since the beginning.
  [[nodiscard]] std::uint64_t admitted() const;

 private:
  void tick();
  void schedule_tick();
  [[nodiscard]] std::vector<std::shared_ptr<LinkCore>> all() const;

  std::function<void()> on_tick_;
  mutable std::mutex mutex_;
  std::unordered_map<const LinkCore*, std::shared_ptr<LinkCore>> links_;
  std::uint64_t admitted_ = 0;
  bool closed_ = false;
  /// Set while there are links.
  std::unique_ptr<grpc::Alarm> tick_;
  std::vector<std::function<void()>> waiting_;
};

}  // namespace sharingbus::transport::internal
