// Options and status mapping: what needs no connection.
#include <memory>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/manual_clock.hpp"
#include "tests/support/text_frames.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"
#include "transport/grpc/internal/status_mapping.hpp"

namespace sharingbus::test {
namespace {

using namespace transport;

TEST(GrpcStatus, EveryErrc_HasAStatusAndTheTextIsKept) {
  using transport::internal::from_status;
  using transport::internal::to_status;
  for (int value = 1; value <= static_cast<int>(errc::internal); ++value) {
    const auto code = static_cast<errc>(value);
    const grpc::Status status = to_status(Error(code, "words"));
    EXPECT_EQ(status.ok(), code == errc::stream_closed) << to_string(code);
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNKNOWN) << to_string(code);
    if (status.ok()) continue;
    EXPECT_NE(from_status(status, true, "peer").message.find("words"), std::string::npos);
  }
  EXPECT_TRUE(to_status(Error()).ok());
  EXPECT_EQ(to_status(Error(errc::internal, std::string(5000, 'x'))).error_message().size(), 1024U);

  // Those that a peer has to tell apart survive the way.
  for (const errc code : {errc::unauthenticated, errc::unimplemented, errc::message_too_large, errc::capacity_exceeded,
                          errc::rejected, errc::malformed_frame, errc::protocol_violation, errc::already_exists,
                          errc::not_found, errc::timed_out, errc::stream_failed}) {
    EXPECT_TRUE(from_status(to_status(Error(code, "words")), true, "peer").is(code)) << to_string(code);
  }
  const grpc::Status gone(grpc::StatusCode::UNAVAILABLE, "gone");
  EXPECT_TRUE(from_status(gone, true, "peer").is(errc::stream_failed));
  EXPECT_TRUE(from_status(gone, false, "peer").is(errc::connection_refused));
  EXPECT_EQ(from_status(gone, false, "peer").message, "peer: gone");
  for (int value = 1; value <= 16; ++value) {
    const grpc::Status status(static_cast<grpc::StatusCode>(value), "");
    EXPECT_TRUE(from_status(status, true, "peer")) << value;
    EXPECT_FALSE(from_status(status, true, "peer").is(errc::cancelled)) << value;
  }
}

TEST(GrpcStatus, RetryPushback_IsMillisecondsOrNothing) {
  using transport::internal::pushback_of;
  EXPECT_EQ(pushback_of("1500"), std::chrono::milliseconds(1'500));
  EXPECT_EQ(pushback_of("0"), Duration::zero());
  for (const char* none : {"", "-1", "1.5", "1s", "99999999999999"})
    EXPECT_EQ(pushback_of(none), Duration::zero()) << none;
}

TEST(GrpcOptions, Validate_NamesTheField) {
  const auto dialer_error = [](auto change) {
    GrpcDialerOptions options;
    change(options);
    return to_string(options.validate().error());
  };
  EXPECT_TRUE(GrpcDialerOptions().validate().has_value());
  EXPECT_NE(dialer_error([](auto& o) { o.method = "no slash"; }).find("method"), std::string::npos);
  EXPECT_NE(dialer_error([](auto& o) { o.fallback_method = "no slash"; }).find("fallback_method"), std::string::npos);
  EXPECT_NE(dialer_error([](auto& o) { o.max_streams_per_channel = 0; }).find("max_streams_per_channel"),
            std::string::npos);
  EXPECT_NE(dialer_error([](auto& o) { o.keepalive_interval = {}; }).find("keepalive_interval"), std::string::npos);
  EXPECT_NE(dialer_error([](auto& o) { o.keepalive_timeout = {}; }).find("keepalive_timeout"), std::string::npos);
  EXPECT_NE(dialer_error([](auto& o) { o.max_receive_bytes = 0; }).find("max_receive_bytes"), std::string::npos);

  GrpcListenerOptions valid;
  valid.base.decoder = std::make_shared<TextFrameDecoder>();
  EXPECT_TRUE(valid.validate().has_value());
  const auto listener_error = [&](auto change) {
    GrpcListenerOptions options = valid;
    change(options);
    return to_string(options.validate().error());
  };
  EXPECT_NE(listener_error([](auto& o) { o.base.decoder = nullptr; }).find("decoder"), std::string::npos);
  EXPECT_NE(listener_error([](auto& o) { o.base.max_links = 0; }).find("max_links"), std::string::npos);
  EXPECT_NE(listener_error([](auto& o) { o.base.limits.outbound_capacity = 0; }).find("outbound_capacity"),
            std::string::npos);
  EXPECT_NE(listener_error([](auto& o) { o.methods.clear(); }).find("methods"), std::string::npos);
  EXPECT_NE(listener_error([](auto& o) { o.max_concurrent_streams = 0; }).find("max_concurrent_streams"),
            std::string::npos);
  ManualTimerService timers;
  GrpcDialerOptions bad;
  bad.max_streams_per_channel = 0;
  EXPECT_THROW(GrpcDialer({"grpc", "127.0.0.1", 1}, bad, timers), std::invalid_argument);
  EXPECT_THROW(GrpcListener({"grpc", "127.0.0.1", 1}, GrpcListenerOptions()), std::invalid_argument);
}

}  // namespace
}  // namespace sharingbus::test
