#include "transport/grpc/internal/server_link.hpp"

#include <utility>

#include "transport/grpc/internal/status_mapping.hpp"

namespace sharingbus::transport::internal {

ServerLink::ServerLink(std::shared_ptr<LinkSet> links, grpc::GenericCallbackServerContext& context,
                       StreamOptions options, std::uint64_t listener)
    : LinkCore(std::move(options), Reading::with_credit_only),
      links_(std::move(links)),
      context_(context),
      listener_(listener),
      peer_(context.peer()) {}

void ServerLink::OnSendInitialMetadataDone(bool ok) {
  if (ok) on_open(peer_, listener_);
}

void ServerLink::OnReadDone(bool ok) {
  if (ok) return on_message();
  if (context_.IsCancelled()) return lose_peer();
  on_peer_finished();
}

void ServerLink::lose_peer() {
  {
    const std::scoped_lock lock(mutex_);
    if (!reason_) reason_ = Error(errc::stream_failed, peer_ + " reset the stream or vanished");
  }
  end();
}

void ServerLink::break_off() {
  links_->expect_end(weak_from_this());
  end();
}

void ServerLink::force_end() {
  const std::scoped_lock lock(mutex_);
  if (!done_) context_.TryCancel();
}

void ServerLink::let_go() {
  grpc::Status status;
  {
    const std::scoped_lock lock(mutex_);
    if (reason_) status = to_status(*reason_);
  }
  Finish(std::move(status));
}

void ServerLink::OnDone() {
  const auto self = shared_from_this();
  Error error;
  {
    const std::scoped_lock lock(mutex_);
    done_ = true;
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
