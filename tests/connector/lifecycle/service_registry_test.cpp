#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "connector/lifecycle/registry.hpp"
#include "tests/support/manual_clock.hpp"

namespace sharingbus::connector {
namespace {

using std::chrono::seconds;
using test::ManualTimerService;

ExtensionService named(const std::string& name, std::vector<std::string> capabilities = {}) {
  ExtensionService service;
  service.name = name;
  for (std::string& capability : capabilities)
    service.capabilities.push_back({std::move(capability), "1.0", {}});
  return service;
}

std::vector<std::string> names(const std::vector<ExtensionService>& services) {
  std::vector<std::string> names;
  for (const auto& service : services)
    names.push_back(service.name);
  return names;
}

class RegistryTest : public ::testing::Test {
 protected:
  ManualTimerService clock;
  ServiceRegistry sut{clock};
};

TEST_F(RegistryTest, TransportConfig_HasTheSpecsDefaults) {
  const TransportConfig sut_config;
  EXPECT_EQ(sut_config.type, ServiceTransport::stdio);
  EXPECT_EQ(sut_config.timeout, seconds(30));
  EXPECT_TRUE(sut_config.auto_reconnect);
  EXPECT_EQ(sut_config.max_retries, 3u);
  EXPECT_EQ(sut_config.heartbeat_interval, seconds(30));
}

TEST_F(RegistryTest, NewService_HasAUuidAsItsId) {
  EXPECT_TRUE(parse_uuid(ExtensionService{}.id).has_value());
  EXPECT_NE(ExtensionService{}.id, ExtensionService{}.id);
}

TEST_F(RegistryTest, Register_IsFoundByIdAndName) {
  const ExtensionService service = named("one");
  ASSERT_TRUE(sut.register_service(service));
  EXPECT_EQ(sut.get(service.id), service);
  EXPECT_EQ(sut.get_by_name("one"), service);
  EXPECT_EQ(sut.get("one"), std::nullopt);
  EXPECT_EQ(sut.get_by_name(service.id), std::nullopt);
}

TEST_F(RegistryTest, Register_SecondOfTheName_IsRefused) {
  const ExtensionService first = named("one");
  ASSERT_TRUE(sut.register_service(first));
  const auto refused = sut.register_service(named("one"));
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(errc::already_exists));
  EXPECT_EQ(refused.error().message, "Service 'one' already exists");
  EXPECT_EQ(sut.get_by_name("one")->id, first.id);
}

TEST_F(RegistryTest, Register_SecondOfTheId_IsRefused) {
  ExtensionService first = named("one");
  ExtensionService second = named("two");
  second.id = first.id;
  ASSERT_TRUE(sut.register_service(first));
  EXPECT_TRUE(sut.register_service(second).error().is(errc::already_exists));
  EXPECT_EQ(sut.get_by_name("two"), std::nullopt);
}

TEST_F(RegistryTest, Register_WithoutNameOrId_NamesTheField) {
  EXPECT_EQ(sut.register_service(named("")).error().message, "ExtensionService::name is empty");
  ExtensionService service = named("one");
  service.id.clear();
  EXPECT_EQ(sut.register_service(service).error().message, "ExtensionService::id is empty");
}

TEST_F(RegistryTest, Unregister_GivesTheServiceBackAndFreesItsName) {
  const ExtensionService service = named("one", {"code"});
  ASSERT_TRUE(sut.register_service(service));
  EXPECT_EQ(sut.unregister_service(service.id).value(), service);
  EXPECT_EQ(sut.size(), 0u);
  EXPECT_TRUE(sut.find_by_capability("code").empty());
  EXPECT_TRUE(sut.register_service(named("one")));
}

TEST_F(RegistryTest, UnknownId_IsNotFoundWithTheSpecsText) {
  const std::string text = "Service 'nobody' not found";
  EXPECT_EQ(sut.unregister_service("nobody").error().message, text);
  EXPECT_EQ(sut.heartbeat("nobody").error().message, text);
  EXPECT_EQ(sut.update_status("nobody", ServiceStatus::error).error().message, text);
  EXPECT_TRUE(sut.update_retry_count("nobody", 1).error().is(errc::not_found));
}

TEST_F(RegistryTest, FindByCapability_GivesThoseThatHaveItInOrder) {
  ASSERT_TRUE(sut.register_service(named("one", {"code", "chat"})));
  ASSERT_TRUE(sut.register_service(named("two", {"chat"})));
  ASSERT_TRUE(sut.register_service(named("three", {"code"})));
  EXPECT_EQ(names(sut.find_by_capability("code")), (std::vector<std::string>{"one", "three"}));
  EXPECT_TRUE(sut.find_by_capability("Code").empty());
}

TEST_F(RegistryTest, List_JoinsStatusCapabilityAndTransport) {
  ExtensionService tcp = named("tcp", {"code"});
  tcp.transport.type = ServiceTransport::tcp;
  ASSERT_TRUE(sut.register_service(tcp));
  ASSERT_TRUE(sut.register_service(named("stdio", {"code"})));
  ASSERT_TRUE(sut.update_status(tcp.id, ServiceStatus::running));
  EXPECT_EQ(names(sut.list()), (std::vector<std::string>{"tcp", "stdio"}));
  EXPECT_EQ(names(sut.list({.status = ServiceStatus::running})), std::vector<std::string>{"tcp"});
  EXPECT_EQ(names(sut.list({.transport = ServiceTransport::stdio})), std::vector<std::string>{"stdio"});
  EXPECT_EQ(names(sut.list({.capability = "code", .transport = ServiceTransport::tcp})),
            std::vector<std::string>{"tcp"});
  EXPECT_TRUE(sut.list({.status = ServiceStatus::running, .transport = ServiceTransport::stdio}).empty());
}

TEST_F(RegistryTest, Stats_CountByStatus) {
  std::vector<ExtensionService> services;
  for (const ServiceStatus status : kServiceStatuses) {
    services.push_back(named(std::string(to_string(status))));
    ASSERT_TRUE(sut.register_service(services.back()));
    ASSERT_TRUE(sut.update_status(services.back().id, status));
  }
  EXPECT_EQ(sut.stats(), (RegistryStats{.total = 6, .running = 1, .stopped = 1, .errors = 1, .reconnecting = 1}));
}

TEST_F(RegistryTest, HealthCheck_RunningAndSilentForMoreThanAMinute_IsReconnecting) {
  const ExtensionService service = named("one");
  ASSERT_TRUE(sut.register_service(service));
  ASSERT_TRUE(sut.update_status(service.id, ServiceStatus::running));
  clock.advance(seconds(30));
  ASSERT_TRUE(sut.heartbeat(service.id));
  clock.advance(seconds(60));
  EXPECT_TRUE(sut.health_check().empty());
  clock.advance(Duration(1));
  EXPECT_EQ(sut.silent(), std::vector<std::string>{service.id});
  EXPECT_EQ(sut.status(service.id), ServiceStatus::running);
  EXPECT_EQ(sut.health_check(), std::vector<std::string>{service.id});
  EXPECT_EQ(sut.status(service.id), ServiceStatus::reconnecting);
  EXPECT_TRUE(sut.health_check().empty());
}

TEST_F(RegistryTest, HealthCheck_WithoutAnyHeartbeat_CountsFromTheStart) {
  const ExtensionService service = named("one");
  ASSERT_TRUE(sut.register_service(service));
  clock.advance(seconds(100));
  EXPECT_TRUE(sut.health_check().empty()) << "not running";
  ASSERT_TRUE(sut.update_status(service.id, ServiceStatus::running));
  clock.advance(seconds(60));
  EXPECT_TRUE(sut.health_check().empty());
  clock.advance(seconds(1));
  EXPECT_EQ(sut.health_check(), std::vector<std::string>{service.id});
}

/// The same, without any index.
struct Model {
  std::vector<ExtensionService> services;

