#include "transport/websocket/internal/web_socket.hpp"

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/websocket/stream.hpp>

#include "transport/websocket/internal/close_codes.hpp"
#include "transport/websocket/internal/upgrade.hpp"

namespace sharingbus::transport::internal {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using boost::system::error_code;

/// What of the wire's own bytes may wait while the peer asks for more of them, by pings.
constexpr std::size_t kMostControlBytes = std::size_t{256} * 1024;
/// Message buffers above this are given back.
constexpr std::size_t kKeptBytes = std::size_t{16} * 1024;
constexpr std::size_t kRequestBytes = 2048;

/// A `Wire` as Beast wants a stream. Writing never blocks, as it only appends, so that Beast's blocking functions serve
/// for messages, without an asynchronous operation for each.
class WireStream {
 public:
  using executor_type = Strand;

  explicit WireStream(std::shared_ptr<Wire> wire) : wire_(std::move(wire)) {}

  [[nodiscard]] executor_type get_executor() const noexcept { return wire_->strand(); }
  [[nodiscard]] Wire& wire() const noexcept { return *wire_; }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [](auto handler, Wire* wire, asio::mutable_buffer into) { wire->read(into, std::move(handler)); }, token,
        wire_.get(), first_of(buffers));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    const std::size_t size = append(buffers);
    wire_->flush();
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [](auto handler, Wire* wire, std::size_t bytes) {
          wire->when_below(kMostControlBytes, bytes, std::move(handler));
        },
        token, wire_.get(), size);
  }
  /// What broke shows when reading; messages that the peer sent before must not be lost over it.
  template <class Buffers>
  std::size_t write_some(const Buffers& buffers, error_code& error) {
    error = {};
    return append(buffers);
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& buffers) {
    return append(buffers);
  }
  // Beast asks for the type to have these. Reading is asynchronous only.
  template <class Buffers>
  std::size_t read_some(const Buffers& /*buffers*/, error_code& error) {
    error = asio::error::would_block;
    return 0;
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& /*buffers*/) {
    return 0;
  }

 private:
  template <class Buffers>
  static asio::mutable_buffer first_of(const Buffers& buffers) {
    const auto end = asio::buffer_sequence_end(buffers);
    for (auto each = asio::buffer_sequence_begin(buffers); each != end; ++each) {
      const asio::mutable_buffer buffer(*each);
      if (buffer.size() != 0) return buffer;
    }
    return {};
  }
  template <class Buffers>
  std::size_t append(const Buffers& buffers) {
    std::size_t total = 0;
    const auto end = asio::buffer_sequence_end(buffers);
    for (auto each = asio::buffer_sequence_begin(buffers); each != end; ++each) {
      const asio::const_buffer buffer(*each);
      wire_->append(buffer.data(), buffer.size());
      total += buffer.size();
    }
    return total;
  }

  std::shared_ptr<Wire> wire_;
};

/// Found by Beast (ADL): how the connection below ends.
template <class Handler>
void async_teardown(beast::role_type /*role*/, WireStream& stream, Handler&& handler) {
  // Shared because std::function wants to be copyable; called once.
  auto shared = std::make_shared<std::decay_t<Handler>>(std::forward<Handler>(handler));
  stream.wire().shut_down([shared] { (*shared)(error_code()); });
}
[[maybe_unused]] void teardown(beast::role_type /*role*/, WireStream& /*stream*/, error_code& error) {
  error = {};
}
[[maybe_unused]] void beast_close_socket(WireStream& stream) {
  stream.wire().close(true);
}

Error broken(const error_code& error) {
  if (error == websocket::error::message_too_big || error == websocket::error::buffer_overflow) {
    return {errc::message_too_large, "a message from the peer exceeds the limit"};
  }
  if (error == websocket::error::bad_frame_payload) {
    return {errc::malformed_frame, "a text message from the peer is not UTF-8"};
  }
  if (error.category() == make_error_code(websocket::error::closed).category()) {
    return {errc::protocol_violation, "the peer broke the WebSocket protocol: " + error.message()};
  }
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated) {
    return {errc::stream_failed, "the peer closed the connection without a Close frame"};
  }
  return {errc::stream_failed, error.message()};
}

/// Of a client's handshake that failed.
Error not_upgraded(const error_code& error) {
  if (error == asio::error::eof || error == http::error::end_of_stream || error == asio::ssl::error::stream_truncated) {
    return {errc::connection_refused, "the server closed the connection instead of answering the upgrade request"};
  }
  if (error.category() == http::make_error_code(http::error::bad_version).category()) {
    return {errc::connection_refused, "the answer to the upgrade request is no HTTP: " + error.message()};
  }
  return {errc::connection_refused, error.message()};
}

}  // namespace

struct WebSocket::Beast {
  explicit Beast(std::shared_ptr<Wire> wire) : stream(std::move(wire)) {}

