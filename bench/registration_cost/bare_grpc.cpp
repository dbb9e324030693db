#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "bench/registration_cost/child.hpp"
#include "bench/registration_cost/figures.hpp"
#include "bench/registration_cost/roles.hpp"

namespace registration_cost {
namespace {

constexpr std::size_t kOnOneChannel = 80;

struct Run {
  explicit Run(std::size_t count) : opening(count), open(count) {}
  std::atomic<std::size_t> opening;
  std::atomic<std::size_t> open;
  std::promise<void> all_open;
  std::promise<void> all_done;
};

/// The least that a stream can be: a call, its context, and a read in flight.
class Stream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Stream(Run& run, grpc::GenericStub& stub) : run_(run) {
    stub.PrepareBidiStreamingCall(&context_, "/matrix.connectors.v1.ConnectorService/Connect", grpc::StubOptions(),
                                  this);
    StartRead(&read_);
    StartCall();
  }
  void cancel() { context_.TryCancel(); }
  void OnReadInitialMetadataDone(bool ok) override {
    if (!ok) fail("a bare stream was refused");
    if (--run_.opening == 0) run_.all_open.set_value();
  }
  void OnDone(const grpc::Status&) override {
    if (--run_.open == 0) run_.all_done.set_value();
  }

 private:
  Run& run_;
  grpc::ClientContext context_;
  grpc::ByteBuffer read_;
};

}  // namespace

int bare_grpc(const Arguments& arguments) {
  const std::size_t count = std::strtoul(arguments.at(3).c_str(), nullptr, 10);
  std::string target = arguments.at(2);
  target.erase(0, target.find("//") + 2);
  Run run(count);
  const std::size_t heap = heap_bytes();
  const std::size_t resident = resident_bytes();
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
  std::vector<std::unique_ptr<Stream>> streams;
  for (std::size_t i = 0; i < count; ++i) {
    if (i % kOnOneChannel == 0) {
      grpc::ChannelArguments channel;
      channel.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      channel.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
      channel.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
      stubs.push_back(std::make_unique<grpc::GenericStub>(
          grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), channel)));
    }
    streams.push_back(std::make_unique<Stream>(run, *stubs.back()));
  }
  run.all_open.get_future().wait();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const auto each = [count](std::size_t now, std::size_t before) {
    return (static_cast<double>(now) - static_cast<double>(before)) / static_cast<double>(count);
  };
  say("heap", each(heap_bytes(), heap));
  say("resident", each(resident_bytes(), resident));
  for (const auto& stream : streams)
    stream->cancel();
  run.all_done.get_future().wait();
  return 0;
}

}  // namespace registration_cost
