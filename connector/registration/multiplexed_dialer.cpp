#include "connector/registration/multiplexed_dialer.hpp"

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <boost/asio/post.hpp>

#include "connector/identity.hpp"
#include "connector/registration/internal/shared_stream.hpp"
#include "transport/codec/connector_protobuf.hpp"

namespace sharingbus::connector {

namespace messages = transport::messages;
using internal::LaneLink;
using internal::SharedStream;

/// The streams there are. Any thread.
class MultiplexedDialer::State final : public internal::SharedStreamOwner, public std::enable_shared_from_this<State> {
 public:
  State(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers, transport::Dialer& streams,
        std::size_t max_registrations)
      : executor_(std::move(executor)), bus_(bus), timers_(timers), dialer_(streams), most_(max_registrations) {}

  std::shared_ptr<transport::Link> open(transport::StreamOptions options, std::string first_frame);
  void close(const Error& why, std::function<void()> done);
  [[nodiscard]] transport::DialerStats stats() const;

  bool registration_ended(const SharedStream& stream, const std::string& arn) override;
  void stream_leaving(const SharedStream& stream) override;
  void stream_ended(const SharedStream& stream) override;

 private:
  struct Entry {
    std::shared_ptr<SharedStream> stream;
    std::string tenant;
    /// ARNs; an identity that is opened twice, to replace a stream, needs another one.
    std::vector<std::string> registrations;
    bool takes_more = true;
    /// Until then nobody but its first registration has to do with it.
    bool dialled = false;
  };

  /// The stream that has, or gets, a place for it; null: the dialer is closed.
  std::shared_ptr<SharedStream> place_for(const std::string& tenant, const std::string& arn,
                                          const transport::StreamOptions& options);
  // Under the mutex.
  /// Takes a place on a stream that was dialled before. Null: there is none.
  std::shared_ptr<SharedStream> take_place(const std::string& tenant, const std::string& arn);
  Entry* entry_of(const SharedStream& stream);

  const boost::asio::any_io_executor executor_;
  SharingBus& bus_;
  TimerService& timers_;
  transport::Dialer& dialer_;
  const std::size_t most_;

  /// Held while a stream is dialled, so that others wait for places on it. Before the other one.
  std::mutex dialling_;
  /// Never held while anything is called that may publish or dispatch.
  mutable std::mutex mutex_;
  std::vector<Entry> streams_;
  std::uint64_t opened_ = 0;
  std::uint64_t streams_opened_ = 0;
  /// Why, once it is closed.
  std::optional<Error> closed_;
  std::vector<std::function<void()>> closers_;
};

MultiplexedDialer::State::Entry* MultiplexedDialer::State::entry_of(const SharedStream& stream) {
  const auto found =
      std::find_if(streams_.begin(), streams_.end(), [&](const Entry& each) { return each.stream.get() == &stream; });
  return found != streams_.end() ? &*found : nullptr;
}

std::shared_ptr<SharedStream> MultiplexedDialer::State::take_place(const std::string& tenant, const std::string& arn) {
  for (Entry& each : streams_) {
    auto& there = each.registrations;
    if (each.dialled && each.takes_more && each.tenant == tenant && there.size() < most_ &&
        std::find(there.begin(), there.end(), arn) == there.end()) {
      there.push_back(arn);
      ++opened_;
      return each.stream;
    }
  }
  return nullptr;
}

std::shared_ptr<SharedStream> MultiplexedDialer::State::place_for(const std::string& tenant, const std::string& arn,
                                                                  const transport::StreamOptions& options) {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) return nullptr;
    if (auto there = take_place(tenant, arn)) return there;
  }
  const std::scoped_lock dialling(dialling_);
  auto stream = std::make_shared<SharedStream>(executor_, timers_, weak_from_this(), most_);
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) return nullptr;
    // Somebody else may have dialled meanwhile.
    if (auto there = take_place(tenant, arn)) return there;
    streams_.push_back({stream, tenant, {arn}});
    ++opened_;
    ++streams_opened_;
  }
  stream->dial(bus_, dialer_, options);
  std::optional<Error> closed;
  {
    const std::scoped_lock lock(mutex_);
    closed = closed_;
    // It may have ended already.
    if (Entry* const entry = entry_of(*stream)) entry->dialled = true;
  }
  if (closed) stream->cancel(std::move(*closed));
  return stream;
}

