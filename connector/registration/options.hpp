#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "connector/connector.hpp"
#include "connector/identity.hpp"
#include "connector/registration/backoff.hpp"
#include "transport/endpoint.hpp"
#include "transport/stream_options.hpp"

namespace sharingbus::connector {

/// More requests of one registration than this can neither run nor wait.
inline constexpr std::size_t kMostRequests = 1'000'000;

/// How a runner keeps its registrations alive. Designated initialisers are the builder. (Spec 3, Options.)
struct RunnerOptions {
  /// Where the gateway is, `host:port` or a URL; `main` makes the dialer from it.
  std::string host = "localhost:50061";
  /// Streams on one shared channel (one connection) before the dialer opens another. At least 1.
  std::size_t max_streams_per_channel = 80;
  /// To an open stream. The register response may take three times as long, and at least 3 ms.
  Duration connect_timeout = std::chrono::seconds(10);
  /// Off: a registration ends with its first stream, or first failure to get one.
  bool reconnect = true;
  Duration reconnect_delay = std::chrono::milliseconds(500);
  Duration max_backoff = std::chrono::seconds(60);
  Duration reconnect_jitter = std::chrono::milliseconds(500);
  JitterMode jitter_mode = JitterMode::equal;
  /// Handlers of one registration that may run at once; 0 is taken as 1.
  std::size_t max_concurrent_requests = 100;
  /// Requests of one registration that may wait for their turn, at least 1; beyond that its stream is not read.
  std::size_t max_waiting_requests = 1024;
  /// What a request may take from its arrival, waiting included, unless its context says otherwise (`timeout_ms`); then
  /// it is answered as failed and its handler cancelled. 0: as long as it likes.
  Duration request_timeout{};
  Duration heartbeat_interval = std::chrono::seconds(30);
  /// By how much a heartbeat other than a stream's first may be early, but no more than a twentieth of the interval, so
  /// that it goes out with those of other registrations. 0: never.
  Duration heartbeat_slack = std::chrono::milliseconds(250);
  /// Without a heartbeat response for longer than this the stream is given up. Should exceed the interval.
  Duration heartbeat_timeout = std::chrono::seconds(45);
  /// A stream that lived this long, or answered a heartbeat, resets the attempt counter.
  Duration minimum_stream_life = std::chrono::seconds(10);
  /// What running requests get at shutdown before they are cancelled.
  Duration drain = std::chrono::seconds(5);
  transport::StreamLimits limits{};
  LogSink log = stderr_log();

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
  /// The endpoint that `host` names. Errors: `invalid_endpoint`.
  [[nodiscard]] Result<transport::Endpoint> endpoint() const { return transport::parse_endpoint(host); }
};

/// One connector instance as the gateway sees it; everything else is the runner's.
struct RegistrationConfig {
  std::string tenant = "default";
  /// Names the registration in its key; on the wire stands the connector's own type.
  std::string type{};
  std::string instance{};
  /// JWT; empty: anonymous.
  std::string auth_token{};
  /// Empty: the sanitised instance.
  std::string display_name{};
  std::vector<std::string> tags{};
  /// Merged with the runtime's own facts (`sdk.…`); these keys win.
  Context metadata{};
  /// Overrides the runner's limit.
  std::optional<std::size_t> max_concurrent_requests{};
};

/// A connector and who it is.
struct Registration {
  RegistrationConfig config{};
  std::shared_ptr<Connector> connector{};

  /// The raw triple of the config: what identifies a registration within a runner.
  [[nodiscard]] Address key() const { return {config.tenant, config.type, config.instance}; }
  /// The sanitised triple with the connector's own type: what stands on the wire and in routing.
  [[nodiscard]] Address address() const {
    return sanitized({config.tenant, connector->connector_type(), config.instance});
  }
};

}  // namespace sharingbus::connector
