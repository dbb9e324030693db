// Where nothing may be lost, publishers wait: `async_publish` towards a subscription with `Overflow::backpressure`.
#include <cstdint>
#include <cstdio>
#include <exception>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "bus/async.hpp"

namespace asio = boost::asio;
using namespace sharingbus;

struct Block {
  static constexpr std::string_view event_name = "backup.block";
  int number;
};
constexpr int kBlocks = 1000;

asio::awaitable<void> read_disk(SharingBus& bus) {
  for (int number = 1; number <= kBlocks; ++number) {
    // Goes on at once while there is room; else when the writer has caught up.
    const PublishResult result =
        co_await async_publish(bus, make_event(Block{number}, routing_for<Block>()), asio::use_awaitable);
    if (!result.accepted()) co_return;  // the bus was closed
  }
  bus.close();
}

asio::awaitable<void> write_tape(Subscription blocks, int& last, bool& in_order) {
  for (;;) {
    const Received next = co_await async_receive(blocks, asio::use_awaitable);
    if (const Block* block = next.get_if<Block>()) in_order = in_order && block->number == ++last;
    // A tape is slower than a disk: each block takes it three turns of the loop.
    for (int turn = 0; turn < 3; ++turn)
      co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
    if (next.gap() != nullptr) in_order = false;
    if (next.closed() != nullptr) co_return;
  }
}

int main() {
  asio::io_context context;
  SharingBus bus;
  SubscriptionOptions options;
  options.name = "tape";
  options.filter = Filter::type<Block>();
  options.capacity = 4;
  options.overflow = Overflow::backpressure;
  auto blocks = bus.subscribe(std::move(options));

  // A plain publish does not wait: with a full queue it would lose the event, counted. try_publish says so instead.
  for (int i = 0; i < 4; ++i)
    bus.publish(Block{0});
  const bool refused =
      bus.try_publish(make_event(Block{0}, routing_for<Block>())).status == PublishStatus::refused_full;
  for (int i = 0; i < 4; ++i)
    (void)blocks.try_receive();

  int last = 0;
  bool in_order = true;
  const auto rethrow = [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  };
  asio::co_spawn(context, write_tape(std::move(blocks), last, in_order), rethrow);
  asio::co_spawn(context, read_disk(bus), rethrow);
  context.run();

  const BusSnapshot books = bus.snapshot();
  std::printf("%d blocks, the reader waited %llu times, lost %llu\n", last,
              static_cast<unsigned long long>(books.publish_waited),
              static_cast<unsigned long long>(books.retired.lagged));
  return refused && last == kBlocks && in_order && books.publish_waited > 0 && books.retired.lagged == 0 ? 0 : 1;
}
