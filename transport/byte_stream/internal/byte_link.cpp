#include "transport/byte_stream/internal/byte_link.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>

namespace sharingbus::transport::internal {
namespace {

/// One read or write moves about this much.
constexpr std::size_t kChunkBytes = std::size_t{64} * 1024;
/// Reads or writes in a row before others on the executor get their turn.
constexpr int kOperationsPerTurn = 16;
/// Frames that one write takes.
constexpr std::size_t kFramesPerWrite = 64;

}  // namespace

ByteLink::ByteLink(const ByteLinkContext& context, StreamOptions options)
    : timers_(context.timers),
      framing_(context.framing),
      links_(context.links),
      publisher_(std::move(options)),
      max_outbound_(std::min(publisher_.limits().max_outbound_bytes, framing_->max_frame_bytes())),
      strand_(boost::asio::make_strand(context.executor)),
      parser_(framing_->make_parser(publisher_.limits().max_inbound_bytes)) {}

SendStatus ByteLink::send(std::string frame) {
  {
    const std::scoped_lock lock(mutex_);
    if (sends_closed_ || finishing_) return SendStatus::closed;
    if (frame.size() > max_outbound_) return SendStatus::too_large;
    if (queue_.size() >= publisher_.limits().outbound_capacity) {
      writable_wanted_ = true;
      return SendStatus::full;
    }
    queue_.push_back(std::move(frame));
    if (std::exchange(flushing_, true)) return SendStatus::queued;
  }
  post([this] { flush(); });
  return SendStatus::queued;
}

void ByteLink::grant(Credit credit) {
  if (publisher_.grant(credit)) read_soon();
}

void ByteLink::finish() {
  {
    const std::scoped_lock lock(mutex_);
    // What is under way on the strand must not end in good order what was cancelled before.
    if (cancelled_ || std::exchange(finishing_, true)) return;
  }
  post([this] {
    flush();
    on_finishing();
    read();
  });
}

void ByteLink::cancel(Error why) {
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(cancelled_, true)) return;
    sends_closed_ = true;
  }
  post([this, why = std::move(why)]() mutable { break_with(std::move(why)); });
}

void ByteLink::start() {
  post([this] {
    if (!reason_) begin();
  });
}

void ByteLink::fail(Error why) {
  post([this, why = std::move(why)]() mutable { close(std::move(why)); });
}

ByteLink::Strand ByteLink::strand() const {
  const std::scoped_lock lock(mutex_);
  return *strand_;
}

Result<> ByteLink::attach(UniqueFd input, UniqueFd output) {
  const auto adopt = [this](UniqueFd fd, std::optional<Descriptor>& descriptor) -> Result<> {
    boost::system::error_code failed;
    descriptor.emplace(strand());
    descriptor->assign(fd.get(), failed);
    if (failed) return Error(errc::capacity_exceeded, "the descriptor cannot be waited for: " + failed.message());
    static_cast<void>(fd.release());
    return {};
  };
  if (output) {
    if (auto adopted = adopt(std::move(output), output_); !adopted) return adopted;
  }
  return adopt(std::move(input), input_);
}

void ByteLink::opened(std::string peer, std::uint64_t listener) {
  publisher_.opened(weak_from_this(), std::move(peer), listener);
  on_opened();
  opened_ = true;
  flush();
  read();
}

void ByteLink::note_peer_finished() {
  const std::scoped_lock lock(mutex_);
  if (!std::exchange(finishing_, true)) finished_by_peer_ = true;
}

void ByteLink::peer_finished() {
  note_peer_finished();
  flush();
  on_finishing();
}

void ByteLink::break_with(Error why) {
  if (ended_ || reason_) return;
  reason_ = std::move(why);
  {
    const std::scoped_lock lock(mutex_);
    sends_closed_ = true;
    queue_.clear();
  }
  break_off();
}

void ByteLink::close(Error error) {
  if (std::exchange(ended_, true)) return;
  release();
  input_.reset();
  output_.reset();
  held_ = {};
  {
    const std::scoped_lock lock(mutex_);
    sends_closed_ = true;
    queue_.clear();
    strand_.reset();
  }
  publisher_.closed(std::move(error));
  links_->remove(this);
}

