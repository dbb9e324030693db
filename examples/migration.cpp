// The snippets of docs/migration.md, compiled and checked: what replaces tokio::sync::broadcast, Boost.Signals2 and
// eventpp.
#include <cstdint>
#include <cstdio>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "bus/async.hpp"

using namespace sharingbus;

struct Message {
  static constexpr std::string_view event_name = "chat.message";
  int number;
};
struct Joined {
  static constexpr std::string_view event_name = "chat.joined";
  int user;
};

/// broadcast::channel(2), tx.send, rx.recv, Lagged, Closed, rx.resubscribe.
bool from_broadcast() {
  SharingBus bus;
  SubscriptionOptions options;
  options.capacity = 2;                      // of this receiver alone
  options.overflow = Overflow::drop_oldest;  // as a broadcast channel does
  Subscription receiver = bus.subscribe(options);
  Publisher sender = bus.publisher();  // clone the sender: copy the publisher

  for (int i = 1; i <= 5; ++i)
    sender.publish(Message{i}, routing_for<Message>());
  bus.close();  // drop the last sender

  std::uint64_t lagged = 0;
  int sum = 0;
  for (;;) {
    const Received next = receiver.receive();
    if (const Gap* gap = next.gap()) lagged += gap->count;  // RecvError::Lagged(count)
    if (const Message* message = next.get_if<Message>()) sum += message->number;
    if (next.closed() != nullptr) break;  // RecvError::Closed
  }
  return lagged == 3 && sum == 4 + 5;
}

/// signal.connect, signal(…), connection.disconnect, scoped_connection.
bool from_signals2() {
  SharingBus bus;
  int calls = 0;
  SubscriptionOptions options;
  options.filter = Filter::type<Message>();
  {
    // Called inside publish, like a slot, but never by two threads at once. It must not block.
    Subscription connection =
        bus.subscribe_inline(options, [&](const EventRef& event) { calls += event->get_if<Message>()->number; });
    bus.publish(Message{1});
  }  // disconnects; afterwards the callback is not running and will not run
  bus.publish(Message{10});
  return calls == 1;
}

/// queue.appendListener(key, …), queue.enqueue, queue.process on the thread that owns the loop.
bool from_eventpp() {
  boost::asio::io_context loop;
  SharingBus bus;
  std::vector<int> seen;
  const auto listen = [&](Filter filter, auto callback) {
    SubscriptionOptions options;
    options.filter = std::move(filter);
    return subscribe_on(bus, loop.get_executor(), std::move(options), std::move(callback));
  };
  const auto messages = listen(Filter::type<Message>(), [&](const Received& next) {
    if (const Message* message = next.get_if<Message>()) seen.push_back(message->number);
  });
  const auto joins = listen(Filter::type<Joined>(), [&](const Received& next) {
    if (const Joined* joined = next.get_if<Joined>()) seen.push_back(-joined->user);
  });

  bus.publish(Message{1});  // enqueue
  bus.publish(Joined{7});
  bus.publish(Message{2});
  if (!seen.empty()) return false;
  loop.poll();           // process
  std::erase(seen, -7);  // order holds within one subscription, not between two
  return seen == std::vector<int>{1, 2};
}

int main() {
  const bool broadcast = from_broadcast();
  const bool signals2 = from_signals2();
  const bool eventpp = from_eventpp();
  std::printf("broadcast %d, signals2 %d, eventpp %d\n", broadcast, signals2, eventpp);
  return broadcast && signals2 && eventpp ? 0 : 1;
}
