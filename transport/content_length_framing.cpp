#include "transport/content_length_framing.hpp"

#include <algorithm>
#include <charconv>

namespace sharingbus::transport {
namespace {

constexpr std::string_view kContentLength = "content-length";
/// More cannot be a length that means something, whatever the limit.
constexpr std::size_t kMaxDigits = 19;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// For messages: a beginning, and nothing that a terminal or log would take for more than text.
std::string quoted(std::string_view bytes) {
  constexpr std::size_t kShown = 40;
  std::string text = "'";
  for (const char c : bytes.substr(0, kShown))
    text += c >= ' ' && c <= '~' ? c : '?';
  return text + (bytes.size() > kShown ? "…'" : "'");
}

Error malformed(std::string why) {
  return {errc::malformed_frame, std::move(why)};
}

Result<std::uint64_t> parse_length(std::string_view value) {
  if (!value.empty() && value.front() == '-') return malformed("Content-Length is negative: " + quoted(value));
  if (value.empty() || !std::all_of(value.begin(), value.end(), is_digit)) {
    return malformed("Content-Length is no number: " + quoted(value));
  }
  if (value.size() > kMaxDigits) {
    return malformed("Content-Length has " + std::to_string(value.size()) + " digits: " + quoted(value));
  }
  std::uint64_t length = 0;
  std::from_chars(value.data(), value.data() + value.size(), length);
  return length;
}

class ContentLengthParser final : public FrameParser {
 public:
  ContentLengthParser(std::size_t max_frame_bytes, std::size_t max_header_bytes)
      : max_frame_bytes_(max_frame_bytes), max_header_bytes_(max_header_bytes) {}

  Result<std::optional<std::string_view>> next(std::string_view& input) override;
  std::optional<std::string> unfinished() const override;

 private:
  enum class Part : std::uint8_t { header, body };

  [[nodiscard]] Result<> read_headers(std::string_view& input);
  [[nodiscard]] Result<> header_line(std::string_view line);
  [[nodiscard]] Result<> headers_end();

  const std::size_t max_frame_bytes_;
  const std::size_t max_header_bytes_;
  Part part_ = Part::header;
  /// Of the header section so far.
  std::size_t header_bytes_ = 0;
  /// A header line, or a body, that lies across two inputs.
  std::string held_;
  std::optional<std::uint64_t> length_;
};

Result<> ContentLengthParser::header_line(std::string_view line) {
  if (line.size() < 2 || line[line.size() - 2] != '\r') {
    line.remove_suffix(1);
    return malformed("header line " + quoted(line) + " does not end in CRLF");
  }
  line.remove_suffix(2);
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return malformed("header line " + quoted(line) + " has no name");
  const std::string_view name = line.substr(0, colon);
  if (!std::equal(name.begin(), name.end(), kContentLength.begin(), kContentLength.end(),
                  [](char a, char b) { return lower(a) == b; })) {
    return {};
  }
  if (length_) return malformed("Content-Length comes twice");
  std::string_view value = line.substr(colon + 1);
  value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
  value = value.substr(0, value.find_last_not_of(" \t") + 1);
  const auto length = parse_length(value);
  if (!length) return length.error();
  length_ = *length;
  return {};
}

Result<> ContentLengthParser::headers_end() {
  if (!length_) return malformed("no Content-Length in the header");
  if (*length_ > max_frame_bytes_) {
    return Error(errc::message_too_large, "frame of " + std::to_string(*length_) + " bytes exceeds the limit of " +
                                              std::to_string(max_frame_bytes_));
  }
  part_ = Part::body;
  header_bytes_ = 0;
  return {};
}

/// Up to the end of the header section, where `part_` changes.
Result<> ContentLengthParser::read_headers(std::string_view& input) {
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    const std::string_view piece = input.substr(0, end == std::string_view::npos ? end : end + 1);
    if (header_bytes_ + piece.size() > max_header_bytes_) {
      return malformed("header section exceeds " + std::to_string(max_header_bytes_) + " bytes");
    }
    header_bytes_ += piece.size();
    input.remove_prefix(piece.size());
    if (end == std::string_view::npos) {
      held_.append(piece);
      return {};
    }
    std::string_view line = piece;
    if (!held_.empty()) line = held_.append(piece);
    if (line == "\r\n") {
      held_.clear();
      return headers_end();
    }
    if (const auto read = header_line(line); !read) return read.error();
    held_.clear();
  }
  return {};
}

Result<std::optional<std::string_view>> ContentLengthParser::next(std::string_view& input) {
  if (part_ == Part::header) {
    // A frame that was handed out lies here until now.
    if (header_bytes_ == 0) held_.clear();
    if (const auto read = read_headers(input); !read) return read.error();
    if (part_ == Part::header) return std::optional<std::string_view>();
  }
  const std::string_view piece = input.substr(0, *length_ - held_.size());
  input.remove_prefix(piece.size());
  if (held_.size() + piece.size() < *length_) {
    held_.append(piece);
    return std::optional<std::string_view>();
  }
  part_ = Part::header;
  length_.reset();
  if (held_.empty()) return std::optional(piece);
  held_.append(piece);
  return std::optional<std::string_view>(held_);
}

std::optional<std::string> ContentLengthParser::unfinished() const {
  if (part_ == Part::body) return std::to_string(held_.size()) + " of " + std::to_string(*length_) + " bytes";
  if (header_bytes_ != 0) return std::to_string(header_bytes_) + " bytes of its header";
  return std::nullopt;
}

}  // namespace

std::unique_ptr<FrameParser> ContentLengthFraming::make_parser(std::size_t max_frame_bytes) const {
  return std::make_unique<ContentLengthParser>(max_frame_bytes, max_header_bytes_);
}

void ContentLengthFraming::append_header(std::size_t frame_bytes, std::string& out) const {
  out += "Content-Length: " + std::to_string(frame_bytes) + "\r\n\r\n";
}

}  // namespace sharingbus::transport
