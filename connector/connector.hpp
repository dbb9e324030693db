#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/json/value.hpp>

#include "bus/base/result.hpp"
#include "connector/payload.hpp"
#include "transport/messages/connector_messages.hpp"

namespace sharingbus::connector {

using ConnectorBehavior = transport::messages::ConnectorBehavior;
using TaskTypeSchema = transport::messages::TaskTypeSchema;

/// What a user implements: a service that answers requests. Override one of the `execute` forms, the shortest that has
/// what you need; each longer one calls the next shorter one by default, and the runner calls the longest.
///
/// Handlers are coroutines and may run many at once, on the executor that the runner was given (but see `may_block`),
/// up to the registration's concurrency limit. Whatever they throw becomes a failed reply. At the end of a drain, and
/// when the stream goes, they are cancelled by Asio's cancellation (`asio::this_coro::cancellation_state`).
class Connector {
 public:
  virtual ~Connector() = default;

  /// Its type in the address; sanitised on the wire.
  [[nodiscard]] virtual std::string connector_type() const = 0;
  [[nodiscard]] virtual std::string version() const { return "1.0.0"; }

  /// The short form: a JSON value, and the capability that was asked for, if any.
  virtual boost::asio::awaitable<Result<boost::json::value>> execute(boost::json::value payload,
                                                                     std::optional<std::string> capability);
  /// The same, with the request's context.
  virtual boost::asio::awaitable<Result<boost::json::value>> execute_with_context(boost::json::value payload,
                                                                                  std::optional<std::string> capability,
                                                                                  Context context);
  /// The raw form: bytes in any encoding. Its default decodes JSON, RAW_BYTES and JSON_LINES, and answers JSON.
  virtual boost::asio::awaitable<Result<Payload>> execute_payload(Payload payload,
                                                                  std::optional<std::string> capability,
                                                                  Context context);

  /// Whether handlers may hold up their thread, by blocking or by long work. When not, the thread that has read a
  /// request begins its handler, which saves the hand-over to the executor; that may be a thread of the transport's.
  /// After its first wait (`co_await`) a handler goes on on the executor. Asked once.
  [[nodiscard]] virtual bool may_block() const { return true; }

  // What it says of itself when it registers.
  [[nodiscard]] virtual std::vector<ConnectorBehavior> behaviors() const {
    return {ConnectorBehavior::request_response};
  }
  [[nodiscard]] virtual std::vector<PayloadEncoding> supported_encodings() const {
    return {PayloadEncoding::json, PayloadEncoding::raw_bytes};
  }
  [[nodiscard]] virtual Context metadata() const { return {}; }
  [[nodiscard]] virtual std::vector<TaskTypeSchema> capabilities() const { return {}; }
};

/// A connector from a function, for those that need no class.
using Handler =
    std::function<boost::asio::awaitable<Result<boost::json::value>>(boost::json::value, std::optional<std::string>)>;
[[nodiscard]] std::shared_ptr<Connector> make_connector(std::string type, Handler handler);

}  // namespace sharingbus::connector
