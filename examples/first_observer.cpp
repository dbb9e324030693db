// An observer of your own, and an event type of your own: nothing of the framework is edited.
#include <cstdio>

#include "bus/sharing_bus.hpp"

struct OrderPlaced {
  static constexpr std::string_view event_name = "shop.order_placed";
  int number;
  double total;
};

int main() {
  sharingbus::SharingBus bus;
  auto orders = bus.subscribe(sharingbus::Filter::type<OrderPlaced>(), /*capacity=*/2);

  for (int number = 1; number <= 5; ++number)
    bus.publish(OrderPlaced{number, 9.99 * number});
  bus.close();

  for (;;) {
    const sharingbus::Received next = orders.receive();
    if (const auto* order = next.get_if<OrderPlaced>()) std::printf("order %d: %.2f\n", order->number, order->total);
    if (const auto* gap = next.gap()) std::printf("missed %d orders\n", static_cast<int>(gap->count));
    if (next.closed() != nullptr) break;
  }
  return orders.stats().balanced() ? 0 : 1;
}
