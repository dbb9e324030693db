#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bus/filter.hpp"
#include "tests/bus/filter_samples.hpp"

namespace sharingbus {
namespace {

using test::FilterSampler;

constexpr const char* kUid = "00000000-0000-0000-0000-00000000000a";

std::string error_of(std::string_view text) {
  const auto parsed = Filter::parse(text);
  if (parsed.has_value()) return "parsed as: " + parsed->text();
  EXPECT_TRUE(parsed.error().is(errc::invalid_argument));
  return parsed.error().message;
}

std::string text_of(std::string_view text) {
  const auto parsed = Filter::parse(text);
  return parsed.has_value() ? parsed->text() : parsed.error().message;
}

struct Reading {
  std::string text;
  std::string canonical;
};

// What is read, and how it is written.
TEST(FilterText, Parse_ThenText_IsCanonical) {
  const std::string uid = std::string("connector_uid=") + kUid;
  const std::vector<Reading> table = {
      {"*", "*"},
      {" \t\r\n* ", "*"},
      {"(*)", "*"},
      {"not *", "not *"},
      {"not not *", "*"},
      {"* and kind=request", "kind=request"},
      {"* or kind=request", "*"},
      {"kind=request or not *", "kind=request"},
      {"kind=request and not *", "not *"},
      {"kind = request", "kind=request"},
      {"kind=\"request\"", "kind=request"},
      {"kind!=request", "not kind=request"},
      {"not kind!=request", "kind=request"},
      {"not not not kind=request", "not kind=request"},
      {"kind=agent or kind=request and origin=user", "kind=agent or kind=request and origin=user"},
      {"(kind=agent or kind=request) and origin=user", "(kind=agent or kind=request) and origin=user"},
      {"not kind=agent and origin=user", "not kind=agent and origin=user"},
      {"not (kind=agent and origin=user)", "not (kind=agent and origin=user)"},
      {"kind=agent or (kind=request and origin=user)", "kind=agent or kind=request and origin=user"},
      {"kind=agent and (kind=request and origin=user)", "kind=agent and kind=request and origin=user"},
      {"(((kind=agent)))", "kind=agent"},
      {"connector_uid=0000000000000000000000000000000A", uid},
      {"connector_uid=\"{00000000-0000-0000-0000-00000000000A}\"", uid},
      {"connector_uid=\"URN:UUID:00000000-0000-0000-0000-00000000000a\"", uid},
      {std::string("scroll_id=") + kUid, std::string("scroll_id=") + kUid},
      {"source=18446744073709551615", "source=18446744073709551615"},
      {"source=007", "source=7"},
      {"type=test_apple", "type=test_apple"},
      {"type=\"my type\"", "type=\"my type\""},
      {"address=acme.*.>", "address=acme.*.>"},
      {"address=\"acme.*.>\"", "address=acme.*.>"},
      {"address=\"acme.e cho\"", "address=\"acme.e cho\""},
      {"connector_id=and and native_session_id=not", "connector_id=and and native_session_id=not"},
      {"connector_id=*", "connector_id=*"},
      {"connector_id=\"\"", "connector_id=\"\""},
      {R"(connector_id="a\"b\\c\x0A\x7f\x00\x41")", R"(connector_id="a\"b\\c\x0a\x7f\x00A")"},
      {"connector_id=\"\xc3\xa9\xff\"", "connector_id=\"\xc3\xa9\xff\""},
      // The example of the spec.
      {"kind=request and " + uid + " and not (origin=gateway or address=\"acme.*.>\")",
       "kind=request and " + uid + " and not (origin=gateway or address=acme.*.>)"},
  };
  for (const Reading& reading : table) {
    EXPECT_EQ(text_of(reading.text), reading.canonical) << reading.text;
    EXPECT_EQ(text_of(reading.canonical), reading.canonical);
  }
}

TEST(FilterText, ParseOfStar_IsAll) {
  EXPECT_TRUE(Filter::parse("*")->is_all());
  EXPECT_FALSE(Filter::parse("not *")->is_all());
}

struct Mistake {
  std::string text;
  std::string error;
};

TEST(FilterText, ParseError_NamesTheColumnAndWhatIsWrong) {
  const std::vector<Mistake> table = {
      {"", "column 1: expected a field, not, ( or *, found the end"},
      {"   ", "column 4: expected a field, not, ( or *, found the end"},
      {"kind", "column 5: expected = or != after kind, found the end"},
      {"kind request", "column 6: expected = or != after kind, found \"request\""},
      {"kind=", "column 6: expected a value, found the end"},
      {"kind=(", "column 6: expected a value, found ("},
      {"kind==request", "column 6: expected a value, found ="},
      {"kind!request", "column 5: ! must be followed by ="},
      {"kind=reqest",
       "column 6: unknown kind \"reqest\"; kinds are system, session_lifecycle, connector_lifecycle, registration, "
       "request, response, stream, heartbeat, metrics, agent, service, custom"},
      {"kind=REQUEST and *",
       "column 6: unknown kind \"REQUEST\"; kinds are system, session_lifecycle, connector_lifecycle, registration, "
       "request, response, stream, heartbeat, metrics, agent, service, custom"},
      {"not origin=nobody",
       "column 12: unknown origin \"nobody\"; origins are runtime, transport, connector, gateway, agent, service, "
       "user"},
      {"color=red",
       "column 1: unknown field \"color\"; fields are scroll_id, connector_uid, connector_id, native_session_id, "
       "address, kind, type, origin, source"},
      {"kind=request AND origin=user", "column 14: expected and, or or the end, found \"AND\""},
      {"kind=request and", "column 17: expected a field, not, ( or *, found the end"},
      {"kind=request kind=agent", "column 14: expected and, or or the end, found \"kind\""},
      {"kind=request)", "column 13: expected and, or or the end, found )"},
      {"(kind=request", "column 14: expected and, or or ), found the end"},
      {"(kind=request origin", "column 15: expected and, or or ), found \"origin\""},
      {"()", "column 2: expected a field, not, ( or *, found )"},
      {"not", "column 4: expected a field, not, ( or *, found the end"},
      {"and",
       "column 1: unknown field \"and\"; fields are scroll_id, connector_uid, connector_id, native_session_id, "
       "address, kind, type, origin, source"},
      {"\"kind\"=request", "column 1: expected a field, not, ( or *, found \"kind\""},
      {"connector_uid=12", "column 15: \"12\" is no UUID"},
      {"source=-1", "column 8: \"-1\" is no source, a decimal number below 2^64"},
      {"source=18446744073709551616", "column 8: \"18446744073709551616\" is no source, a decimal number below 2^64"},
      {"source=\"\"", "column 8: \"\" is no source, a decimal number below 2^64"},
      {"address=a.>.b", "column 9: > must be the last token of an address pattern"},
      {"address=a..b", "column 9: an address pattern has no empty tokens"},
      {"address=\"\"", "column 9: an address pattern has no empty tokens"},
      {"address=a*", "column 9: a wildcard in an address pattern is a token of its own"},
      {"connector_id=\"abc", "column 14: this quote is not closed"},
      {R"(connector_id="a\n")", R"(column 16: the escapes are \", \\ and \xNN)"},
      {R"(connector_id="a\x1g")", R"(column 16: the escapes are \", \\ and \xNN)"},
      {R"(connector_id="a\)", R"(column 16: the escapes are \", \\ and \xNN)"},
      {"connector_id=a/b", "column 15: a value with such a character must be in double quotes"},
      {"connector_id=\xc3\xa9", "column 14: a value with such a character must be in double quotes"},
      {"kind=request\n and \x01", "column 19: a value with such a character must be in double quotes"},
      {"predicate(\"mine\")", "column 1: a predicate cannot be read from text; make it with Filter::where"},
      {"type=\"\n\" type", "column 10: expected and, or or the end, found \"type\""},
      {"source=\"\n\"", "column 8: \"\\x0a\" is no source, a decimal number below 2^64"},
  };
  for (const Mistake& mistake : table)
    EXPECT_EQ(error_of(mistake.text), "filter: " + mistake.error) << mistake.text;
}

TEST(FilterText, ParseError_ShowsLongWordsCutAtACharacter) {
  const std::string word = "k" + std::string(100, 'x');
  EXPECT_EQ(error_of("source=" + word).find("column 8: \"k" + std::string(39, 'x') + "\"… is no source"), 8u);
  std::string accents = "x";
  for (int i = 0; i < 50; ++i)
    accents += "\xc3\xa9";
  EXPECT_EQ(error_of("source=\"" + accents + "\"").find("column 8: \"x" + accents.substr(1, 38) + "\"… is"), 8u);
}

std::string repeated(const std::string& text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i)
    all += text;
  return all;
}

TEST(FilterText, Bounds_AreErrorsWithAColumn) {
  const std::string term = "kind=agent";
  const std::string terms = repeated(term + " and ", Filter::kTermsMax - 1);
  EXPECT_EQ(text_of(terms + term), terms + term);
  EXPECT_EQ(error_of(terms + "kind=agent or origin=user"),
            "filter: column " + std::to_string(terms.size() + 15) + ": more than 1024 terms");

  const std::size_t depth = Filter::kDepthMax;
  EXPECT_EQ(text_of(repeated("(", depth) + term + repeated(")", depth)), term);
  EXPECT_EQ(error_of(repeated("(", depth + 1) + term + repeated(")", depth + 1)),
            "filter: column 65: more than 64 parentheses and not within each other");
  EXPECT_EQ(text_of(repeated("not ", depth) + term), term);
  EXPECT_EQ(error_of(repeated("not ", depth + 1) + term),
            "filter: column 257: more than 64 parentheses and not within each other");
  EXPECT_EQ(error_of(repeated("(", 60'000)), "filter: column 65: more than 64 parentheses and not within each other");
  // Each pair of parentheses holds two levels here.
  const std::string deep = repeated("(kind=agent or kind=agent and ", depth) + term + repeated(")", depth);
  EXPECT_EQ(error_of(deep).substr(0, 15), "filter: column ");
  EXPECT_NE(error_of(deep).find("nested deeper than 64"), std::string::npos);

  EXPECT_EQ(error_of(std::string(Filter::kTextBytesMax + 1, ' ')), "filter: column 65537: longer than 65536 bytes");
  // It is written longer than it was read.
  const std::string raw(Filter::kTextBytesMax - 15, '\x01');
  EXPECT_EQ(error_of("connector_id=\"" + raw + "\""), "filter: column 14: longer than 65536 bytes as text");
}

TEST(FilterText, AnyBounds_OfAFilterMadeByCode_ReadBack) {
  Filter filter = Filter::kind(EventKind::agent);
  for (std::size_t level = 1; level < Filter::kDepthMax; ++level) {
    filter = level % 3 == 0   ? !filter
             : level % 3 == 1 ? filter && Filter::origin(EventOrigin::user)
                              : filter || Filter::source(level);
  }
  EXPECT_EQ(text_of(filter.text()), filter.text());
}

TEST(FilterText, Predicate_ShowsItsNameAndIsRefused) {
  const auto always = [](const BusEvent&) { return true; };
  EXPECT_EQ(Filter::where(always).text(), "predicate(\"\")");
  const Filter filter = Filter::kind(EventKind::agent) && Filter::where(always, "say \"hi\"");
  EXPECT_EQ(filter.text(), R"(kind=agent and predicate("say \"hi\""))");
  EXPECT_EQ(error_of(filter.text()),
            "filter: column 16: a predicate cannot be read from text; make it with Filter::where");
}

TEST(FilterText, Random_ReadsBackAsAnEquivalentFilterWithTheSameText) {
  for (std::uint32_t seed = 1; seed <= 1500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    FilterSampler sampler(seed);
    const auto sample = sampler.filter(6, false);
    const std::string text = sample.filter.text();
    const auto again = Filter::parse(text);
    ASSERT_TRUE(again.has_value()) << text << "\n" << again.error().message;
    ASSERT_EQ(again->text(), text);
    ASSERT_EQ(again->is_all(), sample.filter.is_all());
    for (int i = 0; i < 10; ++i) {
      const EventDraft event = sampler.event();
      ASSERT_EQ(again->matches(*event), sample.model(*event)) << text;
    }
  }
}

// Whatever stands in the text: an error or a filter, never a crash.
TEST(FilterText, RandomTokens_NeverCrash) {
  const std::vector<std::string> pieces = {"kind",    "=",      "!=", "request", "and",   "or",  "not",    "(",
                                           ")",       "*",      " ",  "\"",      "\\x41", "a.>", "!",      "\\",
                                           "address", "source", "9",  "\xff",    "type",  "\n",  "origin", "user"};
  std::size_t parsed_count = 0;
  for (std::uint32_t seed = 1; seed <= 20'000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    FilterSampler sampler(seed);
    std::string text;
    for (std::size_t i = 0, count = sampler.below(12); i < count; ++i)
      text += pieces[sampler.below(pieces.size())];
    const auto parsed = Filter::parse(text);
    if (!parsed.has_value()) {
      ASSERT_EQ(parsed.error().message.find('\n'), std::string::npos);
      continue;
    }
    ++parsed_count;
    ASSERT_EQ(text_of(parsed->text()), parsed->text()) << text;
  }
  EXPECT_GT(parsed_count, 0u);
}

}  // namespace
}  // namespace sharingbus
