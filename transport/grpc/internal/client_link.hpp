#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/status.h>

#include "bus/base/timer.hpp"
#include "transport/grpc/internal/channel_pool.hpp"
#include "transport/grpc/internal/link_core.hpp"
#include "transport/grpc/internal/link_set.hpp"

namespace sharingbus::transport::internal {

/// A dialled stream. Its first pin goes when a read or the opening failed, or when this side cancels.
class ClientLink final : public LinkCore {
 public:
  /// What all streams of a dialer share.
  struct Shared {
    Shared(std::string peer_text, std::string method_path, std::string fallback_path,
           std::function<Error()> why_no_connection, TimerService& timer_service)
        : peer(std::move(peer_text)),
          method(std::move(method_path)),
          fallback_method(fallback_path.empty() ? method : std::move(fallback_path)),
          connect_failure(std::move(why_no_connection)),
          timers(timer_service) {}

    /// The endpoint as text.
    const std::string peer;
    const std::string method;
    /// The same as `method` when there is none.
    const std::string fallback_method;
    /// The next stream takes the fallback.
    std::atomic<bool> fall_back{false};
    /// `GrpcDialerOptions::connect_failure`; may be null.
    const std::function<Error()> connect_failure;
    TimerService& timers;
    const std::shared_ptr<LinkSet> links = std::make_shared<LinkSet>();
  };

  ClientLink(std::shared_ptr<Shared> shared, StreamOptions options);

  /// Starts the call, `first_frame` with it. Once; `Shared::links` has the link.
  void launch(ChannelPool::Lease lease, std::string first_frame);
  /// Instead of `launch`: it never came to be.
  void fail(Error why);
  /// Tells of a channel that is `leaving`. Any thread.
  void look_for_leaving();

 private:
  void start_read(grpc::ByteBuffer* into, Completion* tag) override { stream_->Read(into, tag); }
  void start_write(const grpc::ByteBuffer& message, grpc::WriteOptions options, Completion* tag) override {
    stream_->Write(message, options, tag);
  }
  void end_writes() override;
  void break_off() override;
  void read_failed() override { end(); }
  void let_go() override;
  void over() override;
  void close(Error error) override;

  void start_completed(bool ok);
  void headers_completed(bool ok);

  void expire();
  void cancel_timer();
  [[nodiscard]] Error outcome(const grpc::Status& status) const;

  const std::shared_ptr<Shared> shared_;
  std::unique_ptr<grpc::ClientContext> context_ = std::make_unique<grpc::ClientContext>();
  /// In the call's memory, so it goes before the context does.
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  grpc::Status status_;
  CompletionOf<ClientLink, &ClientLink::start_completed> start_{*this};
  CompletionOf<ClientLink, &ClientLink::headers_completed> headers_{*this};
  ChannelPool::Lease lease_;
  /// Guarded by the mutex.
  TimerId timer_ = 0;
  bool has_call_ = false;
  bool took_fallback_ = false;
  /// What the server asked for in its last words.
  Duration retry_after_{};
  /// The lease is there, until the call is over.
  std::atomic<bool> started_{false};
};

}  // namespace sharingbus::transport::internal