  ExtensionService* find(const std::string& id) {
    const auto found = std::find_if(services.begin(), services.end(), [&](const auto& s) { return s.id == id; });
    return found != services.end() ? &*found : nullptr;
  }
  std::vector<std::string> list(const ServiceFilter& filter) const {
    std::vector<std::string> found;
    for (const ExtensionService& service : services) {
      if (filter.status && service.status != *filter.status) continue;
      if (filter.transport && service.transport.type != *filter.transport) continue;
      if (filter.capability && std::none_of(service.capabilities.begin(), service.capabilities.end(),
                                            [&](const auto& c) { return c.name == *filter.capability; })) {
        continue;
      }
      found.push_back(service.name);
    }
    return found;
  }
};

class RandomOperations {
 public:
  RandomOperations(std::uint32_t seed, ManualTimerService& clock, ServiceRegistry& sut)
      : random_(seed), clock_(clock), sut_(sut) {}

  void step() {
    switch (draw(7)) {
      case 0:
      case 1:
        return add();
      case 2:
        return remove();
      case 3:
        return set_status();
      case 4:
        return beat();
      case 5:
        clock_.advance(seconds(draw(50)));
        return;
      default:
        return check_health();
    }
  }
  void compare() {
    const ServiceFilter filters[] = {{},
                                     {.status = kServiceStatuses[draw(6)]},
                                     {.capability = capability()},
                                     {.capability = capability(), .transport = ServiceTransport::tcp},
                                     {.status = kServiceStatuses[draw(6)], .capability = capability()}};
    for (const ServiceFilter& filter : filters)
      ASSERT_EQ(names(sut_.list(filter)), model_.list(filter));
    ASSERT_EQ(sut_.size(), model_.services.size());
    ASSERT_EQ(sut_.stats().running, model_.list({.status = ServiceStatus::running}).size());
    for (const ExtensionService& service : model_.services)
      ASSERT_EQ(sut_.get_by_name(service.name), service);
  }

