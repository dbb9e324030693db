#include "transport/proxy/internal/connect_exchange.hpp"

#include <algorithm>

#include <absl/strings/escaping.h>
#include <boost/beast/http/error.hpp>

namespace sharingbus::transport::internal {
namespace {

namespace http = boost::beast::http;

/// The proxy's words, without what could break a log line.
std::string printable(boost::beast::string_view text) {
  std::string result(text.substr(0, 200));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c < ' ' || c == '\x7f'; }, '?');
  return result;
}

}  // namespace

std::string connect_request(const Proxy& proxy, const Endpoint& target) {
  const std::string where = authority(target);
  std::string request = "CONNECT " + where + " HTTP/1.1\r\nHost: " + where + "\r\n";
  if (!proxy.user.empty() || !proxy.password.empty()) {
    request += "Proxy-Authorization: Basic " + absl::Base64Escape(proxy.user + ":" + proxy.password) + "\r\n";
  }
  return request + "\r\n";
}

ConnectReply::ConnectReply() {
  parser_.header_limit(kMaxBytes);
  // Whatever the headers say of a body: what follows a yes is the tunnel (RFC 9110 §9.3.6).
  parser_.skip(true);
}

Result<std::size_t> ConnectReply::put(boost::asio::const_buffer bytes) {
  boost::system::error_code error;
  const std::size_t used = parser_.put(bytes, error);
  if (error == http::error::need_more) return used;
  if (error) return Error(errc::rejected, "Proxy CONNECT failed: the answer is no HTTP: " + error.message());
  return used;
}

Error ConnectReply::outcome() const {
  const auto& answer = parser_.get();
  const unsigned status = answer.result_int();
  if (status >= 200 && status < 300) return {};
  const std::string text = "status " + std::to_string(status) + " " + printable(answer.reason());
  if (status == 407) return {errc::unauthenticated, "Proxy authentication failed: " + text};
  return {errc::rejected, "Proxy CONNECT failed: " + text};
}

}  // namespace sharingbus::transport::internal
