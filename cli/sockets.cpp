#include "cli/sockets.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <string_view>
#include <sys/resource.h>
#include <utility>

#include "transport/grpc/grpc_dialer.hpp"
#include "transport/grpc/grpc_listener.hpp"
#include "transport/websocket/phoenix_protocol.hpp"
#include "transport/websocket/websocket_dialer.hpp"
#include "transport/websocket/websocket_listener.hpp"

namespace sharingbus::cli {
namespace {

using transport::Endpoint;
using transport::TlsOptions;

bool has_tls(const Endpoint& endpoint) {
  return endpoint.scheme == "grpcs" || endpoint.scheme == "wss";
}

bool is_websocket(const Endpoint& endpoint) {
  return endpoint.scheme == "ws" || endpoint.scheme == "wss";
}

struct TlsFlag {
  std::string_view field;
  const char* flag;
};
constexpr std::array kTlsFlags{TlsFlag{"ca_file", "--tls-ca"}, TlsFlag{"certificate_file", "--tls-cert"},
                               TlsFlag{"key_file", "--tls-key"}};

/// What TlsOptions says of a field, said of its flag.
void refuse_tls(const Result<>& valid) {
  if (valid) return;
  const std::string text = to_string(valid.error());
  for (const TlsFlag& each : kTlsFlags) {
    if (text.compare(0, each.field.size(), each.field) == 0) {
      const std::size_t words = text.find_first_not_of(' ', each.field.size());
      throw CLI::ValidationError(each.flag, words == std::string::npos ? text : text.substr(words));
    }
  }
  throw CLI::ValidationError("TLS", text);
}

/// A certificate and its key go together.
void refuse_half(const TlsOptions& tls) {
  if (tls.certificate_file.empty() == tls.key_file.empty()) return;
  const bool key = tls.key_file.empty();
  throw CLI::ValidationError(key ? "--tls-key" : "--tls-cert",
                             std::string("is missing beside ") + (key ? "--tls-cert" : "--tls-key"));
}

void add_dial_tls(CLI::App& app, TlsOptions& tls, const std::string& peer) {
  app.add_option("--tls-ca", tls.ca_file, "Who may have signed the " + peer + "'s certificate; else the system's roots")
      ->type_name("FILE");
  app.add_option("--tls-cert", tls.certificate_file, "Our own certificate, for a " + peer + " that asks for one")
      ->type_name("FILE");
  app.add_option("--tls-key", tls.key_file, "Its private key")->type_name("FILE");
  app.add_flag("--insecure", tls.insecure, "Believe any certificate; whoever sits in between can read everything");
}

/// Refuses what is wrong, warns of what is dangerous.
void check_dial_tls(const TlsOptions& tls, const Endpoint& endpoint, const LogSink& log) {
  refuse_half(tls);
  refuse_tls(tls.validate_for_dialer());
  if (!tls.insecure) return;
  log(LogLevel::warn, "certificates are not checked: whoever sits between us and " + transport::authority(endpoint) +
                          " can read and change everything");
}

/// TLS flags for an endpoint that has none.
void refuse_tls_flags(const std::string& flag, const Endpoint& endpoint, const std::string& schemes) {
  throw CLI::ValidationError(flag, transport::to_string(endpoint) +
                                       " has no TLS, so --tls-ca, --tls-cert, --tls-key and --insecure mean nothing; "
                                       "write " +
                                       schemes);
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool truthy(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text == "1" || text == "true";
}

}  // namespace

GatewayDialer::GatewayDialer(Runtime& runtime, const Endpoint& endpoint, const DialSettings& settings)
    : runtime_(runtime), endpoint_(endpoint), settings_(settings) {
  if (!settings_.proxy) return;
  transport::ConnectTunnelOptions options;
  options.proxy = *settings_.proxy;
  options.target = endpoint_;
  options.proxy_tls.ca_file = settings_.tls.ca_file;
  options.proxy_tls.insecure = settings_.tls.insecure;
  options.connect_timeout = settings_.connect_timeout;
  door_ = std::make_unique<transport::ConnectTunnel>(runtime_.executor(), runtime_.timers(), std::move(options));
}

GatewayDialer::~GatewayDialer() = default;

Result<> GatewayDialer::open() {
  std::optional<Endpoint> connect_to;
  std::function<Error()> connect_failure;
  if (door_) {
    auto opened = door_->listen();
    if (!opened) return opened.error();
    connect_to = *opened;
    connect_failure = [door = door_.get()] { return door->last_failure(); };
  }
  if (is_websocket(endpoint_)) {
    transport::WebSocketDialerOptions options;
    options.protocol = transport::make_phoenix_protocol();
    options.tls = settings_.tls;
    options.connect_to = std::move(connect_to);
    options.connect_failure = std::move(connect_failure);
    dialer_ = std::make_unique<transport::WebSocketDialer>(runtime_.executor(), runtime_.timers(), endpoint_,
                                                           std::move(options));
  } else {
    transport::GrpcDialerOptions options;
    options.max_streams_per_channel = settings_.max_streams_per_channel;
    options.max_receive_bytes = 2 * settings_.max_message_bytes;
    options.tls = settings_.tls;
    options.connect_to = std::move(connect_to);
    options.connect_failure = std::move(connect_failure);
    dialer_ = std::make_unique<transport::GrpcDialer>(endpoint_, std::move(options), runtime_.timers());
  }
  return {};
}

void GatewayDialer::close(std::function<void()> done) {
  dialer_->close([this, done = std::move(done)] {
    if (!door_) return done();
    door_->close(done);
  });
}

std::unique_ptr<transport::Listener> make_listener(Runtime& runtime, const Endpoint& endpoint,
                                                   transport::ListenerOptions base, const ListenSettings& settings,
                                                   const LogSink& log) {
  if (is_websocket(endpoint)) {
    transport::WebSocketListenerOptions options;
    options.base = std::move(base);
    options.protocol = transport::make_phoenix_protocol();
    if (has_tls(endpoint)) options.tls = settings.tls;
    options.handshake_timeout = settings.handshake_timeout;
    options.log = log;
    return std::make_unique<transport::WebSocketListener>(runtime.executor(), runtime.timers(), endpoint,
                                                          std::move(options));
  }
  transport::GrpcListenerOptions options;
  options.base = std::move(base);
  if (has_tls(endpoint)) options.tls = settings.tls;
  options.max_unused_connections = settings.max_unused_connections;
  options.handshake_timeout = settings.handshake_timeout;
  options.max_connection_idle = settings.max_connection_idle;
  return std::make_unique<transport::GrpcListener>(endpoint, std::move(options));
}

void raise_descriptor_limit() {
  constexpr rlim_t kEnough = 1 << 20;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = std::min(limit.rlim_max, kEnough);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = wanted;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void DialFlags::add(CLI::App& app) {
  add_dial_tls(app, tls_, "gateway");
  app.add_option("--proxy", proxy_,
                 "HTTP proxy to go through, http://[user:password@]host:port; else HTTPS_PROXY "
                 "and the like; NO_PROXY wins")
      ->type_name("URL");
}

void DialFlags::apply(const Endpoint& endpoint, const LogSink& log, DialSettings& settings) const {
  settings.tls = tls_;
  if (!has_tls(endpoint)) {
    if (tls_ != TlsOptions{}) refuse_tls_flags("url", endpoint, "grpcs:// or wss://");
  } else {
    // The reference's own variables, below ours.
    if (settings.tls.ca_file.empty()) settings.tls.ca_file = environment("MATRIX_TLS_CA_CERT");
    settings.tls.insecure = settings.tls.insecure || truthy(environment("MATRIX_TLS_INSECURE"));
    check_dial_tls(settings.tls, endpoint, log);
  }
  transport::ProxySettings proxies = transport::ProxySettings::from_environment();
  if (!proxy_.empty()) proxies.proxy = proxy_;
  auto choice = transport::choose_proxy(endpoint, proxies);
  if (!choice) throw CLI::ValidationError(proxy_.empty() ? "STUDIO_PROXY" : "--proxy", to_string(choice.error()));
  if (!choice->warning.empty()) log(LogLevel::warn, choice->warning);
  settings.proxy = choice->proxy;
  if (settings.proxy) log(LogLevel::info, "through the proxy " + transport::to_string(*settings.proxy));
}

void AgentTlsFlags::add(CLI::App& app) {
  add_dial_tls(app, tls_, "agent");
}

TlsOptions AgentTlsFlags::tls(const std::string& flag, const Endpoint& endpoint, const LogSink& log) const {
  if (has_tls(endpoint)) {
    check_dial_tls(tls_, endpoint, log);
  } else if (tls_ != TlsOptions{}) {
    refuse_tls_flags(flag, endpoint, "grpcs://");
  }
  return tls_;
}

void ServeFlags::add(CLI::App& app, const std::string& peers) {
  app.add_option("--tls-cert", tls_.certificate_file, "Certificate with its chain: everything is served over TLS")
      ->type_name("FILE");
  app.add_option("--tls-key", tls_.key_file, "Its private key")->type_name("FILE");
  app.add_option("--tls-ca,--tls-client-ca", tls_.ca_file, peers + " need a certificate that this vouches for")
      ->type_name("FILE");
}

transport::TlsOptions ServeFlags::tls() const {
  TlsOptions tls = tls_;
  tls.require_client_certificate = !tls.ca_file.empty();
  return tls;
}

void ServeFlags::check() const {
  if (!with_tls()) return;
  refuse_half(tls_);
  refuse_tls(tls().validate_for_listener());
}

}  // namespace sharingbus::cli
