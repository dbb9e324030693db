#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/support/status.h>

#include "transport/grpc/internal/link_core.hpp"
#include "transport/grpc/internal/link_set.hpp"

namespace sharingbus::transport::internal {

/// A call that a server has, or waits for.
struct ServerCall {
  ServerCall() { context.AsyncNotifyWhenDone(&done); }

  /// Given back when the call is over on the wire, whoever ended it. Set `to` before that.
  struct Done final : Completion {
    void completed(bool ok) override { to->completed(ok); }
    Completion* to = nullptr;
  };

  Done done;
  grpc::GenericServerContext context;
  grpc::GenericServerAsyncReaderWriter stream{&context};
};

/// An accepted stream.
class ServerLink final : public LinkCore {
 public:
  /// `links` has the link, and is told when it has ended.
  ServerLink(std::shared_ptr<LinkSet> links, std::unique_ptr<ServerCall> call, CompletionThread& thread,
             StreamOptions options, std::uint64_t listener);

  /// Instead of `start`: it was not admitted.
  [[nodiscard]] std::unique_ptr<ServerCall> give_up_call() noexcept { return std::move(call_); }
  /// Sends the headers, and so opens the stream. Once, on the thread.
  void start();
  void force_end() override;

 private:
  void start_read(grpc::ByteBuffer* into, Completion* tag) override { call_->stream.Read(into, tag); }
  void start_write(const grpc::ByteBuffer& message, grpc::WriteOptions options, Completion* tag) override {
    call_->stream.Write(message, options, tag);
  }
  void end_writes() override { end(); }
  void break_off() override;
  void hurry_end() override;
  void read_failed() override { on_peer_finished(); }
  void let_go() override;
  void over() override;
  void close(Error error) override;

  void headers_completed(bool ok);
  void done_completed(bool ok);

  /// The peer or its connection is gone.
  void lose_peer();
  void tell_end();

  const std::shared_ptr<LinkSet> links_;
  std::unique_ptr<ServerCall> call_;
  CompletionOf<ServerLink, &ServerLink::headers_completed> headers_{*this};
  CompletionOf<ServerLink, &ServerLink::done_completed> done_{*this};
  const std::uint64_t listener_;
  const std::string peer_;
  /// `force_end` was called.
  std::atomic<bool> forced_{false};
  /// Nothing is published any more but the end.
  std::atomic<bool> finished_{false};
  /// Itself, from when its end was told until the call is over, where that comes later.
  std::shared_ptr<LinkCore> told_;
};

}  // namespace sharingbus::transport::internal
