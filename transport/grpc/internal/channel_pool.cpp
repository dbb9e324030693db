#include "transport/grpc/internal/channel_pool.hpp"

#include <algorithm>
#include <utility>

#include <grpcpp/create_channel.h>

namespace sharingbus::transport::internal {

ChannelPool::Lease::Lease(std::shared_ptr<ChannelPool> pool, std::shared_ptr<Channel> channel) noexcept
    : pool_(std::move(pool)), channel_(std::move(channel)) {}

ChannelPool::Lease& ChannelPool::Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    release();
    pool_ = std::move(other.pool_);
    channel_ = std::move(other.channel_);
  }
  return *this;
}

grpc::GenericStub& ChannelPool::Lease::stub() const noexcept {
  return *channel_->stub;
}

CompletionThread& ChannelPool::Lease::thread() const noexcept {
  return *channel_->thread;
}

void ChannelPool::Lease::mark_open() {
  pool_->mark_open(*channel_);
}

bool ChannelPool::Lease::leaving() const {
  return pool_->leaving(*channel_);
}

void ChannelPool::Lease::mark_full() {
  if (channel_) pool_->mark_full(*channel_);
}

void ChannelPool::Lease::release() {
  if (!channel_) return;
  const auto pool = std::exchange(pool_, nullptr);
  pool->release(std::exchange(channel_, nullptr));
}

ChannelPool::ChannelPool(DialerThreads& threads, std::string target,
                         std::shared_ptr<grpc::ChannelCredentials> credentials, grpc::ChannelArguments arguments,
                         std::size_t max_streams)
    : threads_(threads),
      target_(std::move(target)),
      credentials_(std::move(credentials)),
      arguments_(std::move(arguments)),
      max_streams_(max_streams) {}

ChannelPool::Lease ChannelPool::acquire() {
  std::vector<std::shared_ptr<Channel>> freed;
  const std::scoped_lock lock(mutex_);
  auto channel = find_room(freed);
  if (!channel) {
    channel = channels_.emplace_back(make_channel());
    ++made_;
  }
  ++channel->streams;
  return {shared_from_this(), std::move(channel)};
}

std::shared_ptr<ChannelPool::Channel> ChannelPool::find_room(std::vector<std::shared_ptr<Channel>>& freed) {
  for (;;) {
    std::shared_ptr<Channel> best;
    for (const auto& each : channels_) {
      if (each->has_room() && (!best || each->streams < best->streams)) best = each;
    }
    if (!best) return nullptr;
    // A channel that failed to connect would fail this stream too, by what it remembers: gRPC tries again when its own
    // backoff says so. A new one resolves and connects at once.
    // Nor does one whose connection is going away, or gone, get a second one while it has streams.
    const grpc_connectivity_state state = best->connection->GetState(false);
    const bool failed = state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN;
    if (!failed && (!best->connected || state == GRPC_CHANNEL_READY)) return best;
    best->retired = true;
    if (best->streams != 0) continue;
    std::erase(channels_, best);
    freed.push_back(std::move(best));
  }
}

std::shared_ptr<ChannelPool::Channel> ChannelPool::make_channel() const {
  auto channel = std::make_shared<Channel>();
  channel->connection = grpc::CreateCustomChannel(target_, credentials_, arguments_);
  channel->stub = std::make_unique<grpc::GenericStub>(channel->connection);
  channel->thread = &threads_.next();
  channel->limit = max_streams_;
  return channel;
}

void ChannelPool::release(const std::shared_ptr<Channel>& channel) {
  const std::scoped_lock lock(mutex_);
  if (--channel->streams != 0) return;
  channel->connected = channel->not_ready = false;
  // The last channel is kept for the next stream; others go when they are idle and there is room without them.
  const bool spare = std::any_of(channels_.begin(), channels_.end(), [&](const std::shared_ptr<Channel>& each) {
    return each != channel && each->has_room();
  });
  if (channel->retired || spare) std::erase(channels_, channel);
}

void ChannelPool::mark_open(Channel& channel) {
  const std::scoped_lock lock(mutex_);
  channel.connected = true;
}

bool ChannelPool::leaving(const Channel& channel) const {
  const std::scoped_lock lock(mutex_);
  return channel.leaving;
}

bool ChannelPool::look_for_leaving() {
  bool found = false;
  const std::scoped_lock lock(mutex_);
  for (const auto& each : channels_) {
    if (each->leaving || !each->connected) continue;
    const bool before = std::exchange(each->not_ready, each->connection->GetState(false) != GRPC_CHANNEL_READY);
    if (!before || !each->not_ready) continue;
    each->leaving = each->retired = true;
    found = true;
  }
  return found;
}

void ChannelPool::mark_full(Channel& channel) {
  const std::scoped_lock lock(mutex_);
  channel.limit = std::min(channel.limit, channel.streams - 1);
  // Nothing works on it: it may be stuck in connecting.
  if (channel.limit == 0) channel.retired = true;
}

void ChannelPool::clear() {
  std::vector<std::shared_ptr<Channel>> freed;
  const std::scoped_lock lock(mutex_);
  freed.swap(channels_);
}

std::size_t ChannelPool::channels() const {
  const std::scoped_lock lock(mutex_);
  return channels_.size();
}

std::uint64_t ChannelPool::channels_made() const {
  const std::scoped_lock lock(mutex_);
  return made_;
}

}  // namespace sharingbus::transport::internal