 private:
  std::uint32_t draw(std::uint32_t below) {
    return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(random_);
  }
  std::string capability() { return "capability-" + std::to_string(draw(4)); }
  std::string some_id() {
    if (model_.services.empty() || draw(10) == 0) return "nobody";
    return model_.services[draw(static_cast<std::uint32_t>(model_.services.size()))].id;
  }

  void add() {
    ExtensionService service = named("service-" + std::to_string(draw(30)));
    for (std::uint32_t i = draw(3); i != 0; --i)
      service.capabilities.push_back({capability(), "1", {}});
    service.transport.type = static_cast<ServiceTransport>(draw(4));
    const bool taken = !model_.list({}).empty() && sut_.get_by_name(service.name).has_value();
    ASSERT_EQ(sut_.register_service(service).has_value(), !taken);
    if (taken) return;
    model_.services.push_back(service);
    since_[service.id] = clock_.now();
  }
  void remove() {
    const std::string id = some_id();
    ASSERT_EQ(sut_.unregister_service(id).has_value(), model_.find(id) != nullptr);
    std::erase_if(model_.services, [&](const auto& service) { return service.id == id; });
  }
  void set_status() {
    const std::string id = some_id();
    const ServiceStatus status = kServiceStatuses[draw(6)];
    ExtensionService* known = model_.find(id);
    ASSERT_EQ(sut_.update_status(id, status).has_value(), known != nullptr);
    if (known == nullptr) return;
    if (status == ServiceStatus::running && known->status != status) since_[id] = clock_.now();
    known->status = status;
  }
  void beat() {
    const std::string id = some_id();
    ExtensionService* known = model_.find(id);
    ASSERT_EQ(sut_.heartbeat(id).has_value(), known != nullptr);
    if (known != nullptr) known->last_heartbeat = clock_.now();
  }
  void check_health() {
    std::vector<std::string> expected;
    for (ExtensionService& service : model_.services) {
      if (service.status != ServiceStatus::running) continue;
      if (clock_.now() - service.last_heartbeat.value_or(since_[service.id]) <= seconds(60)) continue;
      service.status = ServiceStatus::reconnecting;
      expected.push_back(service.id);
    }
    ASSERT_EQ(sut_.health_check(), expected);
  }

  std::mt19937 random_;
  ManualTimerService& clock_;
  ServiceRegistry& sut_;
  Model model_;
  std::map<std::string, TimePoint> since_;
};

class RegistryModel : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(RegistryModel, RandomOperations_AgreeWithTheModel) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  ManualTimerService clock;
  ServiceRegistry sut(clock);
  RandomOperations operations(GetParam(), clock, sut);
  for (int i = 0; i < 1500; ++i) {
    operations.step();
    if (::testing::Test::HasFatalFailure()) return;
    if (i % 10 == 0) operations.compare();
    if (::testing::Test::HasFatalFailure()) return;
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, RegistryModel, ::testing::Values(1u, 2u, 3u, 4u, 5u));

TEST(RegistryConcurrency, ManyThreads_EachSeesItsOwnServicesWholeAndNothingIsLeft) {
  ManualTimerService clock;
  ServiceRegistry sut(clock);
  std::atomic<int> wrong{0};
  const auto work = [&](int thread) {
    const std::string mine = "thread-" + std::to_string(thread) + "-";
    for (int i = 0; i < 200; ++i) {
      ExtensionService own = named(mine + std::to_string(i), {"shared", mine});
      const ExtensionService contended = named("contended");
      wrong += sut.register_service(own) ? 0 : 1;
      const bool won = sut.register_service(contended).has_value();
      wrong += sut.update_status(own.id, ServiceStatus::running) ? 0 : 1;
      wrong += sut.heartbeat(own.id) ? 0 : 1;
      wrong += sut.list({.status = ServiceStatus::running, .capability = mine}).size() == 1 ? 0 : 1;
      for (const ExtensionService& other : sut.find_by_capability("shared"))
        wrong += other.capabilities.size() == 2 ? 0 : 1;
      (void)sut.health_check();
      wrong += sut.stats().total >= 1 ? 0 : 1;
      if (won) wrong += sut.unregister_service(contended.id) ? 0 : 1;
      wrong += sut.unregister_service(own.id) ? 0 : 1;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back(work, i);
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(sut.size(), 0u);
  EXPECT_EQ(sut.stats(), RegistryStats{});
}

}  // namespace
}  // namespace sharingbus::connector
