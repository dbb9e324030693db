#include "bench/agents/house.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "transport/codec/agent_codec.hpp"
#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"
#include "transport/length_prefix_framing.hpp"
#include "transport/run_loop.hpp"
#include "transport/uds/uds_dialer.hpp"
#include "transport/uds/uds_listener.hpp"

namespace agents {

using namespace sharingbus;                             // NOLINT(google-build-using-namespace): a program
using namespace sharingbus::transport::agent_messages;  // NOLINT(google-build-using-namespace)

namespace {

class Handler final : public connector::AgentHandler {
 public:
  [[nodiscard]] bool may_block() const override { return false; }
  Answer request_headers(const RequestHeaders& event, const connector::ProxyInfo&) override {
    const bool malicious = std::any_of(event.headers.begin(), event.headers.end(),
                                       [](const Header& header) { return header.name == "x-malicious"; });
    if (malicious) co_return connector::block(403, "blocked");
    Response response;
    response.request_headers.push_back({HeaderOp::Action::set, "x-inspected", "true"});
    co_return response;
  }
};

}  // namespace

House::House(std::size_t threads, WaitStrategy wait)
    : threads_(threads),
      wait_(threads == 1 ? wait : WaitStrategy::block),
      context_(static_cast<int>(threads)),
      work_(context_.get_executor()),
      timers_(context_.get_executor()) {}

void House::run() {
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < threads_; ++i)
    others.emplace_back([this] { context_.run(); });
  transport::run(context_, wait_);
  for (std::thread& thread : others)
    thread.join();
  bus_.close();
  context_.restart();
  context_.poll();
}

void House::stop() {
  work_.reset();
  context_.stop();
}

std::shared_ptr<connector::AgentHandler> make_handler() {
  return std::make_shared<Handler>();
}

std::unique_ptr<transport::Listener> make_listener(House& house, connector::AgentServer& server,
                                                   const std::string& endpoint) {
  const auto where = transport::parse_endpoint(endpoint);
  if (!where) throw std::invalid_argument(to_string(where.error()));
  if (where->scheme == "grpc") {
    transport::GrpcListenerOptions options;
    options.base = server.make_listener_options(transport::AgentCarrier::grpc);
    options.methods = {transport::kAgentMethod, transport::kAgentMethodLegacy};
    return std::make_unique<transport::GrpcListener>(*where, std::move(options));
  }
  transport::UdsListenerOptions options;
  options.base = server.make_listener_options(transport::AgentCarrier::uds);
  options.framing = std::make_shared<transport::LengthPrefixFraming>();
  return std::make_unique<transport::UdsListener>(house.executor(), house.timers(), *where, std::move(options));
}

connector::AgentDialerFactory make_dialers(House& house) {
  return [&house](const connector::AgentEndpoint& where) -> Result<std::unique_ptr<transport::Dialer>> {
    if (where.carrier == transport::AgentCarrier::uds) {
      transport::UdsDialerOptions options;
      options.framing = std::make_shared<transport::LengthPrefixFraming>();
      return std::make_unique<transport::UdsDialer>(house.executor(), house.timers(), where.endpoint,
                                                    std::move(options));
    }
    transport::GrpcDialerOptions options;
    options.method = transport::kAgentMethod;
    options.fallback_method = transport::kAgentMethodLegacy;
    options.max_streams_per_channel = 1;
    options.max_receive_bytes = 2 * transport::kAgentUdsFrameBytesMax;
    return std::make_unique<transport::GrpcDialer>(where.endpoint, std::move(options), house.timers());
  };
}

RequestHeaders make_request(bool malicious) {
  RequestHeaders event;
  event.metadata.client_ip = "192.0.2.7";
  event.metadata.client_port = 40'000;
  event.metadata.protocol = "HTTP/1.1";
  event.metadata.timestamp_ms = 1'700'000'000'000;
  event.method = "GET";
  event.uri = "/index.html";
  event.http_version = "HTTP/1.1";
  event.headers = {{"host", "example.test"}, {"user-agent", "bench"}, {"accept", "*/*"}};
  if (malicious) event.headers.push_back({"x-malicious", "1"});
  return event;
}

}  // namespace agents
