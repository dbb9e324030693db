#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <variant>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include "bench/agents/agents.hpp"
#include "bench/agents/house.hpp"
#include "connector/agent/agent_pool.hpp"
#include "connector/inline_executor.hpp"

namespace agents {

using namespace sharingbus;                             // NOLINT(google-build-using-namespace): a program
using namespace sharingbus::transport::agent_messages;  // NOLINT(google-build-using-namespace)
using connector::AgentReply;
using WallClock = std::chrono::steady_clock;

namespace {

/// Asks, as many at once as there are lanes; each lane asks again from its answer, in the thread that brings it.
class Asking {
 public:
  Asking(connector::AgentPool& pool, const Load& load)
      : pool_(pool),
        load_(load),
        harmless_(make_request(false)),
        malicious_(make_request(true)),
        lanes_(load.concurrency) {
    took_ns_.reserve(load.requests);
  }

  void start(std::function<void()> done) {
    done_ = std::move(done);
    const std::scoped_lock lock(mutex_);
    busy_ = lanes_.size();
    for (Lane& lane : lanes_)
      ask(lane);
  }

  void report() {
    std::sort(took_ns_.begin(), took_ns_.end());
    const auto at = [this](double share) {
      if (took_ns_.empty()) return 0.0;
      return static_cast<double>(took_ns_[static_cast<std::size_t>(share * static_cast<double>(took_ns_.size() - 1))]) /
             1000.0;
    };
    const double seconds = std::chrono::duration<double>(ended_ - began_).count();
    std::printf(R"({"requests":%zu,"wrong":%llu,"errors":%llu,"rps":%.0f,"p50_us":%.1f,"p99_us":%.1f})"
                "\n",
                took_ns_.size(), static_cast<unsigned long long>(wrong_), static_cast<unsigned long long>(errors_),
                static_cast<double>(took_ns_.size()) / seconds, at(0.5), at(0.99));
  }
  [[nodiscard]] bool right() const { return wrong_ == 0 && errors_ == 0 && took_ns_.size() == load_.requests; }

 private:
  struct Lane {
    std::uint64_t index = 0;
    std::string id;
    WallClock::time_point asked;
  };

  void ask(Lane& lane) {
    if (next_ >= load_.warm_up + load_.requests) {
      if (--busy_ != 0) return;
      ended_ = WallClock::now();
      return boost::asio::post(pool_.get_executor(), done_);
    }
    lane.index = next_++;
    lane.id = "request-" + std::to_string(lane.index);
    lane.asked = WallClock::now();
    if (lane.index == load_.warm_up) began_ = lane.asked;
    RequestHeaders& event = is_malicious(lane.index) ? malicious_ : harmless_;
    event.metadata.correlation_id = lane.id;
    event.metadata.request_id = lane.id;
    pool_.send_request_headers("agent", lane.id, event,
                               boost::asio::bind_executor(connector::InlineExecutor(),
                                                          [this, &lane](const Error& error, const AgentReply& reply) {
                                                            answered(lane, error, reply);
                                                          }));
  }

  void answered(Lane& lane, const Error& error, const AgentReply& reply) {
    const std::scoped_lock lock(mutex_);
    if (lane.index >= load_.warm_up) took_ns_.push_back((WallClock::now() - lane.asked).count());
    pool_.clear_correlation_affinity(lane.id);
    if (error) {
      ++errors_;
    } else if (!is_right(lane, *reply)) {
      ++wrong_;
    }
    ask(lane);
  }
  [[nodiscard]] static bool is_right(const Lane& lane, const AgentResponse& response) {
    if (response.correlation_id != lane.id) return false;
    if (is_malicious(lane.index)) {
      const auto* block = std::get_if<Block>(&response.decision);
      return block != nullptr && block->status == 403;
    }
    return std::holds_alternative<Allow>(response.decision) && response.request_headers.size() == 1 &&
           response.request_headers.front().name == "x-inspected";
  }

  connector::AgentPool& pool_;
  const Load load_;
  std::mutex mutex_;
  RequestHeaders harmless_;
  RequestHeaders malicious_;
  std::vector<Lane> lanes_;
  std::vector<std::int64_t> took_ns_;
  std::function<void()> done_;
  WallClock::time_point began_;
  WallClock::time_point ended_;
  std::uint64_t next_ = 0;
  std::size_t busy_ = 0;
  std::uint64_t wrong_ = 0;
  std::uint64_t errors_ = 0;
};

}  // namespace

int run_agent(const std::string& endpoint, std::size_t threads, bool phased) {
  House house(threads, phased ? WaitStrategy::phased : WaitStrategy::block);
  connector::AgentServer server(house.executor(), house.bus(), house.timers(), make_handler(), {});
  const auto bound = server.serve(make_listener(house, server, endpoint));
  if (!bound) {
    std::fprintf(stderr, "agents: %s\n", to_string(bound.error()).c_str());
    return 1;
  }
  boost::asio::signal_set signals(house.context(), SIGTERM, SIGINT);
  signals.async_wait(
      [&](const boost::system::error_code&, int) { server.close(std::chrono::seconds(1), [&] { house.stop(); }); });
  std::printf("listening %s\n", transport::to_string(*bound).c_str());
  std::fflush(stdout);
  house.run();
  return 0;
}

int run_pool(const Load& load) {
  House house(load.threads, load.phased ? WaitStrategy::phased : WaitStrategy::block);
  connector::AgentPoolOptions options;
  options.connections_per_agent = load.connections;
  options.max_concurrent_per_connection = 1000;
  options.calls_in_a_row = load.calls_in_a_row;
  if (load.msgpack) options.encodings = {"msgpack", "json"};
  connector::AgentPool pool(house.executor(), house.bus(), house.timers(), make_dialers(house), options);
  Asking asking(pool, load);
  Error failed;
  const auto close = [&] { pool.async_close([&](const Error&) { house.stop(); }); };
  pool.async_add_agent("agent", load.endpoint, [&](const Error& error) {
    failed = error;
    if (error) return close();
    asking.start(close);
  });
  house.run();
  if (failed) {
    std::fprintf(stderr, "agents: %s\n", to_string(failed).c_str());
    return 1;
  }
  asking.report();
  return asking.right() ? 0 : 1;
}

}  // namespace agents
