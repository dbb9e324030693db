#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include "bus/base/timer.hpp"
#include "transport/grpc/internal/channel_pool.hpp"
#include "transport/grpc/internal/link_core.hpp"
#include "transport/grpc/internal/link_set.hpp"

namespace sharingbus::transport::internal {

/// A dialled stream. Its hold, which lets operations start outside reactions, is the first pin: it goes when a read or
/// the opening failed, or when this side cancels.
class ClientLink final : public LinkCore, public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
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

  void OnReadInitialMetadataDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override { on_written(ok); }
  void OnDone(const grpc::Status& status) override;

 private:
  void start_read(grpc::ByteBuffer* into) override { StartRead(into); }
  void start_write(const grpc::ByteBuffer* message, grpc::WriteOptions options) override {
    StartWrite(message, options);
  }
  void end_writes() override { StartWritesDone(); }
  void break_off() override;
  [[nodiscard]] grpc_call* call() override { return call_.load(std::memory_order_acquire); }
  void let_go() override;
  void close(Error error) override;

  void expire();
  void cancel_timer();
  [[nodiscard]] Error outcome(const grpc::Status& status) const;

  const std::shared_ptr<Shared> shared_;
  std::unique_ptr<grpc::ClientContext> context_ = std::make_unique<grpc::ClientContext>();
  ChannelPool::Lease lease_;
  /// Guarded by the mutex.
  TimerId timer_ = 0;
  bool has_call_ = false;
  bool took_fallback_ = false;
  /// What the server asked for in its last words.
  Duration retry_after_{};
  /// Set when the call has started.
  std::atomic<grpc_call*> call_{nullptr};
};

}  // namespace sharingbus::transport::internal
