// An observer that takes whole batches, and what it sees of its own lag as CSV: batch_observer [FILE], default stdout.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "bus/async.hpp"
#include "bus/base/clock.hpp"

namespace asio = boost::asio;
using namespace sharingbus;

struct Sample {
  static constexpr std::string_view event_name = "example.sample";
  int number;
};

long long microseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

int main(int argc, char** argv) {
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Close> file(argc > 1 ? std::fopen(argv[1], "w") : nullptr);
  if (argc > 1 && file == nullptr) return 1;
  std::FILE* const out = file != nullptr ? file.get() : stdout;

  constexpr int kBursts = 20;
  constexpr int kBurst = 500;
  SystemClock clock;
  asio::io_context context;
  std::optional keep_running(asio::make_work_guard(context));
  SharingBus bus;

  std::uint64_t received = 0;
  std::uint64_t missed = 0;
  std::uint64_t batches = 0;
  std::optional<TimePoint> start;
  SubscriptionOptions options;
  options.name = "csv";  // and no filter: who takes everything gets what one dispatch turn delivered as one batch
  options.capacity = 4 * kBurst;

  // On the context's thread, one call at a time. `lag_us`: how long the oldest of the batch has waited.
  std::fputs("time_us,batch,missed,lag_us\n", out);
  CallbackGroup group(bus, context.get_executor());
  const auto subscription = group.subscribe_batches(std::move(options), [&](const Lent& lent) {
    if (const Gap* gap = lent.gap()) missed += gap->count;
    if (lent.closed() != nullptr) keep_running.reset();
    if (lent.events().empty()) return;
    const EventRef& oldest = lent.events().front();  // borrowed for this call; copy an EventRef to keep its event
    const TimePoint now = clock.now();
    if (!start) start = oldest->published_at();
    received += lent.events().size();
    ++batches;
    std::fprintf(out, "%lld,%d,%d,%lld\n", microseconds(now - *start), static_cast<int>(lent.events().size()),
                 static_cast<int>(missed), microseconds(now - oldest->published_at()));
  });

  std::thread observer([&context] { context.run(); });
  for (int burst = 0; burst < kBursts; ++burst) {
    std::vector<EventDraft> drafts;
    for (int i = 0; i < kBurst; ++i)
      drafts.push_back(make_event(Sample{burst * kBurst + i}, routing_for<Sample>()));
    bus.publish_batch(drafts);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  bus.close();
  observer.join();

  // However slow the machine: what was not received was counted.
  const SubscriptionStats books = subscription.stats();
  const bool complete = received + missed == std::uint64_t{kBursts} * kBurst && missed == books.lagged;
  return complete && books.balanced() && batches < received ? 0 : 1;
}
