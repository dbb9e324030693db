#include "connector/registration/execute_pool.hpp"

#include <algorithm>
#include <charconv>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/object.hpp>

#include "transport/codec/utf8.hpp"
#include "transport/strand.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace messages = transport::messages;

/// Owns what the handler needs for as long as it runs. Not begun on `not_on`, which it might hold up by blocking.
asio::awaitable<Result<Payload>> call_connector(std::thread::id not_on, std::shared_ptr<Connector> connector,
                                                messages::ExecuteRequest request) {
  if (std::this_thread::get_id() == not_on) co_await asio::post(asio::use_awaitable);
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
  Running(transport::Strand on, const Waiting& of, TimePoint at)
      : strand(std::move(on)),
        request_id(of.request.request_id),
        stream(of.stream),
        started(at),
        deadline(of.deadline) {}

  transport::Strand strand;
  std::string request_id;
  StreamId stream;
  TimePoint started;
  std::optional<TimePoint> deadline;
  asio::cancellation_signal cancel;
  /// Somebody waits for its result.
  bool wanted = true;
  bool answered = false;
};

ExecutePool::ExecutePool(asio::any_io_executor owner, const asio::any_io_executor& handlers,
                         std::shared_ptr<Connector> connector, Limits limits, const Clock& clock, Hooks hooks)
    : may_block_(connector->may_block()),
      owner_(std::move(owner)),
      handlers_(handlers, !may_block_),
      connector_(std::move(connector)),
      limits_(limits),
      clock_(clock),
      hooks_(std::move(hooks)) {}

Result<std::optional<TimePoint>> ExecutePool::deadline_of(const messages::ExecuteRequest& request,
                                                          TimePoint arrived) const {
  // Longer makes no difference, and would overflow the clock.
  constexpr Duration kLongest = std::chrono::hours(24 * 365);
  const auto found = request.context.find(kTimeoutKey);
  Duration timeout = std::min(limits_.timeout, kLongest);
  if (found != request.context.end()) {
    std::uint64_t milliseconds = 0;
    const std::string& text = found->second;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), milliseconds);
    const bool huge = code == std::errc::result_out_of_range;
    if (end != text.data() + text.size() || (code != std::errc{} && !huge) || (milliseconds == 0 && !huge)) {
      return Error(errc::invalid_argument, "context timeout_ms is not a number above 0");
    }
    constexpr auto kMostMs =
        static_cast<std::uint64_t>(std::chrono::milliseconds(std::chrono::hours(24 * 365)).count());
    timeout = huge ? kLongest : std::chrono::milliseconds(std::min(milliseconds, kMostMs));
  }
  if (timeout <= Duration::zero()) return std::optional<TimePoint>();
  return std::optional(arrived + timeout);
}

void ExecutePool::submit(messages::ExecuteRequest request, StreamId stream) {
  if (streams_[stream].draining) {
    return answer_failed(std::move(request.request_id), stream, Error(errc::closed, "the connector is shutting down"));
  }
  if (in_flight(stream) >= capacity() || (running_.size() >= limits_.running && limits_.waiting == 0)) {
    return answer_failed(std::move(request.request_id), stream,
                         Error(errc::capacity_exceeded, "too many requests are waiting"));
  }
  const TimePoint now = clock_.now();
  auto deadline = deadline_of(request, now);
  if (!deadline) return answer_failed(std::move(request.request_id), stream, deadline.error());
  ++streams_[stream].in_flight;
  if (*deadline) deadlines_.insert(**deadline);
  Waiting next{std::move(request), stream, now, *deadline};
  if (running_.size() < limits_.running) return run(std::move(next), now);
  waiting_.push_back(std::move(next));
}

void ExecutePool::run(Waiting next, TimePoint now) {
  auto running = std::make_shared<Running>(transport::Strand(handlers_), next, now);
  running_.insert(running);
  ++answerable_;
  hooks_.started(next.request.request_id, next.request.payload.size());
  auto done = [self = shared_from_this(), running](std::exception_ptr exception, Result<Payload> result) mutable {
    self->owner_.execute([self, running, exception, result = std::move(result)]() mutable {
      self->complete(running, exception, std::move(result));
    });
  };
  const transport::Turn::Beginning beginning(!may_block_);
  const auto not_on = may_block_ ? std::this_thread::get_id() : std::thread::id();
  asio::co_spawn(running->strand, call_connector(not_on, connector_, std::move(next.request)),
                 asio::bind_cancellation_slot(running->cancel.slot(), std::move(done)));
}

