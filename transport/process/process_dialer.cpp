#include "transport/process/process_dialer.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "transport/byte_stream/internal/byte_link_set.hpp"
#include "transport/process/internal/process_link.hpp"

namespace sharingbus::transport {
namespace {

bool has_nul(const std::string& text) {
  return text.find('\0') != std::string::npos;
}

}  // namespace

Result<> ProcessDialerOptions::validate() const {
  const auto invalid = [](const char* what) { return Error(errc::invalid_argument, what); };
  if (command.empty()) return invalid("command is empty");
  if (has_nul(command)) return invalid("command has a NUL");
  if (std::any_of(args.begin(), args.end(), has_nul)) return invalid("args has a NUL");
  if (has_nul(cwd)) return invalid("cwd has a NUL");
  for (const auto& [name, value] : env) {
    if (name.empty() || name.find('=') != std::string::npos || has_nul(name) || has_nul(value)) {
      return Error(errc::invalid_argument, "env: '" + name + "' is no name, or it or its value has a NUL");
    }
  }
  if (!framing) return invalid("framing is missing");
  if (stop_grace < Duration::zero()) return invalid("stop_grace is negative");
  if (kill_grace < Duration::zero()) return invalid("kill_grace is negative");
  if (max_stderr_line_bytes == 0) return invalid("max_stderr_line_bytes must be at least 1");
  if (max_stderr_lines_per_second == 0) return invalid("max_stderr_lines_per_second must be at least 1");
  return {};
}

struct ProcessDialer::State {
  std::shared_ptr<const ProcessDialerOptions> options;
  internal::ByteLinkContext context;
};

ProcessDialer::ProcessDialer(boost::asio::any_io_executor executor, TimerService& timers,
                             ProcessDialerOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  internal::ByteLinkContext context{std::move(executor), timers, options.framing,
                                    std::make_shared<internal::ByteLinkSet>()};
  state_ = std::make_unique<State>(
      State{std::make_shared<const ProcessDialerOptions>(std::move(options)), std::move(context)});
}

ProcessDialer::~ProcessDialer() {
  state_->context.links->close(Error(errc::closed, "the dialer is gone"), nullptr);
}

std::shared_ptr<Link> ProcessDialer::open(StreamOptions options, std::string first_frame) {
  auto link = std::make_shared<internal::ProcessLink>(state_->context, std::move(options), state_->options);
  internal::launch(*state_->context.links, link, std::move(first_frame));
  return link;
}

void ProcessDialer::close(std::function<void()> done) {
  state_->context.links->close(Error(errc::cancelled, "'" + state_->options->command + "': the dialer was closed"),
                               std::move(done));
}

DialerStats ProcessDialer::stats() const {
  return state_->context.links->stats();
}

}  // namespace sharingbus::transport
