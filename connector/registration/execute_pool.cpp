#include "connector/registration/execute_pool.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/json/object.hpp>
#include <algorithm>
#include <utility>

#include "transport/codec/utf8.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace messages = transport::messages;

/// Owns what the handler needs for as long as it runs.
asio::awaitable<Result<Payload>> call_connector(std::shared_ptr<Connector> connector,
                                                messages::ExecuteRequest request) {
  Payload payload{request.payload_encoding, std::move(request.payload)};
  std::optional<std::string> capability;
  if (!request.capability_id.empty()) capability = std::move(request.capability_id);
  co_return co_await connector->execute_payload(std::move(payload), std::move(capability), std::move(request.context));
}

Error error_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& e) {
    return {errc::handler_failed, std::string("handler threw: ") + e.what()};
  } catch (...) {
    return {errc::handler_failed, "handler threw something that is no std::exception"};
  }
}

}  // namespace

messages::ExecuteResponse make_execute_response(std::string request_id, const Result<Payload>& result,
                                                Duration duration) {
  messages::ExecuteResponse response;
  response.request_id = std::move(request_id);
  response.duration_ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  if (result) {
    response.success = true;
    response.payload = result->bytes;
    response.payload_encoding = result->encoding;
  } else {
    // Whatever a handler threw goes into JSON, which must be UTF-8.
    response.error = transport::to_valid_utf8(display_text(result.error()));
    response.payload_encoding = PayloadEncoding::json;
    response.payload = from_json(boost::json::object{{"error", response.error}, {"success", false}}).bytes;
  }
  return response;
}

/// One handler on its way.
struct ExecutePool::Running {
  Running(asio::strand<asio::any_io_executor> on, std::string id, TimePoint at)
      : strand(std::move(on)), request_id(std::move(id)), started(at) {}

  asio::strand<asio::any_io_executor> strand;
  std::string request_id;
  TimePoint started;
  asio::cancellation_signal cancel;
  bool answerable = true;
  bool answered = false;
};

ExecutePool::ExecutePool(asio::any_io_executor owner, asio::any_io_executor handlers,
                         std::shared_ptr<Connector> connector, Limits limits, const Clock& clock, Hooks hooks)
    : owner_(std::move(owner)),
      handlers_(std::move(handlers)),
      connector_(std::move(connector)),
      limits_(limits),
      clock_(clock),
      hooks_(std::move(hooks)) {}

void ExecutePool::submit(messages::ExecuteRequest request) {
  if (draining_) {
    return answer_failed(std::move(request.request_id), Error(errc::closed, "the connector is shutting down"));
  }
  if (running_.size() < limits_.running) return run(std::move(request));
  if (waiting_.size() < limits_.waiting) {
    waiting_.push_back(std::move(request));
    return;
  }
  answer_failed(std::move(request.request_id), Error(errc::capacity_exceeded, "too many requests are waiting"));
}

void ExecutePool::run(messages::ExecuteRequest request) {
  auto running = std::make_shared<Running>(asio::make_strand(handlers_), request.request_id, clock_.now());
  running_.insert(running);
  ++answerable_;
  hooks_.started(request.request_id, request.payload.size());
  auto done = [self = shared_from_this(), running](std::exception_ptr exception, Result<Payload> result) mutable {
    asio::post(self->owner_, [self, running, exception, result = std::move(result)]() mutable {
      self->complete(running, exception, std::move(result));
    });
  };
  asio::co_spawn(running->strand, call_connector(connector_, std::move(request)),
                 asio::bind_cancellation_slot(running->cancel.slot(), std::move(done)));
}

void ExecutePool::complete(const std::shared_ptr<Running>& running, std::exception_ptr exception,
                           Result<Payload> result) {
  running_.erase(running);
  if (running->answerable) --answerable_;
  if (exception) result = error_of(exception);
  const Duration duration = clock_.now() - running->started;
  if (!running->answered) {
    hooks_.finished(make_execute_response(running->request_id, result, duration), duration, running->answerable);
  } else {
    hooks_.freed();
  }
  run_next();
}

void ExecutePool::run_next() {
  while (!waiting_.empty() && running_.size() < limits_.running) {
    messages::ExecuteRequest next = std::move(waiting_.front());
    waiting_.pop_front();
    run(std::move(next));
  }
}

void ExecutePool::answer_failed(std::string request_id, const Error& error) {
  hooks_.finished(make_execute_response(std::move(request_id), error, Duration::zero()), Duration::zero(), true);
}

void ExecutePool::drain() {
  draining_ = true;
  auto waiting = std::exchange(waiting_, {});
  for (auto& request : waiting) {
    answer_failed(std::move(request.request_id), Error(errc::closed, "the connector is shutting down"));
  }
}

void ExecutePool::cancel_all(bool answer) {
  draining_ = true;
  if (answer) drain();
  waiting_.clear();
  answerable_ = 0;
  for (const auto& running : running_) {
    running->answerable = false;
    // A signal belongs to the strand of its coroutine.
    asio::post(running->strand, [running] { running->cancel.emit(asio::cancellation_type::all); });
  }
  if (!answer) return;
  const Error why(errc::cancelled, "cancelled at the end of the drain");
  for (const auto& running : running_) {
    if (std::exchange(running->answered, true)) continue;
    const Duration duration = clock_.now() - running->started;
    hooks_.finished(make_execute_response(running->request_id, why, duration), duration, true);
  }
}

std::size_t ExecutePool::room() const noexcept {
  const std::size_t capacity = limits_.running + limits_.waiting;
  return capacity - std::min(capacity, running_.size() + waiting_.size());
}

}  // namespace sharingbus::connector
