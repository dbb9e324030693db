#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "bus/base/timer.hpp"
#include "connector/connector.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector {

/// Runs a connector's handlers under a concurrency limit; the rest wait in a bounded line, in order. Handlers run on
/// `handlers`, each on a strand of its own; everything else, the hooks included, happens on `owner`, a strand or a
/// single-threaded executor, from which all functions must be called.
class ExecutePool : public std::enable_shared_from_this<ExecutePool> {
 public:
  struct Limits {
    std::size_t running = 100;
    std::size_t waiting = 1024;
  };
  /// Called on `owner`. They may call back into the pool, and must not throw.
  struct Hooks {
    /// The request got its permit.
    std::function<void(const std::string& request_id, std::size_t bytes)> started;
    /// It is done, whatever came of it. `answerable` is false when `cancel_all` took its stream away.
    std::function<void(transport::messages::ExecuteResponse, Duration, bool answerable)> finished;
    /// A cancelled handler that was answered before has returned: its place is free.
    std::function<void()> freed;
  };

  ExecutePool(boost::asio::any_io_executor owner, boost::asio::any_io_executor handlers,
              std::shared_ptr<Connector> connector, Limits limits, const Clock& clock, Hooks hooks);

  /// Runs it now or later. A request that finds the line full, or a draining pool, is answered as failed at once.
  void submit(transport::messages::ExecuteRequest request);
  /// What waits is answered as failed, and so is what still comes; what runs goes on.
  void drain();
  /// Cancels what runs. With `answer`, each is answered as failed at once; without, what waits is forgotten too and
  /// nothing is answered: the stream is gone.
  void cancel_all(bool answer);
  /// After `cancel_all`, for a new stream.
  void reopen() noexcept { draining_ = false; }
  /// Requests that could be taken now.
  [[nodiscard]] std::size_t room() const noexcept;
  /// Running and waiting, on the present stream.
  [[nodiscard]] std::size_t in_flight() const noexcept { return answerable_ + waiting_.size(); }
  /// Handlers that have not returned yet, of earlier streams too.
  [[nodiscard]] std::size_t running() const noexcept { return running_.size(); }

 private:
  struct Running;
  void run(transport::messages::ExecuteRequest request);
  void complete(const std::shared_ptr<Running>& running, std::exception_ptr exception, Result<Payload> result);
  void answer_failed(std::string request_id, const Error& error);
  void run_next();

  const boost::asio::any_io_executor owner_;
  const boost::asio::any_io_executor handlers_;
  const std::shared_ptr<Connector> connector_;
  const Limits limits_;
  const Clock& clock_;
  const Hooks hooks_;
  /// Everything that has not returned, of earlier streams too: they keep their permits.
  std::set<std::shared_ptr<Running>> running_;
  std::deque<transport::messages::ExecuteRequest> waiting_;
  std::size_t answerable_ = 0;
  bool draining_ = false;
};

/// An ExecuteResponse as the protocol wants it: failures carry the error's text and a JSON body. (§5.5.)
[[nodiscard]] transport::messages::ExecuteResponse make_execute_response(std::string request_id,
                                                                         const Result<Payload>& result,
                                                                         Duration duration);

}  // namespace sharingbus::connector
