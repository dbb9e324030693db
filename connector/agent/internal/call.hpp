#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_completion_handler.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include "bus/base/error.hpp"
#include "bus/base/timer.hpp"
#include "connector/agent/agent_reply.hpp"
#include "transport/codec/agent_codec.hpp"

namespace sharingbus::connector::internal {

struct Agent;
struct PoolConnection;

enum class CallKind : std::uint8_t {
  request_headers,
  request_body_chunk,
  response_headers,
  response_body_chunk,
  websocket_frame,
  guardrail,
  request_complete,
};

/// One call: from its start to its completion it is in exactly one list of its pool, whose lock guards it. Shared, as a
/// cancellation slot may hold it too, and as a sent call that nobody waits for any more keeps its place in the order of
/// answers.
struct Call : boost::intrusive_ref_counter<Call, boost::thread_safe_counter>, boost::intrusive::list_base_hook<> {
  enum class State : std::uint8_t {
    fresh,
    /// For a paused agent to resume.
    parked,
    /// For its turn on a connection.
    waiting,
    sent,
    done,
  };

  std::shared_ptr<Agent> agent;
  std::string agent_id;
  std::string correlation_id;
  /// Empty: none.
  std::string session;
  /// Until it is sent; kept for a retry where there may be one.
  std::string frame;
  transport::AgentWire wire = transport::AgentWire::json;
  CallKind kind = CallKind::request_headers;
  /// Its answer is the request's last.
  bool last = false;
  bool session_used = false;
  /// The breaker let it through.
  bool counted_by_breaker = false;
  State state = State::fresh;
  /// In the order of answers though done.
  bool abandoned = false;
  std::uint32_t retries = 0;
  /// May be asked of another connection when the answer takes too long.
  bool hedge = false;
  /// That second asking, of which only the answer counts: it ends nobody's call by itself, and has no deadline.
  bool shadow = false;
  /// Of a call its shadow, of a shadow its call; null: none.
  boost::intrusive_ptr<Call> rival;

  Duration timeout{};
  TimePoint started{};
  TimePoint give_up{};
  /// `give_up`, or when waiting for a paused agent ends.
  TimePoint deadline{};
  std::size_t heap_index = 0;

  /// Of `waiting` and `sent`.
  PoolConnection* connection = nullptr;
  /// The next of the same id on its connection.
  Call* next_of_id = nullptr;

  boost::asio::any_completion_handler<void(Error, AgentReply)> handler;
  boost::asio::any_completion_executor executor;
  Error error;
  AgentReply reply;
};
using CallPtr = boost::intrusive_ptr<Call>;
using CallList = boost::intrusive::list<Call>;

/// Calls by deadline: a heap in which each call knows its place. Adding the latest and looking at the earliest O(1),
/// else O(log n); allocates only to grow.
class DeadlineHeap {
 public:
  void add(Call& call) {
    call.heap_index = heap_.size();
    heap_.push_back(&call);
    up(call.heap_index);
  }
  void remove(Call& call) {
    const std::size_t index = call.heap_index;
    Call* last = heap_.back();
    heap_.pop_back();
    if (last == &call) return;
    place(index, last);
    up(index);
    down(last->heap_index);
  }
  [[nodiscard]] Call* earliest() const { return heap_.empty() ? nullptr : heap_.front(); }
  [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }

 private:
  void place(std::size_t index, Call* call) {
    heap_[index] = call;
    call->heap_index = index;
  }
  void up(std::size_t index) {
    Call* call = heap_[index];
    while (index != 0) {
      const std::size_t parent = (index - 1) / 2;
      if (heap_[parent]->deadline <= call->deadline) break;
      place(index, heap_[parent]);
      index = parent;
    }
    place(index, call);
  }
  void down(std::size_t index) {
    Call* call = heap_[index];
    for (;;) {
      std::size_t child = 2 * index + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && heap_[child + 1]->deadline < heap_[child]->deadline) ++child;
      if (call->deadline <= heap_[child]->deadline) break;
      place(index, heap_[child]);
      index = child;
    }
    place(index, call);
  }

  std::vector<Call*> heap_;
};

}  // namespace sharingbus::connector::internal