std::shared_ptr<transport::Link> MultiplexedDialer::State::open(transport::StreamOptions options,
                                                                std::string first_frame) {
  const auto message = transport::decode_connector_message(first_frame);
  const auto* request = message ? std::get_if<messages::RegisterRequest>(&*message) : nullptr;
  Error refused;
  std::string arn;
  std::shared_ptr<SharedStream> stream;
  if (request == nullptr) {
    refused = {errc::invalid_argument, "the first message on a shared stream must be a register request"};
  } else {
    const Address address{request->tenant_id, request->connector_type, request->instance_id};
    arn = to_arn(address);
    stream = place_for(address.tenant, arn, options);
    if (!stream) refused = {errc::closed, "the dialer is closed"};
  }
  if (stream) return stream->add(std::move(arn), std::move(options), std::move(first_frame));
  const auto none =
      std::make_shared<LaneLink>(std::move(arn), std::weak_ptr<internal::LaneHost>(), nullptr, std::move(options));
  boost::asio::post(executor_, [none, refused] { none->close(refused); });
  return none;
}

void MultiplexedDialer::State::close(const Error& why, std::function<void()> done) {
  std::vector<std::shared_ptr<SharedStream>> streams;
  {
    const std::scoped_lock lock(mutex_);
    if (!closed_) closed_ = why;
    for (const Entry& each : streams_) {
      // Those that are being dialled are cancelled by whoever does.
      if (each.dialled) streams.push_back(each.stream);
    }
    if (!streams_.empty() && done) closers_.push_back(std::exchange(done, nullptr));
  }
  for (const auto& each : streams)
    each->cancel(why);
  if (done) done();
}

transport::DialerStats MultiplexedDialer::State::stats() const {
  const std::scoped_lock lock(mutex_);
  transport::DialerStats stats{streams_.size(), 0, opened_, streams_opened_};
  for (const Entry& each : streams_)
    stats.streams += each.registrations.size();
  return stats;
}

bool MultiplexedDialer::State::registration_ended(const SharedStream& stream, const std::string& arn) {
  const std::scoped_lock lock(mutex_);
  Entry* const entry = entry_of(stream);
  if (entry == nullptr) return true;
  std::erase(entry->registrations, arn);
  if (!entry->registrations.empty()) return false;
  entry->takes_more = false;
  return true;
}

void MultiplexedDialer::State::stream_leaving(const SharedStream& stream) {
  const std::scoped_lock lock(mutex_);
  if (Entry* const entry = entry_of(stream)) entry->takes_more = false;
}

void MultiplexedDialer::State::stream_ended(const SharedStream& stream) {
  std::shared_ptr<SharedStream> freed;
  std::vector<std::function<void()>> done;
  {
    const std::scoped_lock lock(mutex_);
    const auto found =
        std::find_if(streams_.begin(), streams_.end(), [&](const Entry& each) { return each.stream.get() == &stream; });
    if (found == streams_.end()) return;
    freed = std::move(found->stream);
    streams_.erase(found);
    if (streams_.empty()) done.swap(closers_);
  }
  for (const auto& each : done)
    each();
}

MultiplexedDialer::MultiplexedDialer(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers,
                                     transport::Dialer& streams, std::size_t max_registrations)
    : state_(std::make_shared<State>(std::move(executor), bus, timers, streams,
                                     std::max<std::size_t>(max_registrations, 1))) {}

MultiplexedDialer::~MultiplexedDialer() {
  state_->close(Error(errc::closed, "the dialer is gone"), nullptr);
}

std::shared_ptr<transport::Link> MultiplexedDialer::open(transport::StreamOptions options, std::string first_frame) {
  return state_->open(std::move(options), std::move(first_frame));
}

void MultiplexedDialer::close(std::function<void()> done) {
  state_->close(Error(errc::cancelled, "the dialer was closed"), std::move(done));
}

transport::DialerStats MultiplexedDialer::stats() const {
  return state_->stats();
}

}  // namespace sharingbus::connector
