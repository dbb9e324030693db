#pragma once

#include <memory>

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include "transport/tls/tls_options.hpp"

namespace sharingbus::transport::internal {

/// gRPC's form of `TlsOptions`. gRPC watches the files itself, once in `kReloadSeconds`.
[[nodiscard]] std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsOptions& options);
[[nodiscard]] std::shared_ptr<grpc::ServerCredentials> server_credentials(const TlsOptions& options);

inline constexpr unsigned kReloadSeconds = 1;

}  // namespace sharingbus::transport::internal
