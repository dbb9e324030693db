#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/websocket.hpp>

#include "bench/round_trips/round_trips.hpp"

namespace round_trips {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using Strand = asio::strand<asio::io_context::executor_type>;
using Socket = beast::websocket::stream<asio::basic_stream_socket<tcp, Strand>>;
using boost::system::error_code;

[[noreturn]] void fail(const char* why) {
  std::fprintf(stderr, "round_trips: bare Beast: %s\n", why);
  std::abort();
}

/// One end of a WebSocket: reads all the time, and has one write under way, with more waiting behind it. On a strand.
class End : public std::enable_shared_from_this<End> {
 public:
  End(asio::basic_stream_socket<tcp, Strand> socket, bool text) : socket_(std::move(socket)) {
    socket_.next_layer().set_option(tcp::no_delay(true));
    socket_.text(text);
  }
  virtual ~End() = default;
  End(const End&) = delete;
  End& operator=(const End&) = delete;

 protected:
  virtual void received(std::string_view message) = 0;
  virtual void ended() {}

  Socket& socket() { return socket_; }
  void send(std::string message) {
    waiting_.push_back(std::move(message));
    if (waiting_.size() == 1) write();
  }
  void read() {
    socket_.async_read(buffer_, [self = shared_from_this()](const error_code& error, std::size_t) {
      if (error) return self->ended();
      const auto data = self->buffer_.cdata();
      self->received({static_cast<const char*>(data.data()), data.size()});
      self->buffer_.consume(self->buffer_.size());
      self->read();
    });
  }

 private:
  void write() {
    socket_.async_write(asio::buffer(waiting_.front()),
                        [self = shared_from_this()](const error_code& error, std::size_t) {
                          self->waiting_.pop_front();
                          if (!error && !self->waiting_.empty()) self->write();
                        });
  }

  Socket socket_;
  beast::flat_buffer buffer_;
  std::deque<std::string> waiting_;
};

class Server final : public End {
 public:
  using End::End;
  void start() {
    socket().async_accept([self = shared_from_this(), this](const error_code& error) {
      if (error) fail("no handshake");
      read();
    });
  }

 private:
  void received(std::string_view message) override { send(std::string(message)); }
};

/// All clients of a run: who is done, and what the answers took.
struct Run {
  explicit Run(const Load& load) : tally(load), open(load.streams) {}
  std::mutex mutex;
  Tally tally;
  std::size_t open;
  std::promise<void> done;
};

class Client final : public End {
 public:
  Client(asio::basic_stream_socket<tcp, Strand> socket, bool text, Run& run, std::size_t window)
      : End(std::move(socket), text), run_(run), window_(window), text_(text) {}
  void start() {
    socket().async_handshake("localhost", "/", [self = shared_from_this(), this](const error_code& error) {
      if (error) fail("no handshake");
      for (std::size_t i = 0; i < window_; ++i)
        ask();
      read();
    });
  }

 private:
  struct Asked {
    Clock::time_point at;
    std::string bytes;
  };

  void ask() {
    const std::uint64_t number = next_++;
    asked_.push_back({Clock::now(), text_ ? phoenix_request(number) : encoded_request(number)});
    send(asked_.back().bytes);
  }
  void received(std::string_view message) override {
    if (asked_.empty() || message != asked_.front().bytes) fail("the answer is not the question");
    bool go_on = false;
    {
      const std::scoped_lock lock(run_.mutex);
      go_on = run_.tally.note(asked_.front().at);
    }
    asked_.pop_front();
    if (go_on) return ask();
    if (!asked_.empty()) return;
    socket().async_close(beast::websocket::close_code::normal, [self = shared_from_this()](const error_code&) {});
    const std::scoped_lock lock(run_.mutex);
    if (--run_.open == 0) run_.done.set_value();
  }

  Run& run_;
  const std::size_t window_;
  const bool text_;
  std::deque<Asked> asked_;
  std::uint64_t next_ = 0;
};

}  // namespace

Sample bare_beast(const Load& load, bool text, bool apart) {
  // Two threads: of one context, or a context each for clients and servers.
  std::array<asio::io_context, 2> contexts;
  asio::io_context& clients = contexts[0];
  asio::io_context& servers = contexts[apart ? 1 : 0];
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> work;
  std::vector<std::thread> threads;
  for (asio::io_context* context : {&clients, &servers}) {
    work.emplace_back(context->get_executor());
    threads.emplace_back([context] { context->run(); });
  }
  tcp::acceptor acceptor(servers, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  Run run(load);
  for (std::size_t i = 0; i < load.streams; ++i) {
    asio::basic_stream_socket<tcp, Strand> dialled{Strand(clients.get_executor())};
    dialled.connect(acceptor.local_endpoint());
    asio::basic_stream_socket<tcp, Strand> accepted{Strand(servers.get_executor())};
    acceptor.accept(accepted);
    const std::size_t window = load.concurrency / load.streams + (i < load.concurrency % load.streams ? 1 : 0);
    const auto server = std::make_shared<Server>(std::move(accepted), text);
    const auto client = std::make_shared<Client>(std::move(dialled), text, run, window);
    server->start();
    client->start();
  }
  run.done.get_future().wait();
  work.clear();
  for (auto& thread : threads)
    thread.join();
  return run.tally.sample();
}

}  // namespace round_trips
