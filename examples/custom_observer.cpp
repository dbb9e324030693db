// An observer as a class: it owns its subscription, its callback runs on an executor, and letting it go ends both.
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>

#include <boost/asio/io_context.hpp>

#include "bus/async.hpp"

using namespace sharingbus;

struct Deposit {
  static constexpr std::string_view event_name = "bank.deposit";
  std::string account;
  std::int64_t cents;
};

class Balances {
 public:
  Balances(SharingBus& bus, boost::asio::any_io_executor executor)
      : subscription_(subscribe_on(bus, std::move(executor), options(), [this](const Received& next) { on(next); })) {}

  std::int64_t of(const std::string& account) { return cents_[account]; }
  std::uint64_t missed() const { return missed_; }
  bool ended() const { return ended_; }

 private:
  static SubscriptionOptions options() {
    SubscriptionOptions options;
    options.name = "balances";  // in snapshots and warnings
    options.filter = Filter::type<Deposit>();
    options.capacity = 1000;  // the largest burst that it should survive
    return options;
  }

  /// On the executor, one call at a time, in the bus's order. It may block: then only this observer lags.
  void on(const Received& next) {
    if (const auto* deposit = next.get_if<Deposit>()) cents_[deposit->account] += deposit->cents;
    if (const Gap* gap = next.gap()) missed_ += gap->count;
    if (next.closed() != nullptr) ended_ = true;
  }

  std::map<std::string, std::int64_t> cents_;
  std::uint64_t missed_ = 0;
  bool ended_ = false;
  // Last, so that it goes first: once it is gone the callback does not run any more.
  CallbackSubscription subscription_;
};

int main() {
  boost::asio::io_context context;
  SharingBus bus;
  Balances balances(bus, context.get_executor());

  for (int i = 0; i < 100; ++i)
    bus.publish(Deposit{i % 2 == 0 ? "alice" : "bob", 100 + i});
  bus.close();
  context.run();  // what the bus has delivered, and the end of the stream

  std::printf("alice %lld, bob %lld, missed %llu\n", static_cast<long long>(balances.of("alice")),
              static_cast<long long>(balances.of("bob")), static_cast<unsigned long long>(balances.missed()));
  const bool shown = balances.of("alice") == 50 * 100 + 2450 && balances.of("bob") == 50 * 100 + 2500;
  return shown && balances.missed() == 0 && balances.ended() ? 0 : 1;
}