  [[nodiscard]] PeerEnd end_of(const error_code& error) const {
    PeerEnd end;
    if (error == asio::error::operation_aborted) {
      end.aborted = true;
    } else if (!error || error == websocket::error::closed) {
      const websocket::close_reason& why = stream.reason();
      end.code = why.code == websocket::close_code::none ? kNoCloseCode : why.code;
      end.reason.assign(why.reason.data(), why.reason.size());
    } else {
      end.error = broken(error);
    }
    return end;
  }

  websocket::stream<WireStream, false> stream;
  beast::flat_buffer message;
  /// While a handshake is under way.
  websocket::response_type response;
  std::optional<http::request_parser<http::empty_body>> request;
};

WebSocket::WebSocket(std::shared_ptr<Wire> wire, std::size_t max_message_bytes)
    : wire_(std::move(wire)), beast_(std::make_unique<Beast>(wire_)) {
  beast_->stream.read_message_max(max_message_bytes);
  beast_->stream.auto_fragment(false);
}

WebSocket::~WebSocket() = default;

void WebSocket::upgrade(const std::string& host, const std::string& target, std::function<void(UpgradeAnswer)> done) {
  beast_->stream.async_handshake(beast_->response, host, target,
                                 [self = shared_from_this(), done = std::move(done)](const error_code& error) {
                                   const websocket::response_type response = std::move(self->beast_->response);
                                   if (!error) return done({});
                                   if (error != websocket::error::upgrade_declined)
                                     return done({not_upgraded(error), {}});
                                   const auto retry_after = response[http::field::retry_after];
                                   done({refusal(static_cast<unsigned>(response.result_int()),
                                                 {response.reason().data(), response.reason().size()}, response.body()),
                                         parse_retry_after({retry_after.data(), retry_after.size()})});
                                 });
}

void WebSocket::read_request(std::size_t max_header_bytes, std::function<void(UpgradeRequest)> done) {
  auto& parser = beast_->request.emplace();
  parser.header_limit(static_cast<std::uint32_t>(max_header_bytes));
  beast_->message.max_size(max_header_bytes + kRequestBytes);
  http::async_read_header(
      beast_->stream.next_layer(), beast_->message, parser,
      [self = shared_from_this(), done = std::move(done)](const error_code& error, std::size_t /*size*/) {
        const auto& parsed = *self->beast_->request;
        UpgradeRequest request;
        const bool too_much = !error && self->beast_->message.size() != 0;
        self->beast_->message = beast::flat_buffer();
        if (error) {
          request.silent = error == http::error::end_of_stream || error == asio::error::connection_reset ||
                           error == asio::ssl::error::stream_truncated;
          request.error = {errc::malformed_frame, "no HTTP request: " + error.message()};
        } else if (!websocket::is_upgrade(parsed.get())) {
          request.error = {errc::unimplemented, "only WebSocket upgrades are served here"};
        } else if (too_much) {
          request.error = {errc::malformed_frame, "there are bytes behind the upgrade request"};
        } else {
          const auto target = parsed.get().target();
          request.target.assign(target.data(), target.size());
        }
        done(std::move(request));
      });
}

void WebSocket::accept(std::function<void(Error)> done) {
  beast_->stream.async_accept(
      beast_->request->get(), [self = shared_from_this(), done = std::move(done)](const error_code& error) {
        self->beast_->request.reset();
        done(error ? Error(errc::malformed_frame, "the upgrade request is not usable: " + error.message()) : Error());
      });
}

void WebSocket::read(std::shared_ptr<WebSocketEvents> to) {
  beast_->stream.async_read(
      beast_->message, [self = shared_from_this(), to = std::move(to)](const error_code& error, std::size_t /*size*/) {
        Beast& beast = *self->beast_;
        if (error) return to->on_end(beast.end_of(error));
        const auto bytes = beast.message.cdata();
        to->on_message({static_cast<const char*>(bytes.data()), bytes.size()}, beast.stream.got_binary());
      });
}

void WebSocket::release_message() {
  beast_->message.consume(beast_->message.size());
  if (beast_->message.capacity() > kKeptBytes) beast_->message.shrink_to_fit();
}

bool WebSocket::write(std::string_view bytes, bool binary) {
  error_code error;
  beast_->stream.binary(binary);
  beast_->stream.write(asio::const_buffer(bytes.data(), bytes.size()), error);
  return !error;
}

void WebSocket::ping() {
  error_code ignored;
  beast_->stream.ping({}, ignored);
  wire_->flush();
}

void WebSocket::close(std::uint16_t code, std::string_view reason, std::shared_ptr<WebSocketEvents> to) {
  // A control frame has room for 125 bytes.
  websocket::close_reason why(static_cast<websocket::close_code>(code));
  why.reason.assign(reason.data(), std::min(reason.size(), why.reason.max_size()));
  beast_->stream.async_close(why, [self = shared_from_this(), to = std::move(to)](const error_code& error) {
    to->on_closed(self->beast_->end_of(error));
  });
}

}  // namespace sharingbus::transport::internal
