#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <grpcpp/impl/call_op_set.h>
#include <grpcpp/support/byte_buffer.h>

#include "transport/grpc/internal/completion.hpp"
#include "transport/grpc/internal/completion_thread.hpp"
#include "transport/grpc/internal/outbound_queue.hpp"
#include "transport/grpc/internal/read_ahead.hpp"
#include "transport/stream_publisher.hpp"

namespace sharingbus::transport::internal {

/// What dialled and accepted streams have in common: queue, credit, and when to start which operation. Derived classes
/// have the call.
///
/// Threads: the mutex guards the state, and nothing is started, published or freed while it is held. Operations are
/// started after it was released, by any thread, so each such thread *pins* the call: `let_go`, after which nothing is
/// started any more, runs when the last pin is gone. The first pin is the stream's own and is dropped when it is over.
/// Operations are *in flight* until the completion queue has given them back; when none is and the call was let go, it
/// is `over`.
class LinkCore : public Link, public std::enable_shared_from_this<LinkCore> {
 public:
  [[nodiscard]] std::uint64_t id() const noexcept final { return publisher_.id(); }
  [[nodiscard]] const Uuid& uid() const noexcept final { return publisher_.uid(); }
  SendStatus send(std::string frame) final;
  void grant(Credit credit) final;
  void finish() final;
  void cancel(Error why) final;
  [[nodiscard]] LinkStats stats() const final { return publisher_.stats(); }

  /// The peer said that it goes away: `StreamGoingAway` is published, once, as soon as the stream is open.
  void going_away();
  /// A stream that was cancelled has not ended in time, see `LinkSet::expect_end`.
  virtual void force_end() {}

 protected:
  /// A stream that reads ahead learns of its end without credit, as a read is in flight; see README.md.
  enum class Reading : std::uint8_t { with_credit_only, ahead };

  LinkCore(StreamOptions options, Reading reading);

  // The call's operations, which are counted as in flight already. Called unlocked and pinned.
  virtual void start_read(grpc::ByteBuffer* into, Completion* tag) = 0;
  virtual void start_write(const grpc::ByteBuffer& message, grpc::WriteOptions options, Completion* tag) = 0;
  /// Everything that was queued went out, and nothing follows. Not counted yet.
  virtual void end_writes() = 0;
  /// `reason_` was just set: end the stream at once.
  virtual void break_off() = 0;
  /// The same when nothing is to be started any more, but the call may not be over on the wire. Unpinned.
  virtual void hurry_end() {}
  /// A read brought nothing: there will be no more.
  virtual void read_failed() = 0;
  /// Once, unlocked: no operation is started any more but by this.
  virtual void let_go() = 0;
  /// Once, unlocked: nothing is in flight any more, and it was `let_go`.
  virtual void over() = 0;
  /// Once, unlocked, as the last: publish `StreamClosed`.
  virtual void close(Error error) = 0;

  /// The thread of its call's queue. Before the call starts.
  void set_thread(CompletionThread& thread) noexcept { thread_ = &thread; }
  void operation_started() noexcept { in_flight_.fetch_add(1, std::memory_order_relaxed); }
  void operation_ended();
  /// False when it is over. Without a pin, for what touches the call and starts nothing that is given back.
  [[nodiscard]] bool try_start_operation() noexcept;
  /// Of operations whose end tells nothing.
  [[nodiscard]] Completion* end_only() noexcept { return &end_only_; }
  /// Writes that are wanted wait until the call's headers are out.
  void hold_writes();
  void release_writes();
  /// The call has started: what is queued may go out.
  void begin_writes();

  // What reactions report. One at a time, except that reads and writes overlap.
  void on_open(std::string peer, std::uint64_t listener);
  /// The peer will send no more, in good order.
  void on_peer_finished();
  /// The call is done. Closes, after what was read ahead if that is `in_order`.
  void on_done(Error error, bool in_order);

  /// Queues the stream's first message before anybody knows of the link. False when it is too large.
  [[nodiscard]] bool queue_first(std::string frame);
  /// As `cancel`, but only if the stream has not been opened.
  void cancel_unopened(Error why);
  /// The call is over: drops its own pin. Idempotent.
  void end();
  /// False when the stream is over or cancelled.
  [[nodiscard]] bool try_pin();
  void unpin();

  [[nodiscard]] StreamPublisher& publisher() noexcept { return publisher_; }

  /// What may be started now. The caller carries it out after unlocking.
  struct Steps {
    bool read = false;
    bool write = false;
    bool more_writes = false;
    bool end_writes = false;
    bool writable = false;
    bool going_away = false;
    bool deliver = false;
    /// `write_turn` at the end of the burst; has a pin of its own.
    bool write_later = false;
    [[nodiscard]] bool pinned() const noexcept { return read || write || end_writes || writable || going_away; }
  };
  /// `last_later`: by the thread, which leaves the last message to the end of its burst.
  [[nodiscard]] Steps next_steps(bool last_later = false);
  void carry_out(const Steps& steps);

  mutable std::mutex mutex_;
  /// Why this side, or a broken connection, ended the stream. The first one stays.
  std::optional<Error> reason_;
  bool opened_ = false;
  /// `finish` was called, or the peer finished first.
  bool finishing_ = false;
  bool peer_finished_first_ = false;

 private:
  void read_completed(bool ok);
  void write_completed(bool ok);
  void end_completed(bool /*ok*/) { operation_ended(); }
  void on_message();
  void on_written(bool ok);
  /// With the pin of whoever cancelled it.
  void break_off_turn();
  void write_turn();
  void turn_due() noexcept {
    turn_due_ = true;
    pin();
  }
  void cancel_if(bool only_unopened, Error why);
  void pin() noexcept { pins_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] bool may_start_reading() const;
  [[nodiscard]] bool may_deliver() const;
  void go_deaf();
  void take(const grpc::ByteBuffer& message);
  void deliver();

  const Reading reading_mode_;
  StreamPublisher publisher_;
  OutboundQueue queue_;
  std::atomic<int> pins_{1};
  /// The first is ended by `let_go`.
  std::atomic<int> in_flight_{1};
  CompletionThread* thread_ = nullptr;
  CompletionOf<LinkCore, &LinkCore::read_completed> read_{*this};
  CompletionOf<LinkCore, &LinkCore::write_completed> write_{*this};
  CompletionOf<LinkCore, &LinkCore::end_completed> end_only_{*this};
  bool over_ = false;
  bool closed_ = false;
  /// `StreamOpened` has been published: reading may start.
  bool ready_ = false;
  bool reading_ = false;
  bool writing_ = false;
  /// `write_turn` is to come, which alone writes on then, and until which it is pinned.
  bool turn_due_ = false;
  /// Messages ahead whose last goes out without waiting for more.
  std::size_t flush_ = 0;
  bool writes_ended_ = false;
  bool write_failed_ = false;
  bool writable_wanted_ = false;
  bool leaving_ = false;
  bool leaving_told_ = false;
  /// Messages are read and forgotten: the stream is finishing and has no credit.
  bool deaf_ = false;
  /// A turn of `deliver` is due or running: it alone publishes messages.
  bool delivering_ = false;
  ReadAhead ahead_;
  /// The call is done; `ahead_` is published first.
  std::optional<Error> final_;
  std::size_t bytes_in_flight_ = 0;
  // Each belongs to gRPC while the operation is in flight.
  grpc::ByteBuffer inbound_;
  grpc::ByteBuffer outbound_;
};

}  // namespace sharingbus::transport::internal
