#include "transport/grpc/internal/link_core.hpp"

#include <exception>
#include <string_view>
#include <utility>

#include <grpcpp/support/slice.h>

#include "transport/grpc/internal/byte_buffer.hpp"
#include "transport/turn.hpp"

namespace sharingbus::transport::internal {

LinkCore::LinkCore(StreamOptions options, Reading reading)
    : reading_mode_(reading), publisher_(std::move(options)), queue_(publisher_.limits().outbound_capacity) {}

SendStatus LinkCore::send(std::string frame) {
  Steps steps;
  bool later = false;
  {
    const std::scoped_lock lock(mutex_);
    if (over_ || reason_ || finishing_ || write_failed_) return SendStatus::closed;
    if (frame.size() > publisher_.limits().max_outbound_bytes) return SendStatus::too_large;
    if (queue_.full()) {
      writable_wanted_ = true;
      return SendStatus::full;
    }
    queue_.push(std::move(frame));
    if (writing_ || turn_due_) return SendStatus::queued;
    if (ready_ && thread_->is_current()) {
      steps = next_steps(true);
    } else if (ready_ && thread_->writing()) {
      later = true;
      turn_due();
    } else {
      steps = next_steps();
    }
  }
  if (later) {
    thread_->later(shared_from_this(), &LinkCore::write_turn);
    return SendStatus::queued;
  }
  carry_out(steps);
  return SendStatus::queued;
}

void LinkCore::write_turn() {
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    turn_due_ = false;
    flush_ = queue_.size();
    steps = next_steps();
  }
  carry_out(steps);
  unpin();
}

bool LinkCore::queue_first(std::string frame) {
  if (frame.size() > publisher_.limits().max_outbound_bytes) return false;
  const std::scoped_lock lock(mutex_);
  queue_.push(std::move(frame));
  return true;
}

void LinkCore::grant(Credit credit) {
  if (!publisher_.grant(credit)) return;
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    steps = next_steps();
  }
  carry_out(steps);
}

void LinkCore::finish() {
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    if (closed_ || reason_ || std::exchange(finishing_, true)) return;
    if (!ahead_.empty() && !publisher_.may_read()) go_deaf();
    steps = next_steps();
  }
  carry_out(steps);
}

void LinkCore::cancel(Error why) {
  cancel_if(false, std::move(why));
}

void LinkCore::cancel_unopened(Error why) {
  cancel_if(true, std::move(why));
}

void LinkCore::cancel_if(bool only_unopened, Error why) {
  bool running = false;
  bool elsewhere = false;
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    if (closed_ || reason_ || (only_unopened && opened_)) return;
    if (final_) final_ = why;
    reason_ = std::move(why);
    queue_.clear();
    ahead_.clear();
    running = !over_;
    if (running) pin();
    elsewhere = ready_ && !thread_->is_current();
    steps = next_steps();
  }
  if (running && elsewhere) {
    // There, where its completions come: many that are cancelled together would else be fought over.
    thread_->later(shared_from_this(), &LinkCore::break_off_turn);
  } else if (running) {
    break_off_turn();
  } else {
    hurry_end();
  }
  carry_out(steps);
}

void LinkCore::break_off_turn() {
  break_off();
  unpin();
}

void LinkCore::end() {
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(over_, true)) return;
  }
  unpin();
}

bool LinkCore::try_pin() {
  const std::scoped_lock lock(mutex_);
  if (over_ || reason_) return false;
  pin();
  return true;
}

void LinkCore::unpin() {
  if (pins_.fetch_sub(1, std::memory_order_acq_rel) == 1) let_go();
}

void LinkCore::operation_ended() {
  if (in_flight_.fetch_sub(1, std::memory_order_acq_rel) == 1) over();
}

bool LinkCore::try_start_operation() noexcept {
  int count = in_flight_.load(std::memory_order_relaxed);
  while (count != 0 && !in_flight_.compare_exchange_weak(count, count + 1, std::memory_order_acq_rel)) {
  }
  return count != 0;
}

void LinkCore::hold_writes() {
  const std::scoped_lock lock(mutex_);
  writing_ = true;
}

void LinkCore::release_writes() {
  {
    const std::scoped_lock lock(mutex_);
    writing_ = false;
  }
  begin_writes();
}

void LinkCore::begin_writes() {
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    steps = next_steps();
  }
  carry_out(steps);
}

void LinkCore::going_away() {
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    if (over_ || reason_ || std::exchange(leaving_, true)) return;
    steps = next_steps();
  }
  carry_out(steps);
}

bool LinkCore::may_start_reading() const {
  if (reading_mode_ == Reading::with_credit_only) return finishing_ || publisher_.may_read();
  // After a failed write the peer sends no more, so what is left to read is little and the end is behind it.
  return ahead_.has_room() || write_failed_;
}

bool LinkCore::may_deliver() const {
  if (delivering_ || closed_) return false;
  return ahead_.empty() ? final_.has_value() : publisher_.may_read();
}

void LinkCore::go_deaf() {
  deaf_ = true;
  ahead_.clear();
}

