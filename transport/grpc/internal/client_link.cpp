#include "transport/grpc/internal/client_link.hpp"

#include <chrono>
#include <utility>

#include <grpcpp/support/client_callback.h>

#include "transport/grpc/internal/status_mapping.hpp"

namespace sharingbus::transport::internal {
namespace {

/// A server that refuses a call answers with a status alone, which gRPC gives out as headers and a status; only its
/// reactors can tell.
bool is_refusal(grpc::ClientContext& context) {
  class Asks final : public grpc::internal::ClientReactor {
    void OnDone(const grpc::Status& /*status*/) override {}
  };
  return Asks().InternalTrailersOnly(context.c_call());
}

/// gRPC's own way for a server to say when to come back. (gRFC A6.)
Duration pushback(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find("grpc-retry-pushback-ms");
  return found == metadata.end() ? Duration::zero()
                                 : pushback_of(std::string_view(found->second.data(), found->second.size()));
}

}  // namespace

ClientLink::ClientLink(std::shared_ptr<Shared> shared, StreamOptions options)
    : LinkCore(std::move(options), Reading::ahead), shared_(std::move(shared)) {}

void ClientLink::launch(ChannelPool::Lease lease, std::string first_frame) {
  lease_ = std::move(lease);
  const bool has_first = !first_frame.empty();
  if (has_first && !queue_first(std::move(first_frame))) {
    lease_.release();
    return fail(Error(errc::message_too_large, shared_->peer + ": the first message exceeds max_outbound_bytes"));
  }
  // Until the call has started, so that a cancel meanwhile does not remove a hold that is not there yet.
  if (!try_pin()) {
    lease_.release();
    return on_done(outcome(grpc::Status::CANCELLED), false);
  }
  has_call_ = true;
  // Headers and first message leave together.
  context_->set_initial_metadata_corked(has_first);
  took_fallback_ = shared_->fall_back;
  CompletionThread& thread = lease_.thread();
  set_thread(thread);
  stream_ = lease_.stub().PrepareCall(context_.get(), took_fallback_ ? shared_->fallback_method : shared_->method,
                                      &thread.queue());
  const TimerId timer = shared_->timers.schedule_after(publisher().connect_timeout(), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) static_cast<ClientLink&>(*self).expire();
  });
  {
    const std::scoped_lock lock(mutex_);
    timer_ = timer;
  }
  started_.store(true, std::memory_order_release);
  if (has_first) {
    stream_->StartCall(nullptr);
  } else {
    hold_writes();
    operation_started();
    stream_->StartCall(&start_);
  }
  operation_started();
  stream_->ReadInitialMetadata(&headers_);
  if (has_first) begin_writes();
  unpin();
}

void ClientLink::start_completed(bool /*ok*/) {
  release_writes();
  operation_ended();
}

void ClientLink::headers_completed(bool ok) {
  operation_started();
  stream_->Finish(&status_, end_only());
  if (!ok || is_refusal(*context_)) {
    end();
  } else {
    cancel_timer();
    lease_.mark_open();
    on_open(context_->peer(), 0);
  }
  operation_ended();
}

void ClientLink::end_writes() {
  operation_started();
  stream_->WritesDone(end_only());
}

void ClientLink::look_for_leaving() {
  // Until the call has started the lease is not there, and it goes with the call.
  if (!started_.load(std::memory_order_acquire) || !try_pin()) return;
  const bool leaving = lease_.leaving();
  unpin();
  if (leaving) going_away();
}

void ClientLink::fail(Error why) {
  end();
  on_done(std::move(why), false);
}

void ClientLink::expire() {
  using std::chrono::milliseconds;
  const auto limit = std::chrono::duration_cast<milliseconds>(publisher().connect_timeout()).count();
  cancel_unopened(Error(errc::connect_timeout, shared_->peer + ": no answer within " + std::to_string(limit) + " ms"));
}

void ClientLink::cancel_timer() {
  TimerId timer = 0;
  {
    const std::scoped_lock lock(mutex_);
    timer = timer_;
  }
  shared_->timers.cancel(timer);
}

void ClientLink::break_off() {
  context_->TryCancel();
  end();
}

void ClientLink::let_go() {
  if (has_call_) operation_ended();
}

void ClientLink::over() {
  const auto self = shared_from_this();
  cancel_timer();
  Error error = outcome(status_);
  // Before StreamClosed, so that whoever dials again on seeing it takes the other path.
  if (error.is(errc::unimplemented)) shared_->fall_back = !took_fallback_;
  retry_after_ = pushback(*context_);
  const bool in_order = !error || error.is(errc::stream_closed);
  if (error.is(errc::connect_timeout)) lease_.mark_full();
  // Before StreamClosed, so that whoever dials again on seeing it finds the place free.
  stream_.reset();
  context_.reset();
  lease_.release();
  on_done(std::move(error), in_order);
}

Error ClientLink::outcome(const grpc::Status& status) const {
  // gRPC knows only that the connection was closed; whoever made it knows why.
  const Error connecting =
      status.error_code() == grpc::UNAVAILABLE && shared_->connect_failure ? shared_->connect_failure() : Error();
  const std::scoped_lock lock(mutex_);
  if (reason_) return *reason_;
  if (connecting && !opened_) {
    Error error = connecting;
    error.message = shared_->peer + ": " + error.message;
    return error;
  }
  if (!status.ok()) return from_status(status, opened_, shared_->peer);
  return finishing_ ? Error{} : Error(errc::stream_closed, shared_->peer + " ended the stream");
}

void ClientLink::close(Error error) {
  publisher().closed(std::move(error), retry_after_);
  shared_->links->remove(this);
}

}  // namespace sharingbus::transport::internal
