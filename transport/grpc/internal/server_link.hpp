#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/support/status.h>

#include "transport/grpc/internal/link_core.hpp"
#include "transport/grpc/internal/link_set.hpp"

namespace sharingbus::transport::internal {

/// An accepted stream.
class ServerLink final : public LinkCore, public grpc::ServerGenericBidiReactor {
 public:
  /// `links` has the link, and is told when it has ended.
  ServerLink(std::shared_ptr<LinkSet> links, grpc::GenericCallbackServerContext& context, StreamOptions options,
             std::uint64_t listener);

  void OnSendInitialMetadataDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override { on_written(ok); }
  void OnCancel() override { lose_peer(); }
  void OnDone() override;
  void force_end() override;

 private:
  void start_read(grpc::ByteBuffer* into) override { StartRead(into); }
  void start_write(const grpc::ByteBuffer* message, grpc::WriteOptions options) override {
    StartWrite(message, options);
  }
  void end_writes() override { end(); }
  void break_off() override;
  [[nodiscard]] grpc_call* call() override { return context_.c_call(); }
  void let_go() override;
  void close(Error error) override;

  /// The peer or its connection is gone.
  void lose_peer();

  const std::shared_ptr<LinkSet> links_;
  grpc::GenericCallbackServerContext& context_;
  const std::uint64_t listener_;
  const std::string peer_;
  /// Guarded by the mutex: `context_` goes.
  bool done_ = false;
};

}  // namespace sharingbus::transport::internal
