#include "transport/uds/uds_dialer.hpp"

#include <cerrno>
#include <stdexcept>
#include <utility>

#include "transport/byte_stream/internal/byte_link_set.hpp"
#include "transport/byte_stream/internal/socket_link.hpp"
#include "transport/uds/internal/unix_address.hpp"

namespace sharingbus::transport {
namespace {

/// A stream that dials.
class UdsLink final : public internal::SocketLink {
 public:
  UdsLink(const internal::ByteLinkContext& context, StreamOptions options, const Endpoint& endpoint)
      : SocketLink(context, std::move(options)), endpoint_(endpoint) {}

 private:
  void begin() override {
    auto address = internal::unix_address(endpoint_);
    if (!address) return break_with(std::move(address).error());
    internal::UniqueFd socket(internal::connect_unix(*address));
    if (!socket) {
      // Connecting never waits: it succeeds, or there is no room in the listener's queue.
      const std::string why = errno == EAGAIN ? "the listener's queue is full" : internal::system_text(errno);
      return break_with({errc::connection_refused, to_string(endpoint_) + ": " + why});
    }
    std::string peer = internal::unix_peer(socket.get(), endpoint_);
    connected(std::move(socket), std::move(peer), 0);
  }
  void release() override {}

  const Endpoint endpoint_;
};

}  // namespace

Result<> UdsDialerOptions::validate() const {
  if (!framing) return Error(errc::invalid_argument, "framing is missing");
  return {};
}

struct UdsDialer::State {
  Endpoint endpoint;
  internal::ByteLinkContext context;
};

UdsDialer::UdsDialer(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
                     UdsDialerOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  internal::ByteLinkContext context{std::move(executor), timers, std::move(options.framing),
                                    std::make_shared<internal::ByteLinkSet>()};
  state_ = std::make_unique<State>(State{std::move(endpoint), std::move(context)});
}

UdsDialer::~UdsDialer() {
  state_->context.links->close(Error(errc::closed, "the dialer is gone"), nullptr);
}

std::shared_ptr<Link> UdsDialer::open(StreamOptions options, std::string first_frame) {
  const State& state = *state_;
  auto link = std::make_shared<UdsLink>(state.context, std::move(options), state.endpoint);
  internal::launch(*state.context.links, link, std::move(first_frame));
  return link;
}

void UdsDialer::close(std::function<void()> done) {
  state_->context.links->close(Error(errc::cancelled, to_string(state_->endpoint) + ": the dialer was closed"),
                               std::move(done));
}

DialerStats UdsDialer::stats() const {
  return state_->context.links->stats();
}

}  // namespace sharingbus::transport
