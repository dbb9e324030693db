#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <sys/uio.h>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include "bus/base/timer.hpp"
#include "transport/byte_stream/internal/byte_link_set.hpp"
#include "transport/byte_stream/internal/descriptor.hpp"
#include "transport/framing.hpp"
#include "transport/stream_publisher.hpp"

namespace sharingbus::transport::internal {

/// What the links of one dialer or listener share.
struct ByteLinkContext {
  boost::asio::any_io_executor executor;
  TimerService& timers;
  std::shared_ptr<const Framing> framing;
  std::shared_ptr<ByteLinkSet> links;
};

/// A stream of frames over descriptors: queue, credit, reading, writing, and who ends it. Derived classes know how to
/// open, half-close and end what is below.
///
/// Threads: the mutex guards what any thread may call; everything else happens on a strand of the executor. Nothing is
/// published while the mutex is held. Strand and descriptors are given up with `StreamClosed`, as others may hold the
/// link for longer than the executor's context lives.
class ByteLink : public Link, public std::enable_shared_from_this<ByteLink> {
 public:
  [[nodiscard]] std::uint64_t id() const noexcept final { return publisher_.id(); }
  [[nodiscard]] const Uuid& uid() const noexcept final { return publisher_.uid(); }
  SendStatus send(std::string frame) final;
  void grant(Credit credit) final;
  void finish() final;
  void cancel(Error why) final;
  [[nodiscard]] LinkStats stats() const final { return publisher_.stats(); }

  /// Opens it. Once.
  void start();
  /// Instead of `start`: it never came to be.
  void fail(Error why);

 protected:
  using Strand = boost::asio::strand<boost::asio::any_io_executor>;

  ByteLink(const ByteLinkContext& context, StreamOptions options);

  // What derived classes do. On the strand.
  virtual void begin() = 0;
  /// As writev(2), but without SIGPIPE.
  [[nodiscard]] virtual ssize_t write_some(const iovec* pieces, int count) = 0;
  /// All that was queued is out, and no more will be: the peer has to see the end of it.
  virtual void end_writes() = 0;
  /// The peer sends no more: in good order, or, with an error, not.
  virtual void on_read_end(Error broken) = 0;
  /// `write_error()` was set: what was queued will never arrive, and is gone.
  virtual void on_write_error() = 0;
  /// `reason()` was set: ends what is below, and calls `close` when that is done.
  virtual void break_off() = 0;
  /// `StreamOpened` was published, and nothing behind it.
  virtual void on_opened() {}
  /// This side or the peer has finished; what was queued is out as far as it went at once.
  virtual void on_finishing() {}
  /// There is no credit to read on.
  virtual void on_paused() {}
  /// `close` was called: gives up timers and what else is under way.
  virtual void release() = 0;

  // What derived classes call. On the strand.
  /// Takes the ends to read from and write to; `output` is none when they are one.
  [[nodiscard]] Result<> attach(UniqueFd input, UniqueFd output = UniqueFd());
  /// Publishes `StreamOpened`, then reads and writes.
  void opened(std::string peer, std::uint64_t listener);
  /// As `finish`, but the peer's doing. `note_` leaves what is queued alone.
  void peer_finished();
  void note_peer_finished();
  /// Ends the stream for this reason unless there is one.
  void break_with(Error why);
  /// Publishes `StreamClosed`, once, and gives everything up.
  void close(Error error);
  /// Reads no more than this from here on, as far as there is credit, and takes that for the end.
  void limit_reads(std::size_t bytes);
  void close_output() { output_.reset(); }
  /// Reads on, if it had stopped.
  void read_soon();
  void flush();
  /// Good order: no error when this side finished first.
  [[nodiscard]] Error good_order(std::string_view peer_did) const;
  /// Calls `fn` on the strand unless the stream is closed by then.
  template <class Fn>
  void post(Fn fn);
  /// Calls `fn` on the strand, later, unless the stream is closed by then. `release` cancels it.
  template <class Fn>
  [[nodiscard]] TimerId after(Duration delay, Fn fn);

