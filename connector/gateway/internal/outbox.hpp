#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "transport/link.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector::internal {

/// What waits for room on a link, in order. Messages wait unencoded, since `Link::send` takes the bytes even when it
/// answers `full`. Bounded by its owner: requests by their limit, replies by not reading on. One strand.
class Outbox {
 public:
  struct Item {
    transport::messages::ConnectorMessage message;

    /// Null: no request, but a reply to something that the peer sent, or a message of the gateway's own.
    [[nodiscard]] const std::string* request_id() const noexcept {
      const auto* const request = std::get_if<transport::messages::ExecuteRequest>(&message);
      return request != nullptr ? &request->request_id : nullptr;
    }
  };
  enum class Push : std::uint8_t { sent, waiting, too_large, closed };

  explicit Outbox(transport::Link& link) : link_(link) {}

  /// Takes `item` unless it answers `too_large`, which leaves it as it was.
  [[nodiscard]] Push push(Item& item);
  /// There is room again. Returns what turned out to be too large.
  [[nodiscard]] std::vector<Item> flush();
  /// Forgets requests for which `keep(request_id)` is false.
  void forget_requests(const std::function<bool(const std::string&)>& keep);

  [[nodiscard]] bool empty() const noexcept { return waiting_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return waiting_.size(); }
  [[nodiscard]] std::size_t replies() const noexcept { return replies_; }

 private:
  [[nodiscard]] Push send(const Item& item);

  transport::Link& link_;
  std::deque<Item> waiting_;
  std::size_t replies_ = 0;
  /// The link said full, and `StreamWritable` has not come yet.
  bool full_ = false;
};

}  // namespace sharingbus::connector::internal
