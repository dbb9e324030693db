#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <sys/uio.h>

#include "transport/byte_stream/internal/byte_link.hpp"
#include "transport/process/internal/child_process.hpp"
#include "transport/process/internal/stderr_lines.hpp"

namespace sharingbus::transport::internal {

/// A stream over the standard input and output of a child. It ends when the child was reaped and its output was read;
/// what else happens only brings that about: `stop` with patience, `terminate` without.
class ProcessLink final : public ByteLink {
 public:
  ProcessLink(const ByteLinkContext& context, StreamOptions options,
              std::shared_ptr<const ProcessDialerOptions> process);

 private:
  void begin() override;
  ssize_t write_some(const iovec* pieces, int count) override;
  void end_writes() override;
  void on_read_end(Error broken) override;
  void on_write_error() override;
  void break_off() override;
  void on_opened() override;
  void on_finishing() override;
  void release() override;

  [[nodiscard]] Result<> watch();
  void stop();
  void arm_stop_timer();
  void terminate();
  void kill();
  void watch_end();
  void child_ended();
  void reap();
  [[nodiscard]] Error outcome() const;

  void read_errors();
  void on_stderr_line(std::string line, std::uint64_t dropped_before);
  template <class T>
  void publish(T payload);

  const std::shared_ptr<const ProcessDialerOptions> process_;
  const Publisher bus_;
  Routing routing_;
  const EventOrigin origin_;

  std::optional<ChildProcess> child_;
  std::string name_;
  /// On the child's pidfd, which the child owns.
  std::optional<Descriptor> end_;
  std::optional<Descriptor> errors_;
  std::optional<StderrLines> lines_;
  TimerId stop_timer_ = 0;
  TimerId kill_timer_ = 0;
  /// Tells a timer that was replaced from the one that counts.
  std::uint64_t stop_number_ = 0;
  std::uint64_t bytes_written_ = 0;
  std::uint64_t bytes_at_arming_ = 0;
  bool terminated_ = false;
  bool killed_ = false;
  /// It has ended, but keeps its number until the rest of its group had the time to end.
  bool ended_child_ = false;
  std::optional<ExitState> exit_;
  Error broken_;
};

}  // namespace sharingbus::transport::internal
