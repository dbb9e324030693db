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

#include "bus/base/bounded.hpp"
#include "transport/codec/utf8.hpp"
#include "transport/strand.hpp"

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace messages = transport::messages;

/// Owns what the handler needs for as long as it runs. Not begun on `not_on`, which it might hold up by blocking.
asio::awaitable<Result<Payload>> call_connector(std::thread::id not_on, std::shared_ptr<Connector> connector,
                                                std::shared_ptr<messages::ExecuteRequest> of) {
  messages::ExecuteRequest& request = *of;
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

messages::ExecuteResponse make_execute_response(std::string request_id, Result<Payload> result, Duration duration) {
  messages::ExecuteResponse response;
  response.request_id = std::move(request_id);
  response.duration_ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  if (result) {
    response.success = true;
    response.payload = std::move(result->bytes);
    response.payload_encoding = result->encoding;
  } else {
    // Whatever a handler threw goes into JSON, which must be UTF-8.
    response.error = transport::to_valid_utf8(display_text(result.error()));
    response.payload_encoding = PayloadEncoding::json;
    response.payload = from_json(boost::json::object{{"error", response.error}, {"success", false}}).bytes;
  }
  return response;
}

/// A request from its arrival until its handler has returned.
struct ExecutePool::Job : Links {
  Job(messages::ExecuteRequest what, StreamId of, TimePoint at) : request(std::move(what)), stream(of), since(at) {}

  /// All but its id is the handler's once that is begun.
  messages::ExecuteRequest request;
  StreamId stream;
  /// It arrived, or its handler was begun.
  TimePoint since;
  /// The handler's, once it is begun.
  std::optional<transport::Strand> strand;
  asio::cancellation_signal cancel;
  /// Somebody waits for its result.
  bool wanted = true;
  bool answered = false;
  /// While it is in the pool.
  std::shared_ptr<Job> kept;
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

ExecutePool::~ExecutePool() {
  // Handlers that still run have the pool, so these wait.
  deadlines_.clear();
  for (Jobs* const jobs : {&running_, &waiting_})
    jobs->clear_and_dispose([](Links* job) { static_cast<Job*>(job)->kept.reset(); });
}

Result<std::optional<TimePoint>> ExecutePool::deadline_of(const messages::ExecuteRequest& request,
                                                          TimePoint arrived) const {
  constexpr Duration kLongest = bounded(Duration::max());
  const auto found = request.context.find(kTimeoutKey);
  Duration timeout = bounded(limits_.timeout);
  if (found != request.context.end()) {
    std::uint64_t milliseconds = 0;
    const std::string& text = found->second;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), milliseconds);
    const bool huge = code == std::errc::result_out_of_range;
    if (end != text.data() + text.size() || (code != std::errc{} && !huge) || (milliseconds == 0 && !huge)) {
      return Error(errc::invalid_argument, "context timeout_ms is not a number above 0");
    }
    constexpr auto kMostMs =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(kLongest).count());
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
  auto job = std::make_shared<Job>(std::move(request), stream, now);
  job->deadline = *deadline;
  if (job->deadline) deadlines_.insert(*job);
  if (running_.size() < limits_.running) return run(job, now);
  waiting_.push_back(*job);
  job->kept = job;
}

void ExecutePool::run(const std::shared_ptr<Job>& job, TimePoint now) {
  job->since = now;
  running_.push_back(*job);
  job->kept = job;
  ++answerable_;
  const transport::Strand& strand = job->strand.emplace(handlers_);
  hooks_.started(job->request.request_id, job->request.payload.size());
  const transport::Turn::Beginning beginning(!may_block_);
  const auto not_on = may_block_ ? std::this_thread::get_id() : std::thread::id();
  auto handler = call_connector(not_on, connector_, std::shared_ptr<messages::ExecuteRequest>(job, &job->request));
  auto done = [self = shared_from_this(), job](const std::exception_ptr& exception, Result<Payload> result) mutable {
    ExecutePool& pool = *self;
    pool.owner_.execute([self = std::move(self), job = std::move(job), exception,
                         result = std::move(result)]() mutable { self->complete(job, exception, std::move(result)); });
  };
  asio::co_spawn(strand, std::move(handler), asio::bind_cancellation_slot(job->cancel.slot(), std::move(done)));
}

