// What happens while a link refuses a frame, before the pool hears that it does.

#include "tests/connector/agent/pool_world.hpp"

namespace sharingbus::test {
namespace {

using namespace connector;

/// Streams of another dialer, of which the pool never knows whether they are full, and which the test has refuse a
/// frame.
class RefusingDialer final : public transport::Dialer {
 public:
  class RefusingLink;
  /// What happens before the next `send`, of any stream, answers `full`; empty: it does not.
  using Refusal = std::function<void(RefusingLink&)>;

  class RefusingLink final : public transport::Link {
   public:
    RefusingLink(std::shared_ptr<transport::Link> inner, transport::StreamOptions options,
                 std::shared_ptr<Refusal> refusal)
        : inner_(std::move(inner)), options_(std::move(options)), refusal_(std::move(refusal)) {}
    std::uint64_t id() const noexcept override { return inner_->id(); }
    const Uuid& uid() const noexcept override { return inner_->uid(); }
    transport::SendStatus send(std::string frame) override {
      if (!*refusal_) return inner_->send(std::move(frame));
      std::exchange(*refusal_, nullptr)(*this);
      return transport::SendStatus::full;
    }
    void grant(transport::Credit credit) override { inner_->grant(credit); }
    void finish() override { inner_->finish(); }
    void cancel(Error why) override { inner_->cancel(std::move(why)); }
    transport::LinkStats stats() const override { return {}; }

    void writable() {
      Routing routing = options_.routing;
      options_.publisher.publish(transport::StreamWritable{}, std::move(routing), options_.origin, options_.id);
    }

   private:
    const std::shared_ptr<transport::Link> inner_;
    const transport::StreamOptions options_;
    const std::shared_ptr<Refusal> refusal_;
  };

  RefusingDialer(std::unique_ptr<transport::Dialer> inner, std::shared_ptr<Refusal> refusal)
      : inner_(std::move(inner)), refusal_(std::move(refusal)) {}
  std::shared_ptr<transport::Link> open(transport::StreamOptions options, std::string first_frame) override {
    auto link = inner_->open(options, std::move(first_frame));
    return std::make_shared<RefusingLink>(std::move(link), std::move(options), refusal_);
  }
  void close(std::function<void()> done) override { inner_->close(std::move(done)); }
  transport::DialerStats stats() const override { return inner_->stats(); }

 private:
  const std::unique_ptr<transport::Dialer> inner_;
  const std::shared_ptr<Refusal> refusal_;
};
using RefusingLink = RefusingDialer::RefusingLink;

class PoolLinks : public PoolWorld {
 protected:
  /// An agent that answers nobody, with one pool entry, `waf`.
  ScriptAgent& ready(AgentPoolOptions options) {
    auto& waf = agent("waf.sock");
    waf.on_event = [](const auto&) { return std::optional<messages::AgentResponse>(); };
    options.channel_buffer = 1;
    pool.emplace(
        io.get_executor(), bus, time,
        [this](const connector::AgentEndpoint& where) -> Result<std::unique_ptr<transport::Dialer>> {
          return std::make_unique<RefusingDialer>(network.make_dialer(where.endpoint.host), refusal);
        },
        std::move(options));
    EXPECT_FALSE(add("waf", "waf.sock"));
    return waf;
  }
  void answer(ScriptAgent& waf, const std::string& id) {
    ScriptAgent::Session* holder = waf.holder(id);
    ASSERT_NE(holder, nullptr) << "it was not sent, or twice";
    waf.send(*holder, ScriptAgent::allow(id));
    run();
  }

  const std::shared_ptr<RefusingDialer::Refusal> refusal = std::make_shared<RefusingDialer::Refusal>();
};

TEST_F(PoolLinks, RoomAgainBeforeTheRefusalIsKnown_TheFrameGoesOut) {
  auto& waf = ready(small(1));
  *refusal = [&](RefusingLink& link) {
    link.writable();
    run();
  };
  const auto first = headers("waf", "c");
  run();
  answer(waf, "c");
  EXPECT_TRUE(first->allowed());
  const auto second = headers("waf", "d");
  run();
  answer(waf, "d");
  EXPECT_TRUE(second->allowed());
}

TEST_F(PoolLinks, RoomAgainBeforeTheRefusalIsKnown_CancelsGoOutToo) {
  auto& waf = ready(small(1));
  const auto call = headers("waf", "c");
  run();
  *refusal = [&](RefusingLink& link) {
    link.writable();
    run();
  };
  call->cancel.emit(boost::asio::cancellation_type::terminal);
  run();
  EXPECT_EQ(waf.session(0).cancels.size(), 1U);
}

TEST_F(PoolLinks, RefusedUntilThereIsRoom_TheFrameWaitsForTheWord) {
  auto& waf = ready(small(1));
  RefusingLink* full = nullptr;
  *refusal = [&](RefusingLink& link) { full = &link; };
  const auto call = headers("waf", "c");
  run();
  ASSERT_NE(full, nullptr);
  EXPECT_EQ(waf.events(), 0U);
  full->writable();
  run();
  answer(waf, "c");
  EXPECT_TRUE(call->allowed());
}

TEST_F(PoolLinks, ConnectionLostBeforeTheRefusalIsKnown_TheRetryIsLeftAlone) {
  auto options = small(2);
  options.retry.attempts = 1;
  auto& waf = ready(options);
  *refusal = [&](RefusingLink& link) {
    link.cancel(Error(errc::cancelled, "gone"));
    run();
  };
  const auto call = headers("waf", "c");
  run();
  EXPECT_EQ(pool->protocol_metrics().retries.load(), 1U);
  answer(waf, "c");
  EXPECT_TRUE(call->allowed());
}

TEST_F(PoolLinks, ConnectionReplacedBeforeTheRefusalIsKnown_TheFrameGoesToTheNewOne) {
  auto& waf = ready(small(1));
  pool->start_maintenance();
  *refusal = [&](RefusingLink&) {
    messages::HealthStatus sick;
    sick.state = messages::HealthState::unhealthy;
    waf.send(waf.session(0), sick);
    run();
    advance(5s);
  };
  const auto call = headers("waf", "c");
  run();
  ASSERT_EQ(waf.sessions().size(), 2U);
  answer(waf, "c");
  EXPECT_TRUE(call->allowed());
  EXPECT_EQ(waf.open_sessions(), 1U) << "the old one had nothing left to do";
}

}  // namespace
}  // namespace sharingbus::test
