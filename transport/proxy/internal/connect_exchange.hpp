#pragma once

#include <cstddef>
#include <string>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

#include "bus/base/result.hpp"
#include "transport/endpoint.hpp"
#include "transport/proxy/proxy_settings.hpp"

namespace sharingbus::transport::internal {

/// What asks `proxy` for a connection to `target`; authorisation goes along at once when there is any.
[[nodiscard]] std::string connect_request(const Proxy& proxy, const Endpoint& target);

/// The proxy's answer, piece by piece.
class ConnectReply {
 public:
  static constexpr std::size_t kMaxBytes = 8 * 1024;

  ConnectReply();
  /// Takes what has come and was not yet taken; says how much of it belongs to the answer. What follows is the
  /// target's. Errors: `rejected` (no HTTP, too large).
  [[nodiscard]] Result<std::size_t> put(boost::asio::const_buffer bytes);
  [[nodiscard]] bool complete() const { return parser_.is_header_done(); }
  /// Once complete: success, `unauthenticated` (407) or `rejected`, with the proxy's own words.
  [[nodiscard]] Error outcome() const;

 private:
  boost::beast::http::response_parser<boost::beast::http::empty_body> parser_;
};

/// Asks, and waits for the answer. What the target has said by then is handed to `inside`.
template <class Stream, class Inside>
boost::asio::awaitable<Error, typename Stream::executor_type> exchange_connect(Stream& stream, Inside& inside,
                                                                               const Proxy& proxy,
                                                                               const Endpoint& target) {
  constexpr auto kAwait = boost::asio::as_tuple(boost::asio::use_awaitable_t<typename Stream::executor_type>());
  const auto failed = [](const std::string& why) { return Error(errc::rejected, "Proxy CONNECT failed: " + why); };
  const std::string request = connect_request(proxy, target);
  const auto [write_error, sent] = co_await boost::asio::async_write(stream, boost::asio::buffer(request), kAwait);
  if (write_error) co_return failed(write_error.message());
  ConnectReply reply;
  boost::beast::flat_buffer buffer(2 * ConnectReply::kMaxBytes);
  while (!reply.complete()) {
    const auto [read_error, count] = co_await stream.async_read_some(buffer.prepare(ConnectReply::kMaxBytes), kAwait);
    if (read_error) co_return failed("the proxy closed the connection");
    buffer.commit(count);
    const auto used = reply.put(buffer.cdata());
    if (!used) co_return used.error();
    buffer.consume(*used);
    if (!reply.complete() && buffer.size() >= ConnectReply::kMaxBytes) co_return failed("the answer is too large");
  }
  if (Error refused = reply.outcome()) co_return refused;
  if (buffer.size() != 0) co_await boost::asio::async_write(inside, buffer.cdata(), kAwait);
  co_return Error();
}

}  // namespace sharingbus::transport::internal
