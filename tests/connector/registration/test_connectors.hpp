#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/object.hpp>

#include "connector/connector.hpp"

namespace sharingbus::test {

/// Handlers that wait until the test lets them go, then answer their payload. Any thread.
class HeldConnector : public connector::Connector {
 public:
  explicit HeldConnector(std::string type = "held") : type_(std::move(type)) {}

  std::string connector_type() const override { return type_; }

  boost::asio::awaitable<Result<boost::json::value>> execute(boost::json::value payload,
                                                             std::optional<std::string>) override {
    namespace asio = boost::asio;
    if (ignore_cancellation) co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    const Count in(*this);
    // Never expires: released and cancelled alike end the wait.
    const auto timer =
        std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
    if (hold(timer)) co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) {
      ++cancelled;
      co_return Error(errc::cancelled, "cancelled");
    }
    co_return payload;
  }

  /// Lets the `count` that wait the longest go.
  void release(std::size_t count = static_cast<std::size_t>(-1)) {
    std::vector<std::shared_ptr<boost::asio::steady_timer>> timers;
    {
      const std::scoped_lock lock(mutex_);
      while (count-- != 0 && !held_.empty()) {
        if (auto timer = held_.front().lock()) timers.push_back(std::move(timer));
        held_.erase(held_.begin());
      }
    }
    // A timer belongs to the strand of its handler.
    for (const auto& timer : timers)
      boost::asio::post(timer->get_executor(), [timer] { timer->cancel(); });
  }
  /// From now on nobody waits.
  void release_for_good() {
    open_ = true;
    release();
  }

  std::atomic<bool> ignore_cancellation{false};
  std::atomic<std::size_t> running{0};
  std::atomic<std::size_t> most_running{0};
  std::atomic<std::size_t> called{0};
  std::atomic<std::size_t> cancelled{0};

 private:
  struct Count {
    explicit Count(HeldConnector& of) : owner(of) {
      ++owner.called;
      const std::size_t now = ++owner.running;
      std::size_t most = owner.most_running;
      while (most < now && !owner.most_running.compare_exchange_weak(most, now)) {
      }
    }
    ~Count() { --owner.running; }
    Count(const Count&) = delete;
    Count& operator=(const Count&) = delete;
    HeldConnector& owner;
  };

  bool hold(const std::shared_ptr<boost::asio::steady_timer>& timer) {
    if (open_) return false;
    const std::scoped_lock lock(mutex_);
    held_.push_back(timer);
    return true;
  }

  const std::string type_;
  std::atomic<bool> open_{false};
  std::mutex mutex_;
  std::vector<std::weak_ptr<boost::asio::steady_timer>> held_;
};

/// A connector that answers its payload at once.
inline std::shared_ptr<connector::Connector> echo(std::string type = "echo") {
  return connector::make_connector(
      std::move(type),
      [](boost::json::value payload, std::optional<std::string>) -> boost::asio::awaitable<Result<boost::json::value>> {
        co_return payload;
      });
}

}  // namespace sharingbus::test
