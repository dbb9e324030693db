// A stage of your own: it sees every event before anybody else and may change its routing, and nothing but its routing.
// This one replaces the session ids of users by pseudonyms, so that observers can tell sessions apart but not whose.
#include <cstdio>
#include <map>
#include <string>

#include "bus/observers/scroll_id_binder.hpp"
#include "bus/sharing_bus.hpp"

using namespace sharingbus;

struct PageViewed {
  static constexpr std::string_view event_name = "web.page_viewed";
  std::string page;
};

/// Runs on the dispatching thread, never twice at once, so the map needs no lock. It must not block.
class Pseudonyms final : public Stage {
 public:
  std::string_view name() const override { return "pseudonyms"; }
  void on_event(StagedEvent& event) override {
    auto& session = event.routing().native_session_id;
    if (!session) return;
    const auto [entry, is_new] = names_.try_emplace(std::string(*session));
    if (is_new) entry->second = "session-" + std::to_string(names_.size());
    session = entry->second;
  }

 private:
  std::map<std::string, std::string> names_;  // grows with the sessions; bound it in a program that lives long
};

EventDraft view(std::string page, std::string session) {
  Routing routing = routing_for<PageViewed>();
  routing.connector_id = "web";
  routing.native_session_id = std::move(session);
  return make_event(PageViewed{std::move(page)}, std::move(routing));
}

int main() {
  BusOptions options;
  // Stages run in this order. The first, which is there by default, looks sessions up by their true ids.
  options.stages.push_back(std::make_shared<Pseudonyms>());
  SharingBus bus(std::move(options));
  auto views = bus.subscribe(Filter::type<PageViewed>());
  // Filters see what the stages left: nobody can ask for a true id any more.
  auto spy = bus.subscribe(Filter::native_session_id("alice@example.org"));

  // A stage cannot change a payload, so what must stay secret has no place in one that others receive.
  const Uuid scroll = random_uuid();
  bus.publish(SessionRegistered{"web", "alice@example.org", to_string(scroll)});
  bus.publish(view("/cart", "alice@example.org"));
  bus.publish(view("/cart", "bob@example.org"));
  bus.publish(view("/pay", "alice@example.org"));
  bus.close();

  std::string seen;
  bool bound = true;
  for (const EventRef& event : views) {
    const Routing& routing = event->routing();
    const std::string session(*routing.native_session_id);
    std::printf("%s %s\n", session.c_str(), event->get_if<PageViewed>()->page.c_str());
    seen += session + " ";
    bound = bound && (routing.scroll_id == scroll) == (session == "session-1");
  }
  return seen == "session-1 session-2 session-1 " && bound && spy.stats().matched == 0 ? 0 : 1;
}
