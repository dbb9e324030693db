#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "bench/round_trips/round_trips.hpp"

namespace round_trips {
namespace {

/// What waits to be written on one stream, and one write at a time of it.
class Writes {
 public:
  explicit Writes(bool hint) : hint_(hint) {}

  template <class Reactor>
  void add(Reactor& reactor, grpc::ByteBuffer bytes) {
    const std::scoped_lock lock(mutex_);
    waiting_.push_back(std::move(bytes));
    if (!writing_) write(reactor);
  }
  template <class Reactor>
  void written(Reactor& reactor) {
    const std::scoped_lock lock(mutex_);
    writing_ = false;
    if (!waiting_.empty()) write(reactor);
  }

 private:
  template <class Reactor>
  void write(Reactor& reactor) {
    writing_ = true;
    current_ = std::move(waiting_.front());
    waiting_.pop_front();
    grpc::WriteOptions options;
    if (hint_ && !waiting_.empty()) options.set_buffer_hint();
    reactor.StartWrite(&current_, options);
  }

  const bool hint_;
  std::mutex mutex_;
  std::deque<grpc::ByteBuffer> waiting_;
  grpc::ByteBuffer current_;
  bool writing_ = false;
};

class EchoService final : public grpc::CallbackGenericService {
 public:
  explicit EchoService(bool hint) : hint_(hint) {}

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(bool hint) : writes_(hint) { StartRead(&read_); }
    void OnReadDone(bool ok) override {
      if (!ok) return Finish(grpc::Status::OK);
      grpc::ByteBuffer echoed;
      echoed.Swap(&read_);
      writes_.add(*this, std::move(echoed));
      StartRead(&read_);
    }
    void OnWriteDone(bool ok) override {
      if (ok) writes_.written(*this);
    }
    void OnDone() override { delete this; }

   private:
    Writes writes_;
    grpc::ByteBuffer read_;
  };

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Reactor(hint_);
  }

  const bool hint_;
};

/// All clients of a run: who is done, and what the answers took.
struct Run {
  explicit Run(const Load& load) : tally(load), open(load.streams) {}
  std::mutex mutex;
  std::condition_variable changed;
  Tally tally;
  std::size_t open;
};

class Client final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Client(Run& run, grpc::GenericStub& stub, bool hint, std::size_t window) : run_(run), writes_(hint), window_(window) {
    stub.PrepareBidiStreamingCall(&context_, "/bench.Echo/Stream", grpc::StubOptions(), this);
  }
  void start() {
    AddHold();
    StartRead(&read_);
    // Before anything can come back, which another thread would deal with.
    for (std::size_t i = 0; i < window_; ++i)
      ask();
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    check();
    bool go_on = false;
    {
      const std::scoped_lock lock(run_.mutex);
      go_on = run_.tally.note(asked_.front().at);
    }
    asked_.pop_front();
    if (go_on) ask();
    if (asked_.empty()) {
      StartWritesDone();
      RemoveHold();
    }
    StartRead(&read_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) writes_.written(*this);
  }
  void OnDone(const grpc::Status& status) override {
    if (!status.ok()) fail(status.error_message().c_str());
    const std::scoped_lock lock(run_.mutex);
    if (--run_.open == 0) run_.changed.notify_all();
  }

 private:
  struct Asked {
    Clock::time_point at;
    std::string bytes;
  };

  [[noreturn]] static void fail(const char* why) {
    std::fprintf(stderr, "round_trips: bare gRPC: %s\n", why);
    std::abort();
  }
  void ask() {
    asked_.push_back({Clock::now(), encoded_request(next_++)});
    const grpc::Slice slice(asked_.back().bytes);
    writes_.add(*this, grpc::ByteBuffer(&slice, 1));
  }
  void check() {
    grpc::Slice slice;
    if (!read_.DumpToSingleSlice(&slice).ok()) fail("an answer without bytes");
    const std::string_view bytes(reinterpret_cast<const char*>(slice.begin()), slice.size());
    if (asked_.empty() || bytes != asked_.front().bytes) fail("the answer is not the question");
  }

  Run& run_;
  grpc::ClientContext context_;
  Writes writes_;
  const std::size_t window_;
  grpc::ByteBuffer read_;
  std::deque<Asked> asked_;
  std::uint64_t next_ = 0;
};

}  // namespace

Sample bare_grpc(const Load& load, bool hint) {
  EchoService service(hint);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  const auto server = builder.BuildAndStart();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  grpc::GenericStub stub(
      grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments));
  Run run(load);
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < load.streams; ++i) {
    const std::size_t window = load.concurrency / load.streams + (i < load.concurrency % load.streams ? 1 : 0);
    clients.push_back(std::make_unique<Client>(run, stub, hint, window));
  }
  for (const auto& client : clients)
    client->start();
  {
    std::unique_lock lock(run.mutex);
    run.changed.wait(lock, [&] { return run.open == 0; });
  }
  server->Shutdown();
  return run.tally.sample();
}

}  // namespace round_trips