LinkCore::Steps LinkCore::next_steps(bool last_later) {
  Steps steps;
  if (may_deliver()) steps.deliver = delivering_ = true;
  if (over_ || reason_) return steps;
  if (ready_ && !reading_ && may_start_reading()) steps.read = reading_ = true;
  if (!writing_ && !turn_due_ && !write_failed_ && !writes_ended_) {
    if (last_later && !finishing_ && flush_ == 0 && queue_.size() == 1) {
      steps.write_later = true;
      turn_due();
    } else if (!queue_.empty()) {
      std::string message = queue_.pop();
      bytes_in_flight_ = message.size();
      fill(outbound_, std::move(message));
      steps.write = writing_ = true;
      steps.more_writes = flush_ == 0 ? !queue_.empty() : --flush_ != 0;
    } else if (finishing_) {
      steps.end_writes = writes_ended_ = true;
    }
  }
  if (writable_wanted_ && ready_ && !finishing_ && queue_.roomy()) {
    writable_wanted_ = false;
    steps.writable = true;
  }
  if (leaving_ && ready_ && !std::exchange(leaving_told_, true)) steps.going_away = true;
  if (steps.pinned()) pin();
  return steps;
}

void LinkCore::carry_out(const Steps& steps) {
  if (steps.deliver) {
    thread_->later(shared_from_this(), &LinkCore::deliver);
  }
  if (steps.write_later) thread_->after_burst(shared_from_this(), &LinkCore::write_turn);
  if (!steps.pinned()) return;
  // With more to come gRPC may keep the message in its buffer: one system call then takes many.
  if (steps.write) {
    thread_->write_started();
    operation_started();
    start_write(outbound_, steps.more_writes ? grpc::WriteOptions().set_buffer_hint() : grpc::WriteOptions(), &write_);
  }
  if (steps.read) {
    operation_started();
    start_read(&inbound_, &read_);
  }
  if (steps.end_writes) end_writes();
  // While pinned, so that StreamClosed cannot overtake it.
  if (steps.writable) publisher_.writable();
  if (steps.going_away) publisher_.going_away();
  unpin();
}

void LinkCore::on_open(std::string peer, std::uint64_t listener) {
  {
    const std::scoped_lock lock(mutex_);
    if (reason_) return;
    opened_ = true;
  }
  publisher_.opened(weak_from_this(), std::move(peer), listener);
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    ready_ = true;
    steps = next_steps();
  }
  carry_out(steps);
}

void LinkCore::read_completed(bool ok) {
  if (ok) {
    on_message();
  } else {
    read_failed();
  }
  operation_ended();
}

void LinkCore::write_completed(bool ok) {
  on_written(ok);
  operation_ended();
}

void LinkCore::on_message() {
  // What the message gives others to do comes last, after the next read was started.
  const Turn turn(Turn::On::library);
  bool now = false;
  {
    const std::scoped_lock lock(mutex_);
    // `reading_` stays set, here and while the message is published, so that nothing starts another read.
    if (reason_) return inbound_.Clear();
    if (ahead_.empty() && !delivering_ && finishing_ && !publisher_.may_read()) go_deaf();
    now = ahead_.empty() && !delivering_ && publisher_.may_read();
    if (!now && !deaf_) ahead_.push(inbound_);
  }
  if (now && !deaf_) take(inbound_);
  inbound_.Clear();
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    reading_ = false;
    steps = next_steps();
  }
  carry_out(steps);
}

void LinkCore::take(const grpc::ByteBuffer& message) {
  grpc::Slice storage;
  std::string_view bytes;
  Result<> taken;
  try {
    taken = view_of(message, storage, bytes) ? publisher_.frame(bytes)
                                             : Error(errc::malformed_frame, "a compressed or incomplete message");
  } catch (const std::exception& thrown) {
    taken = Error(errc::internal, std::string("decoding threw: ") + thrown.what());
  } catch (...) {
    taken = Error(errc::internal, "decoding threw");
  }
  if (!taken) cancel(std::move(taken).error());
}

void LinkCore::deliver() {
  std::optional<Error> last;
  Steps steps;
  for (;;) {
    grpc::ByteBuffer message;
    {
      const std::scoped_lock lock(mutex_);
      if (ahead_.empty() || !publisher_.may_read()) {
        if (finishing_ && !ahead_.empty()) go_deaf();
        delivering_ = false;
        if (final_ && ahead_.empty()) {
          closed_ = true;
          last = final_;
        } else {
          steps = next_steps();
        }
        break;
      }
      ahead_.pop(message);
    }
    take(message);
  }
  if (last) return close(std::move(*last));
  carry_out(steps);
}

void LinkCore::on_written(bool ok) {
  thread_->write_done();
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    outbound_.Clear();
    writing_ = false;
    if (ok) {
      publisher_.sent(bytes_in_flight_);
    } else {
      write_failed_ = true;
      queue_.clear();
    }
    steps = next_steps(true);
  }
  carry_out(steps);
}

void LinkCore::on_peer_finished() {
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    if (!std::exchange(finishing_, true)) peer_finished_first_ = true;
    steps = next_steps();
  }
  carry_out(steps);
}

void LinkCore::on_done(Error error, bool in_order) {
  bool now = false;
  Steps steps;
  {
    const std::scoped_lock lock(mutex_);
    // Cancelled since `error` was made up: what was read ahead is gone, so it is no good order any more.
    if (reason_) {
      error = *reason_;
      in_order = false;
    }
    if (!in_order) ahead_.clear();
    now = ahead_.empty() && !delivering_;
    closed_ = now;
    if (!now) {
      final_ = error;
      steps = next_steps();
    }
  }
  if (now) return close(std::move(error));
  carry_out(steps);
}

}  // namespace sharingbus::transport::internal
