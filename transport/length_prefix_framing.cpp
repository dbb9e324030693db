#include "transport/length_prefix_framing.hpp"

#include <algorithm>
#include <array>

namespace sharingbus::transport {
namespace {

constexpr std::size_t kHeaderBytes = 4;

class LengthPrefixParser final : public FrameParser {
 public:
  LengthPrefixParser(std::size_t max_frame_bytes, bool allow_empty)
      : max_frame_bytes_(max_frame_bytes), allow_empty_(allow_empty) {}

  Result<std::optional<std::string_view>> next(std::string_view& input) override;
  std::optional<std::string> unfinished() const override;

 private:
  [[nodiscard]] bool read_header(std::string_view& input);
  [[nodiscard]] std::size_t length() const;

  const std::size_t max_frame_bytes_;
  const bool allow_empty_;
  std::array<unsigned char, kHeaderBytes> header_{};
  std::size_t header_read_ = 0;
  /// What came of a frame that lies across two inputs. A frame that was handed out stays until the next call.
  std::string body_;
};

bool LengthPrefixParser::read_header(std::string_view& input) {
  while (header_read_ < kHeaderBytes && !input.empty()) {
    header_.at(header_read_++) = static_cast<unsigned char>(input.front());
    input.remove_prefix(1);
  }
  return header_read_ == kHeaderBytes;
}

std::size_t LengthPrefixParser::length() const {
  std::size_t length = 0;
  for (const unsigned char byte : header_)
    length = length << 8 | byte;
  return length;
}

Result<std::optional<std::string_view>> LengthPrefixParser::next(std::string_view& input) {
  if (header_read_ == 0) body_.clear();
  const bool had_header = header_read_ == kHeaderBytes;
  if (!read_header(input)) return std::optional<std::string_view>();
  const std::size_t length = this->length();
  if (!had_header) {
    if (length > max_frame_bytes_) {
      return Error(errc::message_too_large, "frame of " + std::to_string(length) + " bytes exceeds the limit of " +
                                                std::to_string(max_frame_bytes_));
    }
    if (length == 0 && !allow_empty_) return Error(errc::malformed_frame, "frame of length 0");
  }
  const std::string_view piece = input.substr(0, length - body_.size());
  input.remove_prefix(piece.size());
  if (body_.size() + piece.size() < length) {
    body_.append(piece);
    return std::optional<std::string_view>();
  }
  header_read_ = 0;
  if (body_.empty()) return std::optional(piece);
  body_.append(piece);
  return std::optional<std::string_view>(body_);
}

std::optional<std::string> LengthPrefixParser::unfinished() const {
  if (header_read_ == 0) return std::nullopt;
  if (header_read_ < kHeaderBytes) return std::to_string(header_read_) + " of 4 bytes of its length";
  return std::to_string(body_.size()) + " of " + std::to_string(length()) + " bytes";
}

}  // namespace

std::unique_ptr<FrameParser> LengthPrefixFraming::make_parser(std::size_t max_frame_bytes) const {
  return std::make_unique<LengthPrefixParser>(max_frame_bytes, empty_frames_ == EmptyFrames::allowed);
}

void LengthPrefixFraming::append_header(std::size_t frame_bytes, std::string& out) const {
  for (const int shift : {24, 16, 8, 0})
    out += static_cast<char>(frame_bytes >> shift & 0xff);
}

}  // namespace sharingbus::transport
