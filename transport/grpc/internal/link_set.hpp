#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include <grpcpp/alarm.h>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"

namespace sharingbus::transport::internal {

class LinkCore;

/// The links that a dialer or listener owns, until they have published `StreamClosed`. Any thread.
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
  /// Calls `force_end` of the link should it still be there a second from now, or up to half a second later. One list
  /// for all, as many may be cancelled at once.
  void expect_end(std::weak_ptr<LinkCore> link);

  [[nodiscard]] std::size_t size() const;
  /// Links admitted since the beginning.
  [[nodiscard]] std::uint64_t admitted() const;

 private:
  struct Ending {
    TimePoint patience_until;
    std::weak_ptr<LinkCore> link;
  };

  void tick();
  void force_late_ends();
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
  /// In order of time.
  std::deque<Ending> endings_;
};

}  // namespace sharingbus::transport::internal
