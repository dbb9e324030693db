#include "connector/gateway/internal/session_token.hpp"

#include <array>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <openssl/rand.h>

namespace sharingbus::connector::internal {

std::string base64url(std::string_view bytes) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  text.reserve((bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    count += 8;
    while (count >= 6) {
      count -= 6;
      text.push_back(kDigits[bits >> count & 63]);
    }
  }
  if (count != 0) text.push_back(kDigits[bits << (6 - count) & 63]);
  return text;
}

std::string make_session_token(std::string_view address, std::int64_t expires_unix_seconds) {
  std::array<unsigned char, 32> secret{};
  if (RAND_bytes(secret.data(), static_cast<int>(secret.size())) != 1) return {};
  const boost::json::object claims{{"exp", expires_unix_seconds}, {"sub", address}};
  return base64url(boost::json::serialize(claims)) + "." + base64url(std::string(secret.begin(), secret.end()));
}

}  // namespace sharingbus::connector::internal
