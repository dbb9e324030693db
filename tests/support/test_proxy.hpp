#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

namespace sharingbus::test {

/// An HTTP proxy on loopback that knows CONNECT and nothing else; a thread for each direction of each connection.
class TestProxy {
 public:
  /// What it answers to a request; the first line decides: with 200 it connects to the target that was asked for.
  using Answer = std::function<std::string(const std::string& request)>;
  static std::string yes(const std::string& /*request*/) { return "HTTP/1.1 200 Connection established\r\n\r\n"; }

  /// `tls`: null for a plain one.
  explicit TestProxy(Answer answer = yes, std::shared_ptr<boost::asio::ssl::context> tls = nullptr)
      : answer_(std::move(answer)), tls_(std::move(tls)) {
    thread_ = std::thread([this] { accept(); });
  }
  ~TestProxy() {
    stopping_ = true;
    {
      Socket wake(context_);
      boost::system::error_code ignored;
      wake.connect(acceptor_.local_endpoint(), ignored);
      thread_.join();
    }
    {
      const std::scoped_lock lock(mutex_);
      for (const auto& end : ends_)
        end();
    }
    for (std::thread& each : connections_)
      each.join();
  }
  TestProxy(const TestProxy&) = delete;
  TestProxy& operator=(const TestProxy&) = delete;

  [[nodiscard]] std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  [[nodiscard]] std::vector<std::string> requests() const {
    const std::scoped_lock lock(mutex_);
    return requests_;
  }

 private:
  using tcp = boost::asio::ip::tcp;
  using Socket = tcp::socket;

  void accept() {
    for (;;) {
      auto socket = std::make_shared<Socket>(context_);
      acceptor_.accept(*socket);
      if (stopping_) return;
      connections_.emplace_back([this, socket] { serve(socket); });
    }
  }

  /// Threads that are blocked on a socket go on when it is shut down; closing it would be a race.
  void on_end(const std::shared_ptr<Socket>& socket) {
    const std::scoped_lock lock(mutex_);
    ends_.emplace_back([socket] { end(*socket); });
    if (stopping_) end(*socket);
  }
  static void end(Socket& socket) {
    boost::system::error_code ignored;
    socket.shutdown(Socket::shutdown_both, ignored);
  }

  void serve(const std::shared_ptr<Socket>& socket) {
    on_end(socket);
    if (tls_ == nullptr) return talk(*socket, *socket);
    boost::asio::ssl::stream<Socket&> secure(*socket, *tls_);
    boost::system::error_code error;
    secure.handshake(boost::asio::ssl::stream_base::server, error);
    if (!error) talk(secure, *socket);
    end(*socket);
  }

  template <class Stream>
  void talk(Stream& stream, Socket& below) {
    boost::system::error_code error;
    std::string request;
    boost::asio::read_until(stream, boost::asio::dynamic_buffer(request, 16 * 1024), "\r\n\r\n", error);
    if (error) return end(below);
    {
      const std::scoped_lock lock(mutex_);
      requests_.push_back(request);
    }
    const std::string answer = answer_(request);
    auto target = std::make_shared<Socket>(context_);
    const bool accepted = answer.find(" 200 ") != std::string::npos;
    if (accepted) {
      const std::string where = request.substr(8, request.find(' ', 8) - 8);
      const auto colon = where.rfind(':');
      tcp::resolver resolver(context_);
      target->connect(*resolver.resolve(where.substr(0, colon), where.substr(colon + 1), error).begin(), error);
      on_end(target);
    }
    boost::asio::write(stream, boost::asio::buffer(answer), error);
    if (!accepted || error) return end(below);
    // One thread for both directions over TLS would need more care; a stream of OpenSSL is not for two threads, so the
    // tests through a TLS proxy are echoes: read, hand on, read the answer, hand back.
    if constexpr (std::is_same_v<Stream, Socket>) {
      std::thread back([&] { pump(*target, stream); });
      pump(stream, *target);
      back.join();
    } else {
      echo_turns(stream, *target);
    }
  }

  template <class From, class To>
  static void pump(From& from, To& to) {
    std::array<char, 4096> buffer;
    boost::system::error_code error;
    for (;;) {
      const std::size_t count = from.read_some(boost::asio::buffer(buffer), error);
      if (error) break;
      boost::asio::write(to, boost::asio::buffer(buffer.data(), count), error);
      if (error) break;
    }
    to.shutdown(Socket::shutdown_send, error);
  }
  template <class Stream>
  static void echo_turns(Stream& stream, Socket& target) {
    std::array<char, 4096> buffer;
    boost::system::error_code error;
    for (;;) {
      std::size_t count = stream.read_some(boost::asio::buffer(buffer), error);
      if (!error) boost::asio::write(target, boost::asio::buffer(buffer.data(), count), error);
      if (!error) count = target.read_some(boost::asio::buffer(buffer), error);
      if (!error) boost::asio::write(stream, boost::asio::buffer(buffer.data(), count), error);
      if (error) return;
    }
  }

  const Answer answer_;
  const std::shared_ptr<boost::asio::ssl::context> tls_;
  boost::asio::io_context context_;
  tcp::acceptor acceptor_{context_, {boost::asio::ip::address_v4::loopback(), 0}};
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::vector<std::function<void()>> ends_;
  std::vector<std::thread> connections_;
  std::thread thread_;
};

}  // namespace sharingbus::test
