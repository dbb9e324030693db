#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "bus/event.hpp"
#include "connector/lifecycle/service.hpp"
#include "transport/link.hpp"
#include "transport/messages/json_rpc_messages.hpp"

namespace sharingbus::connector::internal {

/// Messages of each class that may be on their way from a service at once.
inline constexpr transport::Credit kServiceCredit{.requests = 16, .controls = 64};
/// Room for them and for the stream's and the process's own events.
inline constexpr std::size_t kServiceQueue = kServiceCredit.requests + kServiceCredit.controls + 16;

/// The JSON-RPC conversation over one link to a service: the greeting, the probes, and an answer to whatever the
/// service asks. One strand.
class ServiceSession {
 public:
  enum class Heard : std::uint8_t {
    nothing,
    /// The greeting is over.
    ready,
    /// An answer to a probe.
    alive,
  };

  /// `greeting` must outlive it.
  ServiceSession(std::shared_ptr<transport::Link> link, const std::vector<GreetingMessage>& greeting);

  [[nodiscard]] transport::Link& link() noexcept { return *link_; }
  /// What an event of the link means. Gives its credit back.
  Heard receive(const BusEvent& event);
  /// Sends `ping`; nothing while the service does not read what was sent before.
  void probe();

 private:
  Heard greet();
  Heard answered(const transport::messages::JsonRpcId& id);
  Heard take(const transport::messages::JsonRpcCall& call, std::vector<transport::messages::JsonRpcCall>& answers);
  Heard take_batch(const transport::messages::JsonRpcBatch& batch);
  template <class Message>
  void send(const Message& message);
  void flush();
  void give_back(const BusEvent& event);

  const std::shared_ptr<transport::Link> link_;
  const std::vector<GreetingMessage>& greeting_;
  std::size_t greeted_ = 0;
  bool ready_ = false;
  std::int64_t last_id_ = 0;
  std::int64_t greeting_id_ = 0;
  /// The first probe; every id from here on is one.
  std::int64_t first_probe_ = 0;
  /// What the link had no room for; bounded by the credit that is held back meanwhile.
  std::deque<std::string> outbox_;
  transport::Credit owed_;
};

}  // namespace sharingbus::connector::internal
