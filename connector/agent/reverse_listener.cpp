#include "connector/agent/reverse_listener.hpp"

#include <algorithm>
#include <utility>

#include "connector/agent/internal/reverse_core.hpp"
#include "transport/codec/agent_codec.hpp"
#include "transport/length_prefix_framing.hpp"

namespace sharingbus::connector {
namespace {

/// The framing of agents, with a bound of its own for the first frame of a stream.
class RegistrationFraming final : public transport::Framing {
 public:
  explicit RegistrationFraming(std::size_t first_frame) : first_frame_(first_frame) {}

  [[nodiscard]] std::unique_ptr<transport::FrameParser> make_parser(std::size_t max_frame_bytes) const override {
    return std::make_unique<Parser>(framing_.make_parser(std::min(first_frame_, max_frame_bytes)),
                                    framing_.make_parser(max_frame_bytes));
  }
  void append_header(std::size_t frame_bytes, std::string& out) const override {
    framing_.append_header(frame_bytes, out);
  }
  [[nodiscard]] std::size_t max_frame_bytes() const noexcept override { return framing_.max_frame_bytes(); }

 private:
  class Parser final : public transport::FrameParser {
   public:
    Parser(std::unique_ptr<transport::FrameParser> first, std::unique_ptr<transport::FrameParser> rest)
        : first_(std::move(first)), rest_(std::move(rest)) {}

    [[nodiscard]] Result<std::optional<std::string_view>> next(std::string_view& input) override {
      if (in_first_) {
        auto frame = first_->next(input);
        // The view that it returned stays valid: the parser stays.
        if (frame && *frame) in_first_ = false;
        return frame;
      }
      return rest_->next(input);
    }
    [[nodiscard]] std::optional<std::string> unfinished() const override {
      return in_first_ ? first_->unfinished() : rest_->unfinished();
    }

   private:
    bool in_first_ = true;
    std::unique_ptr<transport::FrameParser> first_;
    std::unique_ptr<transport::FrameParser> rest_;
  };

  const std::size_t first_frame_;
  const transport::LengthPrefixFraming framing_;
};

}  // namespace

Result<> ReverseListenerOptions::validate() const {
  if (allowed_agents.empty()) {
    return Error(errc::invalid_argument, "allowed_agents is empty: name the agents that may connect by themselves");
  }
  if (allowed_agents.contains("")) return Error(errc::invalid_argument, "allowed_agents: an id must not be empty");
  if (tokens.empty() && !same_user && !client_certificates) {
    return Error(errc::invalid_argument,
                 "nothing proves who an agent is: set tokens, same_user (Unix sockets) or client_certificates (TLS)");
  }
  for (const ReverseToken& token : tokens) {
    if (token.token.empty()) return Error(errc::invalid_argument, "tokens: a token must not be empty");
  }
  if (registration_timeout <= Duration::zero()) {
    return Error(errc::invalid_argument, "registration_timeout must be above 0");
  }
  if (max_registration_bytes == 0) return Error(errc::invalid_argument, "max_registration_bytes must be at least 1");
  if (max_unregistered == 0) return Error(errc::invalid_argument, "max_unregistered must be at least 1");
  return {};
}

ReverseListener::ReverseListener(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                                 AgentPool& pool, ReverseListenerOptions options)
    : bus_(bus),
      core_(std::make_shared<internal::ReverseCore>(std::move(executor), bus, timers, pool, std::move(options))) {
  core_->start(bus);
}

ReverseListener::~ReverseListener() {
  core_->abandon();
}

transport::ListenerOptions ReverseListener::make_listener_options() {
  return core_->make_listener_options(bus_);
}

std::shared_ptr<const transport::Framing> ReverseListener::framing() const {
  return std::make_shared<RegistrationFraming>(core_->options().max_registration_bytes);
}

Result<transport::Endpoint> ReverseListener::serve(std::unique_ptr<transport::Listener> listener) {
  return core_->serve(std::move(listener));
}

void ReverseListener::close(std::function<void()> done) {
  core_->close(std::move(done));
}

}  // namespace sharingbus::connector