void ExecutePool::complete(const std::shared_ptr<Running>& running, std::exception_ptr exception,
                           Result<Payload> result) {
  running_.erase(running);
  const bool answerable = running->wanted;
  if (answerable) give_up(*running);
  if (exception) result = error_of(exception);
  const Duration duration = clock_.now() - running->started;
  if (!running->answered) {
    hooks_.finished(running->stream, make_execute_response(running->request_id, result, duration), duration,
                    answerable);
  } else {
    hooks_.late(running->request_id, duration);
  }
  run_next();
}

void ExecutePool::give_up(Running& running) {
  running.wanted = false;
  --answerable_;
  if (running.deadline) deadlines_.erase(deadlines_.find(*running.deadline));
  if (const auto stream = streams_.find(running.stream); stream != streams_.end()) --stream->second.in_flight;
}

void ExecutePool::cancel_handler(const std::shared_ptr<Running>& running) {
  // A signal belongs to the strand of its coroutine.
  asio::post(running->strand, [running] { running->cancel.emit(asio::cancellation_type::all); });
}

void ExecutePool::run_next() {
  while (!waiting_.empty() && running_.size() < limits_.running) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    run(std::move(next), clock_.now());
  }
}

void ExecutePool::answer_failed(std::string request_id, StreamId stream, const Error& error, Duration duration) {
  hooks_.finished(stream, make_execute_response(std::move(request_id), error, duration), duration, true);
}

template <class Which>
void ExecutePool::answer_waiting(Which which, const Error& error) {
  std::vector<Waiting> taken;
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (!which(*it)) {
      ++it;
      continue;
    }
    if (it->deadline) deadlines_.erase(deadlines_.find(*it->deadline));
    --streams_[it->stream].in_flight;
    taken.push_back(std::move(*it));
    it = waiting_.erase(it);
  }
  for (Waiting& each : taken)
    answer_failed(std::move(each.request.request_id), each.stream, error, clock_.now() - each.arrived);
}

void ExecutePool::drain(StreamId stream) {
  streams_[stream].draining = true;
  answer_waiting([stream](const Waiting& each) { return each.stream == stream; },
                 Error(errc::closed, "the connector is shutting down"));
}

void ExecutePool::cancel(StreamId stream, bool answer) {
  if (answer) {
    drain(stream);
  } else {
    for (const Waiting& each : waiting_) {
      if (each.stream == stream && each.deadline) deadlines_.erase(deadlines_.find(*each.deadline));
    }
    std::erase_if(waiting_, [stream](const Waiting& each) { return each.stream == stream; });
  }
  std::vector<std::shared_ptr<Running>> ended;
  for (const auto& running : running_) {
    if (running->stream == stream && running->wanted) ended.push_back(running);
  }
  for (const auto& running : ended) {
    give_up(*running);
    cancel_handler(running);
  }
  if (!answer) {
    streams_.erase(stream);
    return;
  }
  const Error why(errc::cancelled, "cancelled at the end of the drain");
  for (const auto& running : ended) {
    running->answered = true;
    answer_failed(running->request_id, stream, why, clock_.now() - running->started);
  }
}

void ExecutePool::expire() {
  const TimePoint now = clock_.now();
  if (deadlines_.empty() || *deadlines_.begin() > now) return;
  answer_waiting([now](const Waiting& each) { return each.deadline && *each.deadline <= now; },
                 Error(errc::timed_out, "the deadline passed before the request's turn"));
  std::vector<std::shared_ptr<Running>> due;
  for (const auto& running : running_) {
    if (running->wanted && running->deadline && *running->deadline <= now) due.push_back(running);
  }
  for (const auto& running : due) {
    give_up(*running);
    running->answered = true;
    cancel_handler(running);
    answer_failed(running->request_id, running->stream, Error(errc::timed_out, "the handler took too long"),
                  now - running->started);
  }
}

std::optional<TimePoint> ExecutePool::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return *deadlines_.begin();
}

std::size_t ExecutePool::in_flight(StreamId stream) const {
  const auto found = streams_.find(stream);
  return found == streams_.end() ? 0 : found->second.in_flight;
}

}  // namespace sharingbus::connector
