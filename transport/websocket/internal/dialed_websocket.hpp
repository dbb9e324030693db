#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "transport/endpoint.hpp"
#include "transport/tls/tls_context.hpp"
#include "transport/websocket/internal/websocket_link.hpp"
#include "transport/websocket/websocket_dialer.hpp"

namespace sharingbus::transport::internal {

/// What the links of one dialer share.
struct DialPlan {
  Endpoint endpoint;
  WebSocketDialerOptions options;
  /// Null without TLS.
  std::unique_ptr<TlsContext> tls;
};

/// A stream that dials: a name's addresses, a connection, TLS, the upgrade.
class DialedWebSocket final : public WebSocketLink {
 public:
  DialedWebSocket(const WebSocketContext& context, std::shared_ptr<const DialPlan> plan, StreamOptions options);

 private:
  using Address = boost::asio::ip::tcp::endpoint;

  void begin() override;
  void release() override;
  void on_opened() override { cancel_timer(deadline_timer_); }

  void resolve(const Endpoint& where);
  void try_next();
  void attempt_ended(const boost::system::error_code& error);
  void connected();
  void secure(std::shared_ptr<Wire> wire);
  void upgrade(const std::shared_ptr<Wire>& wire);
  void refuse(Error why, Duration retry_after = Duration::zero());

  const std::shared_ptr<const DialPlan> plan_;
  std::optional<boost::asio::ip::tcp::resolver> resolver_;
  /// Those to be tried, the last one first.
  std::vector<Address> addresses_;
  Address trying_;
  std::optional<TcpSocket> connecting_;
  /// Tells an attempt that was given up from the one that counts.
  std::uint64_t attempt_ = 0;
  TimePoint deadline_;
  TimerId deadline_timer_ = 0;
  TimerId attempt_timer_ = 0;
  std::shared_ptr<Wire> securing_;
};

}  // namespace sharingbus::transport::internal
