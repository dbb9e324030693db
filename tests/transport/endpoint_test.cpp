#include "transport/endpoint.hpp"

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "bus/base/error.hpp"

namespace sharingbus::transport {
namespace {

struct Good {
  std::string_view text;
  Endpoint endpoint;
};

TEST(Endpoint_Parse, EverySpelling_GivesSchemeHostAndPort) {
  const Good cases[]{
      {"grpc://example.org:7000", {"grpc", "example.org", 7000}},
      {"grpc://example.org", {"grpc", "example.org", 50061}},
      {"grpcs://example.org", {"grpcs", "example.org", 443}},
      {"ws://example.org", {"ws", "example.org", 80}},
      {"http://example.org", {"ws", "example.org", 80}},
      {"wss://example.org", {"wss", "example.org", 443}},
      {"https://example.org:8443", {"wss", "example.org", 8443}},
      {"memory://name", {"memory", "name", 0}},
      {"tcp://127.0.0.1:5000", {"tcp", "127.0.0.1", 5000}},
      {"tcp://127.0.0.1:0", {"tcp", "127.0.0.1", 0}},
      {"TCP://[::1]:7", {"tcp", "::1", 7}},
      {"unix:/run/my service.sock", {"unix", "/run/my service.sock", 0}},
      {"unix:///run/x.sock", {"unix", "/run/x.sock", 0}},
      {" UNIX:x.sock ", {"unix", "x.sock", 0}},
      {"unix:////x", {"unix", "/x", 0}},
      {"unix:/a%20b?c#d", {"unix", "/a%20b?c#d", 0}},
      {"localhost", {"grpc", "localhost", 50061}},
      {"localhost:50061", {"grpc", "localhost", 50061}},
      {"example.org:443", {"grpcs", "example.org", 443}},
      {"grpc://example.org:443", {"grpc", "example.org", 443}},
      {"GRPC://example.org", {"grpc", "example.org", 50061}},
      {"HTTPS://example.org", {"wss", "example.org", 443}},
      {"  ws://example.org:1 \t\n", {"ws", "example.org", 1}},
      {"ws://example.org:9/some/path?and=query#part", {"ws", "example.org", 9}},
      {"grpc://example.org:", {"grpc", "example.org", 50061}},
      {"grpc://127.0.0.1:0", {"grpc", "127.0.0.1", 0}},
      {"grpc://127.0.0.1:65535", {"grpc", "127.0.0.1", 65535}},
      {"grpc://[::1]:50061", {"grpc", "::1", 50061}},
      {"[::1]:443", {"grpcs", "::1", 443}},
      {"[2001:DB8::1]", {"grpc", "2001:db8::1", 50061}},
      {"my_host-1:5", {"grpc", "my_host-1", 5}},
  };
  for (const auto& [text, expected] : cases) {
    const auto endpoint = parse_endpoint(text);
    ASSERT_TRUE(endpoint.has_value()) << text << ": " << to_string(endpoint.error());
    EXPECT_EQ(*endpoint, expected) << text << " gave " << to_string(*endpoint);
  }
}

TEST(Endpoint_Parse, NoEndpoint_IsRefusedByName) {
  for (const std::string_view text : {"",
                                      "   ",
                                      "://",
                                      "grpc://",
                                      "grpc://:5",
                                      "grpc:///path",
                                      "ftp://example.org",
                                      "grpc://example.org:65536",
                                      "grpc://example.org:99999",
                                      "grpc://example.org:99999999999",
                                      "grpc://example.org:-1",
                                      "grpc://example.org:port",
                                      "example.org:port",
                                      "grpc://user@example.org",
                                      "grpc://user:secret@example.org",
                                      "grpc://exa mple.org",
                                      "grpc://a%20b",
                                      "grpc://a%3Ab",
                                      "grpc://[::1",
                                      "grpc://::1",
                                      "grpc://[v1.x]:1",
                                      "memory://",
                                      "memory://name:5",
                                      "tcp://host",
                                      "tcp://host:",
                                      "tcp://:5",
                                      "unix:",
                                      "unix://",
                                      "unix://host/path",
                                      "unix:/a\nb",
                                      "a:b:c"}) {
    const auto endpoint = parse_endpoint(text);
    ASSERT_FALSE(endpoint.has_value()) << text << " gave " << to_string(*endpoint);
    EXPECT_TRUE(endpoint.error().is(errc::invalid_endpoint)) << text;
    EXPECT_NE(endpoint.error().message.find("'" + std::string(text) + "'"), std::string::npos)
        << endpoint.error().message;
  }
}

TEST(Endpoint_Parse, UnixPath_HasAtMost107Bytes) {
  const std::string longest = "/" + std::string(106, 'x');
  const auto fits = parse_endpoint("unix:" + longest);
  ASSERT_TRUE(fits.has_value()) << to_string(fits.error());
  EXPECT_EQ(fits->host, longest);
  const auto longer = parse_endpoint("unix:" + longest + "x");
  ASSERT_FALSE(longer.has_value());
  EXPECT_TRUE(longer.error().is(errc::invalid_endpoint));
  EXPECT_NE(longer.error().message.find("108 bytes"), std::string::npos) << longer.error().message;
}

TEST(Endpoint_Parse, BytesThatAreNoText_AreRefused) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = "grpc://a" + std::string(1, static_cast<char>(byte)) + "b:5";
    const auto endpoint = parse_endpoint(text);
    if (endpoint.has_value()) {
      EXPECT_EQ(parse_endpoint(to_string(*endpoint)).value(), *endpoint) << byte;
    }
  }
}

TEST(Endpoint_Text, ReadsBack) {
  for (const Endpoint& endpoint :
       {Endpoint{"grpc", "example.org", 443}, Endpoint{"grpcs", "::1", 1}, Endpoint{"ws", "10.0.0.1", 80},
        Endpoint{"wss", "fe80::1", 0}, Endpoint{"memory", "name", 0}, Endpoint{"tcp", "::1", 5},
        Endpoint{"unix", "/run/x.sock", 0}, Endpoint{"unix", "relative", 0}}) {
    const auto again = parse_endpoint(to_string(endpoint));
    ASSERT_TRUE(again.has_value()) << to_string(again.error());
    EXPECT_EQ(*again, endpoint) << to_string(endpoint);
  }
}

TEST(Endpoint_Text, BracketsForIpv6AndNoPortForMemory) {
  EXPECT_EQ(authority({"grpc", "::1", 50061}), "[::1]:50061");
  EXPECT_EQ(to_string(Endpoint{"grpc", "::1", 50061}), "grpc://[::1]:50061");
  EXPECT_EQ(authority({"ws", "example.org", 0}), "example.org:0");
  EXPECT_EQ(to_string(Endpoint{"memory", "name", 0}), "memory://name");
  EXPECT_EQ(to_string(Endpoint{"unix", "/run/x.sock", 0}), "unix:/run/x.sock");
}

}  // namespace
}  // namespace sharingbus::transport
