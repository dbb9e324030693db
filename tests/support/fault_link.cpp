#include "tests/support/fault_link.hpp"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include <boost/asio/post.hpp>

#include "transport/stream_publisher.hpp"

namespace sharingbus::test {

using namespace transport;

namespace {

/// A frame as it came over the inner transport.
struct RawFrame {
  static constexpr std::string_view event_name = "test.raw_frame";
  static constexpr EventKind event_kind = EventKind::custom;
  std::string bytes;
};

}  // namespace

Faults Faults::random(std::mt19937& random) {
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  Faults faults;
  const auto message = [&] { return static_cast<std::size_t>(pick(0, 12)); };
  switch (pick(0, 11)) {
    case 0:
      faults.refuse = true;
      break;
    case 1:
      faults.open_delay = std::chrono::milliseconds(pick(0, 20'000));
      break;
    case 2:
      faults.accept_then_close = true;
      break;
    case 3:
      faults.delay = std::chrono::milliseconds(pick(1, 2'000));
      break;
    case 4:
      faults.bytes_per_second = static_cast<std::size_t>(pick(64, 10'000));
      break;
    case 5:
      faults.reset_at = message();
      break;
    case 6:
      faults.silent_at = message();
      break;
    case 7:
      faults.duplicate_at = message();
      break;
    case 8:
      faults.corrupt_at = message();
      break;
    default:
      break;
  }
  return faults;
}

std::string to_string(const Faults& faults) {
  std::string text;
  const auto at = [&](const char* name, const std::optional<std::size_t>& message) {
    if (message) text += std::string(name) + "@" + std::to_string(*message) + " ";
  };
  if (faults.refuse) text += "refuse ";
  if (faults.accept_then_close) text += "accept_then_close ";
  if (faults.open_delay != Duration::zero()) text += "open_delay ";
  if (faults.delay != Duration::zero()) text += "delay ";
  if (faults.bytes_per_second != 0) text += "slow ";
  at("reset", faults.reset_at);
  at("silent", faults.silent_at);
  at("duplicate", faults.duplicate_at);
  at("corrupt", faults.corrupt_at);
  return text.empty() ? "none" : text;
}

/// Keeps the class, since that is what the inner link's credit is counted in.
class FaultDialer::RawDecoder final : public FrameDecoder {
 public:
  explicit RawDecoder(std::shared_ptr<const FrameDecoder> real) : real_(std::move(real)) {}
  Result<DecodedFrame> decode(std::string_view frame, const StreamIdentity& stream) const override {
    const auto decoded = real_->decode(frame, stream);
    Routing routing = stream.routing;
    routing.kind = RawFrame::event_kind;
    return DecodedFrame{make_event(RawFrame{std::string(frame)}, std::move(routing), stream.origin, stream.source),
                        decoded ? decoded->frame_class : FrameClass::control};
  }

 private:
  const std::shared_ptr<const FrameDecoder> real_;
};

class FaultDialer::FaultLink final : public Link, public std::enable_shared_from_this<FaultLink> {
 public:
  FaultLink(FaultDialer& owner, std::uint64_t key, StreamOptions options, Faults faults)
      : owner_(owner), key_(key), faults_(faults), options_(options), publisher_(std::move(options)) {}

  std::uint64_t id() const noexcept override { return publisher_.id(); }
  const Uuid& uid() const noexcept override { return publisher_.uid(); }
  LinkStats stats() const override { return publisher_.stats(); }

  SendStatus send(std::string frame) override {
    if (ended_ || finishing_) return SendStatus::closed;
    if (frame.size() > publisher_.limits().max_outbound_bytes) return SendStatus::too_large;
    if (outbound_.size() >= publisher_.limits().outbound_capacity) {
      writable_wanted_ = true;
      return SendStatus::full;
    }
    out_ready_ = std::max(out_ready_, owner_.timers_.now()) + cost(frame);
    outbound_.push_back({out_ready_ + faults_.delay, std::move(frame)});
    post_pump();
    return SendStatus::queued;
  }
  void grant(Credit credit) override {
    (void)publisher_.grant(credit);
    if (inner_ && !silent_) inner_->grant(credit);
    if (!inner_) credit_before_open_.push_back(credit);
    post_pump();
  }
  void finish() override {
    finishing_ = true;
    post_pump();
  }
  void cancel(Error why) override {
    if (ended_ || cancelled_) return;
    cancelled_ = true;
    outbound_.clear();
    // Over a network that is gone the peer hears nothing: the inner stream stays as it is.
    if (inner_ && !silent_) return inner_->cancel(std::move(why));
    boost::asio::post(owner_.executor_, [self = shared_from_this(), why = std::move(why)] { self->end(why); });
  }

  void open(std::string first_frame) {
    first_frame_ = std::move(first_frame);
    if (faults_.open_delay == Duration::zero()) return posted([](FaultLink& self) { self.dial(); })();
    if (faults_.open_delay < publisher_.connect_timeout()) {
      timer_ = owner_.timers_.schedule_after(faults_.open_delay, posted([](FaultLink& self) { self.dial(); }));
    } else {
      timer_ = owner_.timers_.schedule_after(publisher_.connect_timeout(), posted([](FaultLink& self) {
                                               self.end(Error(errc::connect_timeout, "no answer"));
                                             }));
    }
  }
  /// With the dialer.
  void drop() {
    if (inner_) inner_->cancel(Error(errc::cancelled, "the dialer was closed"));
    end(Error(errc::cancelled, "the dialer was closed"));
  }

  // What the inner stream says.
  void opened(const StreamOpened& event) {
    if (silent_ || ended_) return;
    publisher_.opened(weak_from_this(), event.peer);
    if (!faults_.accept_then_close) return;
    inner_->cancel(Error(errc::cancelled, "closed at once"));
    end(Error(errc::stream_closed, "the peer closed the stream"));
  }
  void frame(std::string bytes) {
    const std::size_t number = inbound_number_++;
    if (faults_.silent_at && number >= *faults_.silent_at) silent_ = true;
    if (silent_ || ended_) return;
    if (faults_.reset_at == number) {
      inner_->cancel(Error(errc::stream_failed, "connection reset"));
      return end(Error(errc::stream_failed, "connection reset"));
    }
    if (faults_.corrupt_at == number) {
      for (std::size_t i = 0; i < bytes.size(); i += 7)
        bytes[i] = static_cast<char>(bytes[i] ^ 0x55);
    }
    in_ready_ = std::max(in_ready_, owner_.timers_.now()) + cost(bytes);
    const bool twice = faults_.duplicate_at == number;
    inbound_.push_back({in_ready_ + faults_.delay, bytes});
    if (twice) inbound_.push_back({in_ready_ + faults_.delay, std::move(bytes)});
    pump();
  }
  void writable() { pump(); }
  void inner_closed(const Error& error) {
    inner_.reset();
    if (silent_ || ended_) return;
    if (cancelled_) inbound_.clear();
    last_words_ = error;
    pump();
  }

 private:
  struct Waiting {
    TimePoint due;
    std::string bytes;
  };

  Duration cost(const std::string& bytes) const {
    if (faults_.bytes_per_second == 0) return Duration::zero();
    return std::chrono::nanoseconds(1'000'000'000) * bytes.size() / faults_.bytes_per_second;
  }
  template <class Fn>
  std::function<void()> posted(Fn fn) {
    return [weak = weak_from_this(), executor = owner_.executor_, fn] {
      boost::asio::post(executor, [weak, fn] {
        if (const auto self = weak.lock()) fn(*self);
      });
    };
  }
  void post_pump() {
    posted([](FaultLink& self) { self.pump(); })();
  }

  void dial() {
    if (ended_ || cancelled_) return;
    if (faults_.refuse) return end(Error(errc::connection_refused, "refused"));
    if (owner_.closed_) return end(Error(errc::closed, "the dialer is closed"));
    StreamOptions wire = options_;
    wire.publisher = owner_.wire_.publisher();
    wire.decoder = std::make_shared<RawDecoder>(options_.decoder);
    wire.id = key_;
    owner_.by_wire_[key_] = weak_from_this();
    if (!first_frame_.empty()) publisher_.sent(first_frame_.size());
    inner_ = owner_.inner_->open(std::move(wire), std::move(first_frame_));
    for (const Credit& credit : std::exchange(credit_before_open_, {}))
      inner_->grant(credit);
    pump();
  }

  void pump() {
    if (ended_) return;
    const TimePoint now = owner_.timers_.now();
    while (!ended_ && !inbound_.empty() && inbound_.front().due <= now && publisher_.may_read()) {
      const Waiting next = std::move(inbound_.front());
      inbound_.pop_front();
      if (const auto taken = publisher_.frame(next.bytes); !taken) {
        if (inner_) inner_->cancel(taken.error());
        return end(taken.error());
      }
    }
    while (inner_ && !silent_ && !outbound_.empty() && outbound_.front().due <= now) {
      const std::size_t size = outbound_.front().bytes.size();
      if (inner_->send(outbound_.front().bytes) != SendStatus::queued) break;
      outbound_.pop_front();
      publisher_.sent(size);
    }
    if (writable_wanted_ && outbound_.size() <= publisher_.limits().outbound_capacity / 2) {
      writable_wanted_ = false;
      if (!finishing_) publisher_.writable();
    }
    if (ended_) return;
    if (finishing_ && !finished_ && inner_ && !silent_ && outbound_.empty()) {
      finished_ = true;
      inner_->finish();
    }
    // A side that has finished, or whose peer is gone, has nothing to wait for but what is due.
    const bool deaf = finishing_ && !publisher_.may_read();
    if (last_words_ && (inbound_.empty() || deaf)) return end(*last_words_);
    arm(now);
  }

  void arm(TimePoint now) {
    std::optional<TimePoint> next;
    if (!inbound_.empty() && inbound_.front().due > now) next = inbound_.front().due;
    if (inner_ && !outbound_.empty() && outbound_.front().due > now) {
      next = next ? std::min(*next, outbound_.front().due) : outbound_.front().due;
    }
    if (!next) return;
    owner_.timers_.cancel(timer_);
    timer_ = owner_.timers_.schedule_at(*next, posted([](FaultLink& self) { self.pump(); }));
  }

  void end(Error why) {
    if (std::exchange(ended_, true)) return;
    owner_.timers_.cancel(timer_);
    inbound_.clear();
    outbound_.clear();
    publisher_.closed(std::move(why));
    // A silent stream's other half stays until the peer, or the dialer, ends it.
    if (!silent_ || !inner_) owner_.forget(key_);
  }

  FaultDialer& owner_;
  const std::uint64_t key_;
  const Faults faults_;
  const StreamOptions options_;
  StreamPublisher publisher_;
  std::shared_ptr<Link> inner_;
  std::string first_frame_;
  std::vector<Credit> credit_before_open_;
  std::deque<Waiting> inbound_;
  std::deque<Waiting> outbound_;
  TimePoint in_ready_{};
  TimePoint out_ready_{};
  std::size_t inbound_number_ = 0;
  bool silent_ = false;
  bool finishing_ = false;
  bool finished_ = false;
  bool cancelled_ = false;
  bool writable_wanted_ = false;
  bool ended_ = false;
  std::optional<Error> last_words_;
  TimerId timer_ = 0;

  friend class FaultDialer;
};

FaultDialer::FaultDialer(std::unique_ptr<Dialer> inner, boost::asio::any_io_executor executor, TimerService& timers,
                         Plan plan)
    : executor_(std::move(executor)),
      timers_(timers),
      plan_(std::move(plan)),
      wire_(BusOptions{.log = nullptr}),
      inner_(std::move(inner)) {
  wire_events_ = wire_.subscribe_inline({.name = "wire"}, [this, alive = std::weak_ptr(alive_)](const EventRef& event) {
    boost::asio::post(executor_, [this, alive, event] {
      if (alive.lock()) inner_event(*event);
    });
  });
}

FaultDialer::~FaultDialer() {
  for (const auto& [key, link] : links_)
    timers_.cancel(link->timer_);
}

void FaultDialer::inner_event(const BusEvent& event) {
  const auto found = by_wire_.find(event.source());
  if (found == by_wire_.end()) return;
  const auto link = found->second.lock();
  if (!link) return;
  if (const auto* opened = event.get_if<StreamOpened>()) {
    link->opened(*opened);
  } else if (const auto* raw = event.get_if<RawFrame>()) {
    link->frame(raw->bytes);
  } else if (event.is<StreamWritable>()) {
    link->writable();
  } else if (const auto* closed = event.get_if<StreamClosed>()) {
    link->inner_closed(closed->error);
    if (link->ended_) forget(link->key_);
  }
}

std::shared_ptr<Link> FaultDialer::open(StreamOptions options, std::string first_frame) {
  const std::uint64_t key = ++opened_;
  auto link = std::make_shared<FaultLink>(*this, key, std::move(options), plan_ ? plan_(key - 1) : Faults{});
  links_.emplace(key, link);
  link->open(std::move(first_frame));
  return link;
}

void FaultDialer::forget(std::uint64_t key) {
  // Posted, because the link's frames may be on the stack.
  boost::asio::post(executor_, [this, alive = std::weak_ptr(alive_), key] {
    if (!alive.lock()) return;
    links_.erase(key);
    by_wire_.erase(key);
    if (closed_ && links_.empty() && done_) inner_->close(std::exchange(done_, nullptr));
  });
}

void FaultDialer::close(std::function<void()> done) {
  closed_ = true;
  done_ = [earlier = std::move(done_), done = std::move(done)] {
    if (earlier) earlier();
    if (done) done();
  };
  std::vector<std::shared_ptr<FaultLink>> links;
  for (const auto& [key, link] : links_)
    links.push_back(link);
  for (const auto& link : links) {
    link->drop();
    forget(link->key_);
  }
  if (links.empty()) inner_->close(std::exchange(done_, nullptr));
}

DialerStats FaultDialer::stats() const {
  std::size_t streams = 0;
  for (const auto& [key, link] : links_)
    streams += link->ended_ ? 0U : 1U;
  return {streams == 0 ? 0U : 1U, streams, opened_, opened_ == 0 ? 0U : 1U};
}

}  // namespace sharingbus::test