Error ByteLink::good_order(std::string_view peer_did) const {
  return finished_by_peer_ ? Error(errc::stream_closed, std::string(peer_did)) : Error{};
}

void ByteLink::limit_reads(std::size_t bytes) {
  read_limit_ = bytes;
  if (reading_) return input_->cancel();
  read_soon();
}

void ByteLink::read_soon() {
  post([this] { read(); });
}

// --- reading ---------------------------------------------------------------------------------------------------------

bool ByteLink::finishing() const {
  const std::scoped_lock lock(mutex_);
  return finishing_;
}

bool ByteLink::may_take() const {
  // Whoever has finished must not hold up the peer's end for want of credit.
  return publisher_.may_read() || finishing();
}

Result<ByteLink::Taken> ByteLink::take_frame(std::string_view& bytes, StreamPublisher::Batch& batch) {
  if (!publisher_.may_read()) {
    if (!finishing()) return Taken::no_credit;
    // Before any of it is collected: a peer that was refused must not have memory for the asking.
    deaf_ = true;
    return Taken::frame;
  }
  try {
    const auto frame = parser_->next(bytes);
    if (!frame) return frame.error();
    if (!*frame) return Taken::part;
    if (auto taken = publisher_.frame(**frame, batch); !taken) return std::move(taken).error();
    return Taken::frame;
  } catch (const std::exception& thrown) {
    return Error(errc::internal, std::string("decoding threw: ") + thrown.what());
  } catch (...) {
    return Error(errc::internal, "decoding threw");
  }
}

/// Publishes the frames in `bytes` and leaves what it did not get to. False when reading has to stop.
bool ByteLink::take(std::string_view& bytes) {
  StreamPublisher::Batch batch;
  while (!bytes.empty()) {
    if (deaf_ || reason_) {
      bytes = {};
      return true;
    }
    auto taken = take_frame(bytes, batch);
    if (taken && *taken == Taken::frame && !deaf_ && !bytes.empty() && !batch.full()) continue;
    // What came before the end, or before the pause, is published before them.
    if (auto published = publisher_.publish(batch); taken && !published) taken = std::move(published).error();
    if (!taken) break_with(std::move(taken).error());
    if (ended_) return false;
    if (!taken) continue;
    if (*taken == Taken::part) return true;
    if (*taken == Taken::no_credit) {
      on_paused();
      return false;
    }
  }
  return true;
}

bool ByteLink::take_held() {
  std::string_view rest = std::string_view(held_).substr(held_from_);
  const bool go_on = take(rest);
  if (ended_) return false;
  held_from_ = held_.size() - rest.size();
  if (rest.empty()) {
    held_ = {};
    held_from_ = 0;
  }
  return go_on;
}

void ByteLink::read() {
  if (!opened_ || ended_ || reading_ || read_ended_ || !attached()) return;
  for (int i = 0; i < kOperationsPerTurn; ++i) {
    if (!take_held()) return;
    // The known end needs no credit.
    if (read_limit_ != std::size_t{0} && !deaf_ && !reason_ && !may_take()) return on_paused();
    if (!read_once()) return;
  }
  read_soon();
}

/// False when there is no more to read now.
bool ByteLink::read_once() {
  std::array<char, kChunkBytes> chunk;
  const std::size_t most = std::min(chunk.size(), read_limit_.value_or(chunk.size()));
  const ssize_t count = most == 0 ? 0 : ::read(input_->native_handle(), chunk.data(), most);
  if (count < 0) {
    if (errno == EINTR) return true;
    if (errno == EAGAIN) {
      wait_to_read();
    } else {
      read_ended_with(Error(errc::stream_failed, "reading failed: " + system_text(errno)));
    }
    return false;
  }
  if (count == 0) {
    const auto part = deaf_ || reason_ ? std::nullopt : parser_->unfinished();
    read_ended_with(part ? Error(errc::stream_failed, "the stream ended inside a frame: " + *part) : Error());
    return false;
  }
  if (read_limit_) *read_limit_ -= static_cast<std::size_t>(count);
  std::string_view bytes(chunk.data(), static_cast<std::size_t>(count));
  const bool go_on = take(bytes);
  if (ended_) return false;
  held_.assign(bytes);
  if (!go_on) return false;
  // Fewer than there was room for: there is no more now, and the next call would only say so.
  if (static_cast<std::size_t>(count) == most || read_limit_ || deaf_ || reason_ || !may_take()) return true;
  wait_to_read();
  return false;
}

