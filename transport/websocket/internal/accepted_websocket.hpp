#pragma once

#include <memory>
#include <string>

#include "transport/tls/tls_context.hpp"
#include "transport/websocket/internal/websocket_link.hpp"
#include "transport/websocket/websocket_listener.hpp"

namespace sharingbus::transport::internal {

/// What the links of one listener share.
struct ListenPlan {
  WebSocketListenerOptions options;
  /// Null without TLS.
  std::unique_ptr<TlsContext> tls;
};

/// A stream whose connection was accepted: TLS, the upgrade request, a place among those that are open.
class AcceptedWebSocket final : public WebSocketLink {
 public:
  AcceptedWebSocket(const WebSocketContext& context, std::shared_ptr<const ListenPlan> plan, StreamOptions options,
                    TcpSocket socket, std::string peer);

 private:
  void begin() override;
  void release() override;
  void on_opened() override { cancel_timer(deadline_timer_); }

  void secure();
  void read_request();
  void requested(UpgradeRequest request);
  void refuse(Error why);

  const std::shared_ptr<const ListenPlan> plan_;
  const std::string from_;
  std::shared_ptr<Wire> wire_;
  TimerId deadline_timer_ = 0;
};

}  // namespace sharingbus::transport::internal
