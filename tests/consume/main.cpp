#include "bus/sharing_bus.hpp"

struct Ping {
  static constexpr std::string_view event_name = "consumer.ping";
  int number = 0;
};

int main() {
  sharingbus::SharingBus bus;
  auto pings = bus.subscribe(sharingbus::Filter::type<Ping>());
  bus.publish(Ping{42});
  const sharingbus::Received received = pings.try_receive();
  const Ping* ping = received.get_if<Ping>();
  return ping != nullptr && ping->number == 42 ? 0 : 1;
}