void ByteLink::read_ended_with(Error broken) {
  read_ended_ = true;
  on_read_end(std::move(broken));
}

void ByteLink::wait_to_read() {
  reading_ = true;
  input_->async_wait(Descriptor::wait_read, [this, self = shared_from_this()](const boost::system::error_code&) {
    reading_ = false;
    read();
  });
}

// --- writing ---------------------------------------------------------------------------------------------------------

struct ByteLink::Batch {
  std::string headers;
  std::array<iovec, 2 * kFramesPerWrite> pieces;
  int count = 0;

  void add(const char* bytes, std::size_t size) {
    // writev takes no pointer to const.
    pieces.at(static_cast<std::size_t>(count++)) = {const_cast<char*>(bytes), size};
  }
};

/// Fills `batch` with what is to be written next; false when there is nothing.
bool ByteLink::gather(Batch& batch) {
  std::array<std::size_t, kFramesPerWrite> header_ends{};
  const std::scoped_lock lock(mutex_);
  std::size_t frames = 0;
  std::size_t bytes = 0;
  while (frames < std::min(queue_.size(), kFramesPerWrite) && bytes < kChunkBytes) {
    framing_->append_header(queue_[frames].size(), batch.headers);
    header_ends.at(frames) = batch.headers.size();
    bytes += queue_[frames++].size();
  }
  // Only now, as the headers may have moved.
  std::size_t begin = 0;
  for (std::size_t i = 0; i < frames; ++i) {
    std::size_t skip = i == 0 ? written_of_first_ : 0;
    const std::size_t header = header_ends.at(i) - begin;
    if (skip < header) batch.add(batch.headers.data() + begin + skip, header - skip);
    skip -= std::min(skip, header);
    if (skip < queue_[i].size()) batch.add(queue_[i].data() + skip, queue_[i].size() - skip);
    begin = header_ends.at(i);
  }
  if (frames == 0) flushing_ = false;
  if (frames == 0 && finishing_) writes_ended_ = true;
  return frames != 0;
}

void ByteLink::flush() {
  if (!opened_ || ended_ || reason_ || waiting_to_write_ || write_error_ || writes_ended_) return;
  for (int i = 0; i < kOperationsPerTurn; ++i) {
    if (!write_once()) return;
  }
  post([this] { flush(); });
}

/// False when nothing more can be written now.
bool ByteLink::write_once() {
  Batch batch;
  if (!gather(batch)) {
    if (writes_ended_) end_writes();
    return false;
  }
  const ssize_t count = write_some(batch.pieces.data(), batch.count);
  if (count >= 0) {
    written(static_cast<std::size_t>(count));
    return !ended_ && !reason_;
  }
  if (errno == EINTR) return true;
  if (errno == EAGAIN) {
    wait_to_write();
    return false;
  }
  write_error_ = Error(errc::stream_failed, "writing failed: " + system_text(errno));
  {
    const std::scoped_lock lock(mutex_);
    sends_closed_ = true;
    queue_.clear();
  }
  on_write_error();
  return false;
}

void ByteLink::written(std::size_t bytes) {
  bool writable = false;
  std::string header;
  {
    const std::scoped_lock lock(mutex_);
    bytes += std::exchange(written_of_first_, 0);
    while (!queue_.empty()) {
      header.clear();
      framing_->append_header(queue_.front().size(), header);
      const std::size_t size = queue_.front().size();
      if (bytes < header.size() + size) break;
      bytes -= header.size() + size;
      publisher_.sent(size);
      queue_.pop_front();
    }
    written_of_first_ = bytes;
    writable = writable_wanted_ && !finishing_ && queue_.size() <= publisher_.limits().outbound_capacity / 2;
    if (writable) writable_wanted_ = false;
  }
  if (writable) publisher_.writable();
}

void ByteLink::wait_to_write() {
  waiting_to_write_ = true;
  output().async_wait(Descriptor::wait_write, [this, self = shared_from_this()](const boost::system::error_code&) {
    waiting_to_write_ = false;
    flush();
  });
}

}  // namespace sharingbus::transport::internal
