#include "cli/pool_load.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>

#include "connector/inline_executor.hpp"

namespace sharingbus::cli {
namespace {

namespace messages = transport::agent_messages;
using connector::AgentReply;

constexpr std::uint16_t kMaliciousStatus = 403;
constexpr std::uint16_t kAttackStatus = 400;

/// Latencies that have room before the first request; a longer run takes more as it goes on.
constexpr std::uint64_t kReserved = 1'000'000;

bool is_malicious(std::uint64_t index) {
  return index % 10 == 3;
}
bool has_chunk(std::uint64_t index) {
  return index % 5 == 0;
}
bool is_attack(std::uint64_t index) {
  return index % 20 == 0;
}

messages::RequestHeaders make_headers() {
  messages::RequestHeaders event;
  event.metadata.client_ip = "192.0.2.7";
  event.metadata.client_port = 40'000;
  event.metadata.protocol = "HTTP/1.1";
  event.metadata.timestamp_ms = 1'700'000'000'000;
  event.method = "GET";
  event.uri = "/index.html";
  event.http_version = "HTTP/1.1";
  event.headers = {{"host", "example.test"}, {"user-agent", "sharingbus"}, {"accept", "*/*"}};
  return event;
}

std::string describe(const messages::Decision& decision) {
  if (const auto* block = std::get_if<messages::Block>(&decision)) return "block " + std::to_string(block->status);
  if (std::holds_alternative<messages::Redirect>(decision)) return "redirect";
  if (std::holds_alternative<messages::Challenge>(decision)) return "challenge";
  return "allow";
}

}  // namespace

PoolLoad::PoolLoad(connector::AgentPool& pool, const Clock& clock, std::string agent_id, std::uint64_t requests,
                   std::uint64_t concurrency)
    : pool_(pool),
      clock_(clock),
      agent_id_(std::move(agent_id)),
      requests_(requests),
      lanes_(std::min(requests, concurrency)),
      harmless_(make_headers()),
      malicious_(make_headers()) {
  malicious_.headers.push_back({"x-malicious", "1"});
  chunk_.is_last = true;
  result_.latencies_ns.reserve(std::min(requests, kReserved));
}

void PoolLoad::start(std::function<void()> done) {
  const std::scoped_lock lock(mutex_);
  done_ = std::move(done);
  started_at_ = clock_.now();
  busy_ = lanes_.size();
  for (Lane& lane : lanes_)
    begin(lane);
}

void PoolLoad::begin(Lane& lane) {
  if (begun_ >= requests_) {
    if (--busy_ != 0) return;
    result_.elapsed = clock_.now() - started_at_;
    return boost::asio::post(pool_.get_executor(), done_);
  }
  lane.index = begun_++;
  lane.id = "request-" + std::to_string(lane.index);
  lane.begun_at = clock_.now();
  ++result_.requests;
  messages::RequestHeaders& event = is_malicious(lane.index) ? malicious_ : harmless_;
  event.metadata.correlation_id = lane.id;
  event.metadata.request_id = lane.id;
  const auto done = [this, &lane](const Error& error, const AgentReply& reply) {
    const std::scoped_lock lock(mutex_);
    headers_answered(lane, error, reply);
  };
  pool_.send_request_headers(agent_id_, lane.id, event, boost::asio::bind_executor(connector::InlineExecutor(), done));
}

void PoolLoad::headers_answered(Lane& lane, const Error& error, const AgentReply& reply) {
  if (!answered(lane, error)) return end(lane);
  if (is_malicious(lane.index)) {
    expect_block(lane, reply, kMaliciousStatus);
    return end(lane);
  }
  const messages::HeaderOp inspected{messages::HeaderOp::Action::set, "x-inspected", "true"};
  const auto& operations = reply->request_headers;
  if (!std::holds_alternative<messages::Allow>(reply->decision) ||
      std::find(operations.begin(), operations.end(), inspected) == operations.end()) {
    wrong(lane, "headers: " + describe(reply->decision) + ", not allow with x-inspected");
    return end(lane);
  }
  if (!has_chunk(lane.index)) return end(lane);
  chunk_.correlation_id = lane.id;
  chunk_.data = is_attack(lane.index) ? "this is an attack" : "this is harmless";
  chunk_.bytes_transferred = chunk_.data.size();
  const auto done = [this, &lane](const Error& failed, const AgentReply& answer) {
    const std::scoped_lock lock(mutex_);
    chunk_answered(lane, failed, answer);
  };
  pool_.send_request_body_chunk(agent_id_, lane.id, chunk_,
                                boost::asio::bind_executor(connector::InlineExecutor(), done));
}

void PoolLoad::chunk_answered(Lane& lane, const Error& error, const AgentReply& reply) {
  if (answered(lane, error)) {
    if (is_attack(lane.index)) {
      expect_block(lane, reply, kAttackStatus);
    } else if (!std::holds_alternative<messages::Allow>(reply->decision)) {
      wrong(lane, "chunk: " + describe(reply->decision) + ", not allow");
    }
  }
  end(lane);
}

bool PoolLoad::answered(const Lane& lane, const Error& error) {
  if (!error) return true;
  ++result_.failed;
  wrong(lane, to_string(error));
  return false;
}

void PoolLoad::expect_block(const Lane& lane, const AgentReply& reply, int status) {
  const auto* block = std::get_if<messages::Block>(&reply->decision);
  if (block == nullptr || block->status != status) {
    return wrong(lane, describe(reply->decision) + ", not block " + std::to_string(status));
  }
  ++result_.blocked;
}

void PoolLoad::wrong(const Lane& lane, const std::string& what) {
  ++result_.wrong;
  if (result_.first_wrong.empty()) result_.first_wrong = lane.id + ": " + what;
}

void PoolLoad::end(Lane& lane) {
  result_.latencies_ns.push_back(static_cast<std::uint64_t>((clock_.now() - lane.begun_at).count()));
  static_cast<void>(pool_.clear_correlation_affinity(lane.id));
  begin(lane);
}

}  // namespace sharingbus::cli
