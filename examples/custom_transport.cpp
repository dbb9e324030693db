// A transport of your own: lines over TCP. One class, the link; what it shares with every transport (decoding, credit,
// events, limits) is StreamPublisher's. The program dials a line server of its own and watches the bus.
#include <cstdio>
#include <deque>
#include <thread>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include "bus/sharing_bus.hpp"
#include "transport/stream_publisher.hpp"

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace sharingbus;
using namespace sharingbus::transport;

struct Line {
  static constexpr std::string_view event_name = "example.line";
  std::string text;
};

struct LineDecoder final : FrameDecoder {
  Result<DecodedFrame> decode(std::string_view frame, const StreamIdentity& stream) const override {
    return DecodedFrame{make_event(Line{std::string(frame)}, stream.routing, stream.origin, stream.source)};
  }
};

/// Runs on a single-threaded context.
class LineLink final : public Link, public std::enable_shared_from_this<LineLink> {
 public:
  LineLink(tcp::socket socket, StreamOptions options) : socket_(std::move(socket)), publisher_(std::move(options)) {}

  void start() {
    publisher_.opened(weak_from_this(), "line peer");
    read();
  }
  std::uint64_t id() const noexcept override { return publisher_.id(); }
  const Uuid& uid() const noexcept override { return publisher_.uid(); }
  LinkStats stats() const override { return publisher_.stats(); }
  SendStatus send(std::string frame) override {
    if (!socket_.is_open()) return SendStatus::closed;
    if (frame.size() > publisher_.limits().max_outbound_bytes) return SendStatus::too_large;
    if (outbound_.size() == publisher_.limits().outbound_capacity) return SendStatus::full;
    outbound_.push_back(std::move(frame += '\n'));
    if (outbound_.size() == 1) write();
    return SendStatus::queued;
  }
  void grant(Credit credit) override {
    if (publisher_.grant(credit)) read();
  }
  void finish() override {
    boost::system::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }
  void cancel(Error why) override { close(std::move(why)); }

 private:
  void read() {
    if (!publisher_.may_read() || std::exchange(reading_, true)) return;
    asio::async_read_until(socket_, asio::dynamic_buffer(inbound_, publisher_.limits().max_inbound_bytes), '\n',
                           [self = shared_from_this()](auto error, std::size_t size) { self->received(error, size); });
  }
  void received(const boost::system::error_code& error, std::size_t size) {
    reading_ = false;
    if (error)
      return close(error == asio::error::eof ? Error(errc::stream_closed, "the peer closed the stream")
                                             : Error(errc::stream_failed, error.message()));
    const auto published = publisher_.frame(std::string_view(inbound_).substr(0, size - 1));
    inbound_.erase(0, size);
    published ? read() : close(published.error());
  }
  void write() {
    asio::async_write(socket_, asio::buffer(outbound_.front()),
                      [self = shared_from_this()](auto error, std::size_t size) {
                        if (error) return;
                        self->publisher_.sent(size - 1);
                        if (self->outbound_.size() == self->publisher_.limits().outbound_capacity)
                          self->publisher_.writable();
                        self->outbound_.pop_front();
                        if (!self->outbound_.empty()) self->write();
                      });
  }
  void close(Error why) {
    if (!socket_.is_open()) return;
    socket_.close();
    publisher_.closed(std::move(why));
  }

  tcp::socket socket_;
  StreamPublisher publisher_;
  bool reading_ = false;
  std::string inbound_;
  std::deque<std::string> outbound_;
};

/// Greets with three lines and hangs up.
void serve_one(tcp::acceptor& acceptor) {
  tcp::socket peer = acceptor.accept();
  asio::write(peer, asio::buffer(std::string("one\ntwo\nthree\n")));
}

int main() {
  asio::io_context context;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  std::thread server([&] { serve_one(acceptor); });

  SharingBus bus;
  int lines = 0;
  SubscriptionOptions observed;
  observed.name = "lines";
  auto observer = bus.subscribe_inline(observed, [&](const EventRef& event) {
    if (const auto* line = event->get_if<Line>()) std::printf("line %d: %s\n", ++lines, line->text.c_str());
    if (const auto* end = event->get_if<StreamClosed>()) std::printf("closed: %s\n", to_string(end->error).c_str());
  });

  StreamOptions options;
  options.publisher = bus.publisher();
  options.decoder = std::make_shared<LineDecoder>();
  options.id = bus.new_source();
  options.initial_credit = {1, 100};
  tcp::socket socket(context);
  socket.connect(acceptor.local_endpoint());
  std::make_shared<LineLink>(std::move(socket), std::move(options))->start();
  context.run();
  server.join();
  return lines == 3 ? 0 : 1;
}
