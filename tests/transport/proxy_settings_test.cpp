// Which proxy is taken for what (protocol-connector §2.4).
#include "transport/proxy/proxy_settings.hpp"

#include <cstdlib>
#include <utility>

#include <gtest/gtest.h>

namespace sharingbus::test {
namespace {

using namespace transport;

const Endpoint kPlain{"grpc", "gateway.example", 50061};
const Endpoint kSecure{"grpcs", "gateway.example", 443};

/// As the variables are named: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY.
ProxySettings variables(std::string https, std::string http, std::string all = {}, std::string no = {}) {
  return {{}, std::move(https), std::move(http), std::move(all), std::move(no)};
}

std::string chosen(const Endpoint& target, const ProxySettings& settings) {
  const auto choice = choose_proxy(target, settings);
  if (!choice) return "error: " + choice.error().message;
  if (!choice->warning.empty()) return "warning: " + choice->warning;
  return choice->proxy ? to_string(*choice->proxy) : "direct";
}

TEST(Proxy, Url_SchemeHostPortUser_AreRead) {
  const auto plain = parse_proxy("  http://proxy.example  ");
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(*plain, (Proxy{false, "proxy.example", 3128, "", ""}));
  const auto full = parse_proxy("HTTPS://some%20one:p:w@[::1]:8443/ignored");
  ASSERT_TRUE(full.has_value()) << full.error().message;
  EXPECT_EQ(*full, (Proxy{true, "::1", 8443, "some%20one", "p:w"}));
  EXPECT_EQ(to_string(*full), "https://[::1]:8443");
}

TEST(Proxy, UrlThatIsNone_IsRefusedWithoutItsPassword) {
  for (const char* text : {"", "proxy.example:3128", "socks5://u:secret@h:1", "http://u:secret@", "http://u:secret@h:0",
                           "http://u:secret@h:99999", "http://u:secret@h h"}) {
    const auto proxy = parse_proxy(text);
    ASSERT_FALSE(proxy.has_value()) << text;
    EXPECT_TRUE(proxy.error().is(errc::invalid_endpoint));
    EXPECT_EQ(proxy.error().message.find("secret"), std::string::npos) << proxy.error().message;
  }
}

TEST(Proxy, NothingSet_GoesDirect) {
  EXPECT_EQ(chosen(kPlain, {}), "direct");
  EXPECT_EQ(chosen(kSecure, variables("", "  ")), "direct");
}

TEST(Proxy, Precedence_IsThatOfTheSpec) {
  ProxySettings settings = variables("http://s", "http://h", "http://a");
  EXPECT_EQ(chosen(kSecure, settings), "http://s:3128");
  EXPECT_EQ(chosen(kPlain, settings), "http://h:3128");
  settings.https_proxy.clear();
  EXPECT_EQ(chosen(kSecure, settings), "http://h:3128");
  settings.http_proxy.clear();
  EXPECT_EQ(chosen(kSecure, settings), "http://a:3128");
  EXPECT_EQ(chosen(kPlain, settings), "http://a:3128");
  settings.proxy = "https://chosen:1";
  EXPECT_EQ(chosen(kPlain, settings), "https://chosen:1");
  settings.no_proxy = "*";
  EXPECT_EQ(chosen(kPlain, settings), "direct");
}

TEST(Proxy, NoProxy_ExactSuffixWildcardAndPort) {
  const auto direct = [](const char* no_proxy, const char* host) {
    return chosen({"grpc", host, 1}, variables("", "http://p", "", no_proxy)) == "direct";
  };
  EXPECT_TRUE(direct("other, GATEWAY.example ", "gateway.example"));
  EXPECT_TRUE(direct("example", "gateway.example"));
  EXPECT_TRUE(direct(".example", "gateway.example"));
  EXPECT_TRUE(direct("*.example", "gateway.Example"));
  EXPECT_TRUE(direct("gateway.example:443", "gateway.example"));
  EXPECT_TRUE(direct("[::1]:443", "::1"));
  EXPECT_TRUE(direct("::1", "::1"));
  EXPECT_FALSE(direct("ample", "gateway.example"));
  EXPECT_FALSE(direct("gateway.example.org", "gateway.example"));
  EXPECT_FALSE(direct("", "gateway.example"));
  EXPECT_FALSE(direct(",.,", "gateway.example"));
  EXPECT_FALSE(direct("127.0.0.0/8", "127.0.0.1")) << "networks are no hosts";
  EXPECT_FALSE(direct("gateway.example", "localhost")) << "localhost is not exempt by itself";
}

TEST(Proxy, VariableThatIsNoProxy_IsIgnoredWithAWarning) {
  EXPECT_EQ(chosen(kPlain, variables("", "socks5://h:1", "http://a")),
            "warning: HTTP_PROXY is ignored: proxy: unknown scheme 'socks5'; expected http or https");
}

TEST(Proxy, ChosenOneThatIsNoProxy_IsAnError) {
  EXPECT_EQ(chosen(kPlain, {"ftp://h", {}, {}, {}, {}}), "error: proxy: unknown scheme 'ftp'; expected http or https");
}

TEST(Proxy, Environment_UpperCaseWinsAndBlankIsUnset) {
  for (const char* name : {"STUDIO_PROXY", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY",
                           "all_proxy", "NO_PROXY", "no_proxy"})
    unsetenv(name);
  setenv("HTTP_PROXY", "http://upper", 1);
  setenv("http_proxy", "http://lower", 1);
  setenv("ALL_PROXY", "   ", 1);
  setenv("all_proxy", "http://all", 1);
  setenv("STUDIO_PROXY", "http://studio", 1);
  const ProxySettings settings = ProxySettings::from_environment();
  EXPECT_EQ(settings.proxy, "http://studio");
  EXPECT_EQ(settings.http_proxy, "http://upper");
  EXPECT_EQ(settings.https_proxy, "");
  EXPECT_EQ(settings.all_proxy, "http://all");
  for (const char* name : {"STUDIO_PROXY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"})
    unsetenv(name);
}

}  // namespace
}  // namespace sharingbus::test