  [[nodiscard]] const std::optional<Error>& reason() const noexcept { return reason_; }
  [[nodiscard]] const std::optional<Error>& write_error() const noexcept { return write_error_; }
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  [[nodiscard]] bool read_ended() const noexcept { return read_ended_; }
  [[nodiscard]] bool writes_ended() const noexcept { return writes_ended_; }
  [[nodiscard]] bool may_read() const noexcept { return publisher_.may_read(); }
  [[nodiscard]] StreamPublisher& publisher() noexcept { return publisher_; }
  [[nodiscard]] TimerService& timers() noexcept { return timers_; }
  [[nodiscard]] Strand strand() const;
  [[nodiscard]] Descriptor& input() noexcept { return *input_; }
  [[nodiscard]] Descriptor& output() noexcept { return output_ ? *output_ : *input_; }
  [[nodiscard]] bool attached() const noexcept { return input_ && input_->is_open(); }

 private:
  struct Batch;

  void read();
  [[nodiscard]] bool finishing() const;
  [[nodiscard]] bool may_take() const;
  /// What came of an attempt to take one frame; `frame` also when it went deaf instead.
  enum class Taken : std::uint8_t { frame, part, no_credit };
  [[nodiscard]] Result<Taken> take_frame(std::string_view& bytes, StreamPublisher::Batch& batch);
  [[nodiscard]] bool take(std::string_view& bytes);
  [[nodiscard]] bool take_held();
  [[nodiscard]] bool read_once();
  void read_ended_with(Error broken);
  void wait_to_read();
  [[nodiscard]] bool gather(Batch& batch);
  [[nodiscard]] bool write_once();
  void written(std::size_t bytes);
  void wait_to_write();

  TimerService& timers_;
  const std::shared_ptr<const Framing> framing_;
  const std::shared_ptr<ByteLinkSet> links_;
  StreamPublisher publisher_;
  const std::size_t max_outbound_;

  mutable std::mutex mutex_;
  // Guarded by the mutex. Frames leave the queue when they are written, so that it is the bound of what waits; only the
  // strand takes out, so what it writes stays where it is.
  std::optional<Strand> strand_;
  std::deque<std::string> queue_;
  bool flushing_ = false;
  bool writable_wanted_ = false;
  bool finishing_ = false;
  bool cancelled_ = false;
  /// Nothing more is taken to be sent.
  bool sends_closed_ = false;

  // The strand's.
  std::unique_ptr<FrameParser> parser_;
  std::optional<Descriptor> input_;
  std::optional<Descriptor> output_;
  std::optional<Error> reason_;
  std::optional<Error> write_error_;
  bool opened_ = false;
  bool ended_ = false;
  bool reading_ = false;
  bool read_ended_ = false;
  bool waiting_to_write_ = false;
  bool writes_ended_ = false;
  bool finished_by_peer_ = false;
  /// Messages are read and dropped: this side has finished, and one came without credit.
  bool deaf_ = false;
  /// Read, but there was no credit to go on; what is before `held_from_` has been taken.
  std::string held_;
  std::size_t held_from_ = 0;
  std::optional<std::size_t> read_limit_;
  /// Of the first frame in the queue, its header included.
  std::size_t written_of_first_ = 0;
};

template <class Fn>
void ByteLink::post(Fn fn) {
  std::optional<Strand> strand;
  {
    const std::scoped_lock lock(mutex_);
    strand = strand_;
  }
  if (!strand) return;
  boost::asio::post(*strand, [self = shared_from_this(), fn = std::move(fn)]() mutable {
    if (!self->ended_) fn();
  });
}

template <class Fn>
TimerId ByteLink::after(Duration delay, Fn fn) {
  return timers_.schedule_after(delay, [weak = weak_from_this(), fn = std::move(fn)] {
    if (const auto self = weak.lock()) self->post(fn);
  });
}

}  // namespace sharingbus::transport::internal
