#include "cli/demo_load.hpp"

#include <algorithm>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <utility>

namespace sharingbus::cli {
namespace {

namespace asio = boost::asio;
using connector::RequestCompleted;

constexpr std::uint64_t kRequestsPerSlowRead = 100;

SubscriptionOptions slow_options() {
  SubscriptionOptions options;
  options.name = "slow";
  options.capacity = 16;
  return options;
}

}  // namespace

DemoLoad::DemoLoad(asio::any_io_executor executor, SharingBus& bus, const Clock& clock, connector::Gateway& gateway,
                   std::vector<std::string> addresses, std::uint64_t requests, std::uint64_t concurrency)
    : strand_(asio::make_strand(std::move(executor))),
      bus_(bus),
      clock_(clock),
      gateway_(gateway),
      addresses_(std::move(addresses)),
      concurrency_(concurrency),
      to_issue_(requests),
      slow_(bus.subscribe(slow_options())) {}

void DemoLoad::start(std::function<void()> done) {
  asio::post(strand_, [self = shared_from_this(), done = std::move(done)]() mutable {
    self->done_ = std::move(done);
    SubscriptionOptions options;
    options.name = "audit";
    options.filter = Filter::type<RequestCompleted>();
    options.capacity = self->concurrency_;
    self->audit_ = subscribe_on(self->bus_, self->strand_, std::move(options), [weak = self->weak_from_this()](const auto& received) {
      if (const auto load = weak.lock()) load->audit(received);
    });
    self->started_at_ = self->clock_.now();
    self->pump();
  });
}

void DemoLoad::interrupt() {
  asio::post(strand_, [self = shared_from_this()] {
    self->to_issue_ = 0;
    self->pump();
  });
}

std::uint64_t DemoLoad::done_count() const {
  return std::min(result_.answered + result_.failed, result_.audited);
}

void DemoLoad::pump() {
  while (to_issue_ != 0 && result_.requests - done_count() < concurrency_) {
    --to_issue_;
    issue();
  }
  progress_.store(done_count(), std::memory_order_relaxed);
  if (to_issue_ == 0 && done_count() == result_.requests && done_) {
    result_.elapsed = clock_.now() - started_at_;
    asio::post(strand_, std::exchange(done_, nullptr));
  }
}

void DemoLoad::issue() {
  const std::uint64_t index = result_.requests++;
  connector::ExecuteCall call;
  call.payload.bytes = "{\"index\":" + std::to_string(index) + "}";
  const TimePoint issued_at = clock_.now();
  gateway_.async_execute(addresses_[index % addresses_.size()], std::move(call),
                         asio::bind_executor(strand_, [self = shared_from_this(), issued_at, index](
                                                          const Error& error, const connector::ExecuteReply& reply) {
                           self->answered(error, reply, issued_at, index);
                         }));
}

void DemoLoad::answered(const Error& error, const connector::ExecuteReply& reply, TimePoint issued_at,
                        std::uint64_t index) {
  const bool echoed = !error && reply.success && reply.payload.bytes == "{\"index\":" + std::to_string(index) + "}";
  if (echoed) {
    ++result_.answered;
    result_.latencies_ns.push_back(static_cast<std::uint64_t>((clock_.now() - issued_at).count()));
  } else {
    ++result_.failed;
    if (result_.first_failure.empty()) {
      result_.first_failure = error ? to_string(error) : reply.success ? "the answer is not the question" : reply.error;
    }
    // Refused before it was sent: there is no event of it to wait for.
    if (error.is(errc::not_found) || error.is(errc::closed) || error.is(errc::capacity_exceeded)) ++result_.audited;
  }
  pump();
}

void DemoLoad::audit(const Received& received) {
  if (received.get_if<RequestCompleted>() == nullptr) return;
  ++result_.audited;
  if (result_.audited % kRequestsPerSlowRead == 0) static_cast<void>(slow_.try_receive());
  pump();
}

}  // namespace sharingbus::cli
