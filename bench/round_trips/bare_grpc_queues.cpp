#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "bench/round_trips/round_trips.hpp"

namespace round_trips {
namespace {

[[noreturn]] void fail(const char* why) {
  std::fprintf(stderr, "round_trips: bare gRPC on queues: %s\n", why);
  std::abort();
}

class Tag {
 public:
  virtual void done(bool ok) = 0;

 protected:
  ~Tag() = default;
};
template <class Owner, void (Owner::*Function)(bool)>
class TagOf final : public Tag {
 public:
  explicit TagOf(Owner& owner) : owner_(owner) {}
  void done(bool ok) override { (owner_.*Function)(ok); }

 private:
  Owner& owner_;
};

void run(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok))
    static_cast<Tag*>(tag)->done(ok);
}

/// What waits to be written on one stream, with the buffer hint, and one write at a time of it.
class Writes {
 public:
  template <class Stream>
  void add(Stream& stream, Tag& tag, grpc::ByteBuffer bytes) {
    waiting_.push_back(std::move(bytes));
    if (!writing_) write(stream, tag);
  }
  template <class Stream>
  void written(Stream& stream, Tag& tag) {
    writing_ = false;
    if (!waiting_.empty()) write(stream, tag);
  }

 private:
  template <class Stream>
  void write(Stream& stream, Tag& tag) {
    writing_ = true;
    const grpc::ByteBuffer next = std::move(waiting_.front());
    waiting_.pop_front();
    grpc::WriteOptions options;
    if (!waiting_.empty()) options.set_buffer_hint();
    stream.Write(next, options, &tag);
  }

  std::deque<grpc::ByteBuffer> waiting_;
  bool writing_ = false;
};

class Server {
 public:
  Server() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterAsyncGenericService(&service_);
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    next();
    thread_ = std::thread([this] { run(*queue_); });
  }
  ~Server() {
    server_->Shutdown();
    queue_->Shutdown();
    thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  [[nodiscard]] int port() const { return port_; }

 private:
  class Call {
   public:
    explicit Call(Server& server) : server_(server) {
      server.service_.RequestCall(&context_, &stream_, server.queue_.get(), server.queue_.get(), &came_);
    }

   private:
    void came(bool ok) {
      if (!ok) return;
      server_.next();
      stream_.Read(&in_, &read_tag_);
    }
    void read(bool ok) {
      if (!ok) return stream_.Finish(grpc::Status::OK, &finish_tag_);
      grpc::ByteBuffer echoed;
      echoed.Swap(&in_);
      writes_.add(stream_, write_tag_, std::move(echoed));
      stream_.Read(&in_, &read_tag_);
    }
    void written(bool ok) {
      if (ok) writes_.written(stream_, write_tag_);
    }
    void finished(bool /*ok*/) {}

    Server& server_;
    grpc::GenericServerContext context_;
    grpc::GenericServerAsyncReaderWriter stream_{&context_};
    TagOf<Call, &Call::came> came_{*this};
    TagOf<Call, &Call::read> read_tag_{*this};
    TagOf<Call, &Call::written> write_tag_{*this};
    TagOf<Call, &Call::finished> finish_tag_{*this};
    Writes writes_;
    grpc::ByteBuffer in_;
  };
  void next() { calls_.push_back(std::make_unique<Call>(*this)); }

  int port_ = 0;
  grpc::AsyncGenericService service_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::thread thread_;
};

/// All of them on one thread.
class Client {
 public:
  /// `open` counts those that are not over.
  Client(Tally& tally, std::size_t& open, grpc::GenericStub& stub, grpc::CompletionQueue& queue, std::size_t window)
      : tally_(tally),
        open_(open),
        window_(window),
        stream_(stub.PrepareCall(&context_, "/bench.Echo/Stream", &queue)) {
    ++open_;
    stream_->StartCall(&start_tag_);
  }

 private:
  struct Asked {
    Clock::time_point at;
    std::string bytes;
  };
  void started(bool ok) {
    if (!ok) fail("no connection");
    for (std::size_t i = 0; i < window_; ++i)
      ask();
    stream_->Read(&in_, &read_tag_);
  }
  void ask() {
    asked_.push_back({Clock::now(), encoded_request(next_++)});
    const grpc::Slice slice(asked_.back().bytes);
    writes_.add(*stream_, write_tag_, grpc::ByteBuffer(&slice, 1));
  }
  void read(bool ok) {
    if (!ok) return stream_->Finish(&status_, &finish_tag_);
    grpc::Slice slice;
    if (!in_.DumpToSingleSlice(&slice).ok()) fail("an answer without bytes");
    const std::string_view bytes(reinterpret_cast<const char*>(slice.begin()), slice.size());
    if (asked_.empty() || bytes != asked_.front().bytes) fail("the answer is not the question");
    const bool go_on = tally_.note(asked_.front().at);
    asked_.pop_front();
    if (go_on) ask();
    if (asked_.empty()) stream_->WritesDone(&end_tag_);
    stream_->Read(&in_, &read_tag_);
  }
  void written(bool ok) {
    if (ok) writes_.written(*stream_, write_tag_);
  }
  void ended(bool /*ok*/) {}
  void finished(bool /*ok*/) {
    if (!status_.ok()) fail(status_.error_message().c_str());
    --open_;
  }

  Tally& tally_;
  std::size_t& open_;
  const std::size_t window_;
  grpc::ClientContext context_;
  TagOf<Client, &Client::started> start_tag_{*this};
  TagOf<Client, &Client::read> read_tag_{*this};
  TagOf<Client, &Client::written> write_tag_{*this};
  TagOf<Client, &Client::ended> end_tag_{*this};
  TagOf<Client, &Client::finished> finish_tag_{*this};
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  Writes writes_;
  grpc::ByteBuffer in_;
  grpc::Status status_;
  std::deque<Asked> asked_;
  std::uint64_t next_ = 0;
};

}  // namespace

Sample bare_grpc_queues(const Load& load) {
  Server server;
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  grpc::GenericStub stub(grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server.port()),
                                                   grpc::InsecureChannelCredentials(), arguments));
  Tally tally(load);
  grpc::CompletionQueue queue;
  std::size_t open = 0;
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < load.streams; ++i) {
    const std::size_t window = load.concurrency / load.streams + (i < load.concurrency % load.streams ? 1 : 0);
    clients.push_back(std::make_unique<Client>(tally, open, stub, queue, window));
  }
  void* tag = nullptr;
  bool ok = false;
  while (open != 0 && queue.Next(&tag, &ok))
    static_cast<Tag*>(tag)->done(ok);
  queue.Shutdown();
  run(queue);
  return tally.sample();
}

}  // namespace round_trips
