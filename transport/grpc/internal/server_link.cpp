#include "transport/grpc/internal/server_link.hpp"

#include <utility>

#include "transport/grpc/internal/status_mapping.hpp"

namespace sharingbus::transport::internal {

ServerLink::ServerLink(std::shared_ptr<LinkSet> links, std::unique_ptr<ServerCall> call, CompletionThread& thread,
                       StreamOptions options, std::uint64_t listener)
    : LinkCore(std::move(options), Reading::with_credit_only),
      links_(std::move(links)),
      call_(std::move(call)),
      listener_(listener),
      peer_(call_->context.peer()) {
  set_thread(thread);
  // From the beginning, as the link may be cancelled before it starts.
  call_->done.to = &done_;
  operation_started();
}

void ServerLink::start() {
  if (!try_pin()) return;
  operation_started();
  call_->stream.SendInitialMetadata(&headers_);
  unpin();
}

void ServerLink::headers_completed(bool ok) {
  if (ok) on_open(peer_, listener_);
  operation_ended();
}

void ServerLink::done_completed(bool /*ok*/) {
  if (call_->context.IsCancelled()) lose_peer();
  // What is left to come back gRPC keeps until the connection has written what it is writing, and so perhaps for long.
  if (forced_ && finished_) {
    told_ = shared_from_this();
    tell_end();
  }
  operation_ended();
}

void ServerLink::lose_peer() {
  {
    const std::scoped_lock lock(mutex_);
    if (!reason_) reason_ = Error(errc::stream_failed, peer_ + " reset the stream or vanished");
  }
  end();
}

void ServerLink::break_off() {
  hurry_end();
  end();
}

void ServerLink::hurry_end() {
  links_->expect_end(weak_from_this());
}

void ServerLink::force_end() {
  if (!try_start_operation()) return;
  forced_ = true;
  call_->context.TryCancel();
  operation_ended();
}

void ServerLink::let_go() {
  grpc::Status status;
  {
    const std::scoped_lock lock(mutex_);
    if (reason_) status = to_status(*reason_);
  }
  operation_started();
  call_->stream.Finish(status, end_only());
  finished_ = true;
  operation_ended();
}

void ServerLink::over() {
  const auto self = shared_from_this();
  // Here, not where the link is let go, which may be a thread that others wait for.
  call_.reset();
  if (std::exchange(told_, nullptr) == nullptr) tell_end();
}

void ServerLink::tell_end() {
  Error error;
  {
    const std::scoped_lock lock(mutex_);
    if (reason_) {
      error = *reason_;
    } else if (peer_finished_first_) {
      error = Error(errc::stream_closed, peer_ + " ended the stream");
    }
  }
  on_done(std::move(error), false);
}

void ServerLink::close(Error error) {
  // One that broke before its headers were out has been seen by nobody.
  if (opened_) publisher().closed(std::move(error));
  links_->remove(this);
}

}  // namespace sharingbus::transport::internal
