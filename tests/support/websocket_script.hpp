#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "transport/endpoint.hpp"

namespace sharingbus::test {

/// One end of a WebSocket, byte by byte: blocking, on the test's thread, on 127.0.0.1.
class WebSocketScript {
 public:
  /// Waits for connections.
  WebSocketScript() : acceptor_(context_, {boost::asio::ip::address_v4::loopback(), 0}) {}
  /// Is connected to `to`. `receive_buffer`: what the system takes while nothing is read; 0: what it likes.
  explicit WebSocketScript(const transport::Endpoint& to, int receive_buffer = 0) : acceptor_(context_) {
    socket_.open(boost::asio::ip::tcp::v4());
    if (receive_buffer != 0) socket_.set_option(boost::asio::socket_base::receive_buffer_size(receive_buffer));
    socket_.connect({boost::asio::ip::address_v4::loopback(), to.port});
  }

  [[nodiscard]] transport::Endpoint endpoint() const { return {"ws", "127.0.0.1", acceptor_.local_endpoint().port()}; }
  void accept() { socket_ = acceptor_.accept(); }
  void write(std::string_view bytes) {
    boost::system::error_code ignored;
    boost::asio::write(socket_, boost::asio::buffer(bytes.data(), bytes.size()), ignored);
  }
  void close() { socket_.close(); }
  /// What comes up to and with `end`; less when the connection ends.
  std::string read_to(std::string_view end) {
    while (read_.find(end) == std::string::npos) {
      if (!read_some()) break;
    }
    const auto found = read_.find(end);
    return take(found == std::string::npos ? read_.size() : found + end.size());
  }
  /// The next `size` bytes; fewer when the connection ends.
  std::string read(std::size_t size) {
    while (read_.size() < size && read_some()) {
    }
    return take(std::min(size, read_.size()));
  }
  /// Everything until the connection ends.
  std::string read_all() {
    while (read_some()) {
    }
    return take(read_.size());
  }

  /// Answers an upgrade request; returns the request.
  std::string upgrade() {
    const std::string request = read_to("\r\n\r\n");
    constexpr std::string_view kKey = "Sec-WebSocket-Key: ";
    const std::size_t key = request.find(kKey) + kKey.size();
    write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
          accept_key(request.substr(key, request.find('\r', key) - key)) + "\r\n\r\n");
    return request;
  }
  /// Asks for the upgrade; returns the answer.
  std::string ask(const std::string& target) {
    write("GET " + target +
          " HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    return read_to("\r\n\r\n");
  }

  /// A frame of at most 125 bytes. A client masks, with zeros here.
  static std::string frame(std::uint8_t opcode, std::string_view payload, bool client) {
    std::string bytes{static_cast<char>(0x80 | opcode), static_cast<char>((client ? 0x80 : 0) | payload.size())};
    if (client) bytes.append(4, '\0');
    return bytes.append(payload);
  }
  static std::string close_frame(std::uint16_t code, std::string_view reason, bool client) {
    std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xFF)};
    return frame(8, payload.append(reason), client);
  }
  /// Reads one frame of any size and unmasks it: opcode and payload. 0 at the end of the connection.
  struct Frame {
    std::uint8_t opcode = 0;
    std::string payload;
  };
  Frame read_frame() {
    const std::string head = read(2);
    if (head.size() < 2) return {};
    const bool masked = (head[1] & 0x80) != 0;
    auto size = static_cast<std::size_t>(head[1] & 0x7F);
    if (size >= 126) {
      const std::string extended = read(size == 126 ? 2 : 8);
      size = 0;
      for (const char byte : extended)
        size = size << 8 | static_cast<unsigned char>(byte);
    }
    const std::string mask = masked ? read(4) : std::string(4, '\0');
    Frame frame{static_cast<std::uint8_t>(head[0] & 0x0F), read(size)};
    if (!masked) return frame;
    for (std::size_t i = 0; i < frame.payload.size(); ++i)
      frame.payload[i] = static_cast<char>(frame.payload[i] ^ mask[i % 4]);
    return frame;
  }

 private:
  static std::string accept_key(const std::string& key) {
    const std::string text = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    std::array<unsigned char, SHA_DIGEST_LENGTH> digest{};
    SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
    std::array<unsigned char, 64> encoded{};
    const int size = EVP_EncodeBlock(encoded.data(), digest.data(), static_cast<int>(digest.size()));
    return {reinterpret_cast<const char*>(encoded.data()), static_cast<std::size_t>(size)};
  }
  bool read_some() {
    std::array<char, 4096> chunk{};
    boost::system::error_code error;
    const std::size_t size = socket_.read_some(boost::asio::buffer(chunk), error);
    read_.append(chunk.data(), size);
    return !error;
  }
  std::string take(std::size_t size) {
    std::string taken = read_.substr(0, size);
    read_.erase(0, size);
    return taken;
  }

  boost::asio::io_context context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::ip::tcp::socket socket_{context_};
  std::string read_;
};

}  // namespace sharingbus::test