void ExecutePool::complete(const std::shared_ptr<Job>& job, const std::exception_ptr& exception,
                           Result<Payload> result) {
  running_.erase(running_.iterator_to(*job));
  job->kept.reset();
  const bool answerable = job->wanted;
  if (answerable) give_up(*job);
  if (exception) result = error_of(exception);
  const Duration duration = clock_.now() - job->since;
  if (!job->answered) {
    hooks_.finished(job->stream, make_execute_response(std::move(job->request.request_id), std::move(result), duration),
                    duration, answerable);
  } else {
    hooks_.late(job->request.request_id, duration);
  }
  run_next();
}

void ExecutePool::forget_deadline(Job& job) {
  if (job.deadline) deadlines_.erase(deadlines_.iterator_to(job));
}

void ExecutePool::give_up(Job& job) {
  job.wanted = false;
  --answerable_;
  forget_deadline(job);
  if (const auto stream = streams_.find(job.stream); stream != streams_.end()) --stream->second.in_flight;
}

void ExecutePool::cancel_handler(const std::shared_ptr<Job>& job) {
  // A signal belongs to the strand of its coroutine.
  asio::post(*job->strand, [job] { job->cancel.emit(asio::cancellation_type::all); });
}

void ExecutePool::run_next() {
  while (!waiting_.empty() && running_.size() < limits_.running) {
    auto& next = static_cast<Job&>(waiting_.front());
    waiting_.pop_front();
    run(std::exchange(next.kept, nullptr), clock_.now());
  }
}

void ExecutePool::answer_failed(std::string request_id, StreamId stream, const Error& error, Duration duration) {
  hooks_.finished(stream, make_execute_response(std::move(request_id), error, duration), duration, true);
}

template <class Which>
std::vector<std::shared_ptr<ExecutePool::Job>> ExecutePool::those_of(Jobs& jobs, Which which) {
  std::vector<std::shared_ptr<Job>> found;
  for (Links& each : jobs) {
    const auto& job = static_cast<Job&>(each);
    if (which(job)) found.push_back(job.kept);
  }
  return found;
}

template <class Which>
std::vector<std::shared_ptr<ExecutePool::Job>> ExecutePool::take_waiting(Which which) {
  auto taken = those_of(waiting_, which);
  for (const auto& job : taken) {
    forget_deadline(*job);
    waiting_.erase(waiting_.iterator_to(*job));
    job->kept.reset();
  }
  return taken;
}

template <class Which>
void ExecutePool::answer_waiting(Which which, const Error& error) {
  const auto taken = take_waiting(which);
  for (const auto& job : taken)
    --streams_[job->stream].in_flight;
  for (const auto& job : taken)
    answer_failed(std::move(job->request.request_id), job->stream, error, clock_.now() - job->since);
}

void ExecutePool::drain(StreamId stream) {
  streams_[stream].draining = true;
  answer_waiting([stream](const Job& each) { return each.stream == stream; },
                 Error(errc::closed, "the connector is shutting down"));
}

void ExecutePool::cancel(StreamId stream, bool answer) {
  if (answer) {
    drain(stream);
  } else {
    (void)take_waiting([stream](const Job& each) { return each.stream == stream; });
  }
  const auto ended = those_of(running_, [stream](const Job& each) { return each.stream == stream && each.wanted; });
  for (const auto& job : ended) {
    give_up(*job);
    cancel_handler(job);
  }
  if (!answer) {
    streams_.erase(stream);
    return;
  }
  const Error why(errc::cancelled, "cancelled at the end of the drain");
  for (const auto& job : ended) {
    job->answered = true;
    answer_failed(job->request.request_id, stream, why, clock_.now() - job->since);
  }
}

void ExecutePool::expire() {
  const TimePoint now = clock_.now();
  if (deadlines_.empty() || *deadlines_.begin()->deadline > now) return;
  const auto is_due = [now](const Job& each) { return each.wanted && each.deadline && *each.deadline <= now; };
  answer_waiting(is_due, Error(errc::timed_out, "the deadline passed before the request's turn"));
  const auto due = those_of(running_, is_due);
  for (const auto& job : due) {
    // What was told of the one before may have cancelled its stream.
    if (!job->wanted) continue;
    give_up(*job);
    job->answered = true;
    cancel_handler(job);
    answer_failed(job->request.request_id, job->stream, Error(errc::timed_out, "the handler took too long"),
                  now - job->since);
  }
}

std::optional<TimePoint> ExecutePool::next_deadline() const {
  return deadlines_.empty() ? std::nullopt : deadlines_.begin()->deadline;
}

std::size_t ExecutePool::in_flight(StreamId stream) const {
  const auto found = streams_.find(stream);
  return found == streams_.end() ? 0 : found->second.in_flight;
}

}  // namespace sharingbus::connector
