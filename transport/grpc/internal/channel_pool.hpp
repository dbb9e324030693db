#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "transport/grpc/internal/completion_thread.hpp"

namespace sharingbus::transport::internal {

/// Channels to one target, each a connection of its own and shared by a limited number of streams. Any thread.
class ChannelPool : public std::enable_shared_from_this<ChannelPool> {
  struct Channel;

 public:
  /// One stream's place on a channel, from before it opens until it has ended. Move-only.
  class Lease {
   public:
    Lease() noexcept = default;
    Lease(std::shared_ptr<ChannelPool> pool, std::shared_ptr<Channel> channel) noexcept;
    Lease(Lease&&) noexcept = default;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease() { release(); }

    [[nodiscard]] grpc::GenericStub& stub() const noexcept;
    /// Of all the channel's streams.
    [[nodiscard]] CompletionThread& thread() const noexcept;
    /// The stream is open, and so the channel connected.
    void mark_open();
    /// The server said that it goes away: see `look_for_leaving`.
    [[nodiscard]] bool leaving() const;
    /// The stream got no answer to its opening: the channel shall not get more streams than the others it has.
    void mark_full();
    void release();

   private:
    std::shared_ptr<ChannelPool> pool_;
    std::shared_ptr<Channel> channel_;
  };

  /// `threads` must outlive the pool's channels.
  ChannelPool(DialerThreads& threads, std::string target, std::shared_ptr<grpc::ChannelCredentials> credentials,
              grpc::ChannelArguments arguments, std::size_t max_streams);

  /// A place on the channel with the most room; on a new one when all are at their limit or failed to connect.
  [[nodiscard]] Lease acquire();
  /// Finds the channels whose server goes away: gRPC shows a GOAWAY only as a channel that is not ready any more while
  /// its streams go on. Streams of a connection that broke end at once, so it has to be so twice in a row. True when
  /// there is another one, which takes no more streams.
  [[nodiscard]] bool look_for_leaving();
  /// Lets all channels go. No lease may be left.
  void clear();

  [[nodiscard]] std::size_t channels() const;
  /// Channels made since the beginning.
  [[nodiscard]] std::uint64_t channels_made() const;

 private:
  struct Channel {
    std::shared_ptr<grpc::Channel> connection;
    std::unique_ptr<grpc::GenericStub> stub;
    CompletionThread* thread = nullptr;
    std::size_t streams = 0;
    std::size_t limit = 0;
    /// Takes no more streams and goes with its last one.
    bool retired = false;
    /// Streams are open on its connection.
    bool connected = false;
    bool not_ready = false;
    bool leaving = false;
    [[nodiscard]] bool has_room() const noexcept { return !retired && streams < limit; }
  };

  [[nodiscard]] std::shared_ptr<Channel> make_channel() const;
  [[nodiscard]] std::shared_ptr<Channel> find_room(std::vector<std::shared_ptr<Channel>>& freed);
  /// The caller still holds it, and so frees it after unlocking.
  void release(const std::shared_ptr<Channel>& channel);
  void mark_full(Channel& channel);
  void mark_open(Channel& channel);
  [[nodiscard]] bool leaving(const Channel& channel) const;

  DialerThreads& threads_;
  const std::string target_;
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  const grpc::ChannelArguments arguments_;
  const std::size_t max_streams_;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Channel>> channels_;
  std::uint64_t made_ = 0;
};

}  // namespace sharingbus::transport::internal
