#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

#include "bus/base/timer.hpp"
#include "connector/connector.hpp"
#include "transport/messages/connector_messages.hpp"
#include "transport/strand.hpp"

namespace sharingbus::connector {

/// Runs a connector's handlers under a concurrency limit; the rest wait in a bounded line, in order. Requests have a
/// deadline, from their arrival: one that waits then is answered as failed and never run, one that runs is answered as
/// failed and its handler cancelled; what the handler gives afterwards is dropped.
///
/// A registration has one pool, whose requests belong to the stream that they came on. Handlers run on `handlers`, each
/// on a strand of its own, and are begun on `owner` when the connector may not block; everything else, the hooks
/// included, happens on `owner`, a strand or a single-threaded executor, from which all functions must be called.
class ExecutePool : public std::enable_shared_from_this<ExecutePool> {
 public:
  /// Names a stream; the link's id.
  using StreamId = std::uint64_t;

  struct Limits {
    std::size_t running = 100;
    /// Of one stream.
    std::size_t waiting = 1024;
    /// Deadline of a request whose context has no `timeout_ms`; 0: none.
    Duration timeout{};
  };
  /// Called on `owner`. They may call back into the pool, and must not throw.
  struct Hooks {
    /// The request got its permit.
    std::function<void(const std::string& request_id, std::size_t bytes)> started;
    /// It is done, whatever came of it. `answerable` is false when `cancel` took its stream away.
    std::function<void(StreamId, transport::messages::ExecuteResponse, Duration, bool answerable)> finished;
    /// A cancelled handler that was answered before has returned: its place is free, its result is dropped.
    std::function<void(const std::string& request_id, Duration)> late;
  };

  ExecutePool(boost::asio::any_io_executor owner, const boost::asio::any_io_executor& handlers,
              std::shared_ptr<Connector> connector, Limits limits, const Clock& clock, Hooks hooks);
  ExecutePool(const ExecutePool&) = delete;
  ExecutePool& operator=(const ExecutePool&) = delete;
  ~ExecutePool();

  /// Runs it now or later. A request that finds the line full, or a draining stream, is answered as failed at once.
  void submit(transport::messages::ExecuteRequest request, StreamId stream);
  /// What waits is answered as failed, and so is what still comes; what runs goes on.
  void drain(StreamId stream);
  /// Cancels what runs. With `answer`, each is answered as failed at once; without, what waits is forgotten too and
  /// nothing is answered: the stream is gone.
  void cancel(StreamId stream, bool answer);
  /// Answers what has reached its deadline.
  void expire();
  /// When `expire` is due next, if ever.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  /// Requests that one stream may have here.
  [[nodiscard]] std::size_t capacity() const noexcept { return limits_.running + limits_.waiting; }
  /// Running and waiting, of this stream.
  [[nodiscard]] std::size_t in_flight(StreamId stream) const;
  /// Handlers that still run though nobody waits for them any more; each holds a permit.
  [[nodiscard]] std::size_t lingering() const noexcept { return running_.size() - answerable_; }
  /// Handlers that have not returned yet, of all streams.
  [[nodiscard]] std::size_t running() const noexcept { return running_.size(); }

 private:
  struct Job;
  struct Stream {
    std::size_t in_flight = 0;
    bool draining = false;
  };
  /// Where a job is in the pool.
  struct Links : boost::intrusive::list_base_hook<>, boost::intrusive::set_base_hook<> {
    std::optional<TimePoint> deadline;
  };
  struct DeadlineOf {
    using type = TimePoint;
    const type& operator()(const Links& job) const noexcept { return *job.deadline; }
  };
  using Jobs = boost::intrusive::list<Links>;
  using Deadlines = boost::intrusive::multiset<Links, boost::intrusive::key_of_value<DeadlineOf>,
                                               boost::intrusive::constant_time_size<false>>;

  [[nodiscard]] Result<std::optional<TimePoint>> deadline_of(const transport::messages::ExecuteRequest& request,
                                                             TimePoint arrived) const;
  void run(const std::shared_ptr<Job>& job, TimePoint now);
  void complete(const std::shared_ptr<Job>& job, const std::exception_ptr& exception, Result<Payload> result);
  void answer_failed(std::string request_id, StreamId stream, const Error& error, Duration duration = {});
  /// Nobody waits for it any more.
  void give_up(Job& job);
  void forget_deadline(Job& job);
  void cancel_handler(const std::shared_ptr<Job>& job);
  /// Those of `jobs` for which `which` is true.
  template <class Which>
  [[nodiscard]] static std::vector<std::shared_ptr<Job>> those_of(Jobs& jobs, Which which);
  /// Takes them out of the line.
  template <class Which>
  [[nodiscard]] std::vector<std::shared_ptr<Job>> take_waiting(Which which);
  template <class Which>
  void answer_waiting(Which which, const Error& error);
  void run_next();

  const bool may_block_;
  const boost::asio::any_io_executor owner_;
  /// In turns, so that a handler that has been begun in one is also completed there.
  const transport::ErasedExecutor handlers_;
  const std::shared_ptr<Connector> connector_;
  const Limits limits_;
  const Clock& clock_;
  const Hooks hooks_;
  // Jobs keep themselves alive while they are in either.
  /// Everything that has not returned, of earlier streams too: they keep their permits.
  Jobs running_;
  Jobs waiting_;
  /// Of all that run or wait and have one.
  Deadlines deadlines_;
  std::map<StreamId, Stream> streams_;
  std::size_t answerable_ = 0;
};

/// An ExecuteResponse as the protocol wants it: failures carry the error's text and a JSON body. (§5.5.)
[[nodiscard]] transport::messages::ExecuteResponse make_execute_response(std::string request_id, Result<Payload> result,
                                                                         Duration duration);

}  // namespace sharingbus::connector
