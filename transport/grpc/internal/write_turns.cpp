#include "transport/grpc/internal/write_turns.hpp"

#include <utility>

#include "transport/grpc/internal/grpc_threads.hpp"
#include "transport/grpc/internal/link_core.hpp"

namespace sharingbus::transport::internal {

WriteTurns& WriteTurns::instance() {
  // Never destroyed: gRPC's threads may outlive `main`.
  static WriteTurns& only = *new WriteTurns;  // NOLINT(cppcoreguidelines-owning-memory)
  return only;
}

void WriteTurns::add(std::shared_ptr<LinkCore> link, grpc_call* call) {
  {
    const std::scoped_lock lock(mutex_);
    links_.push_back(std::move(link));
    if (links_.size() != 1) return;
  }
  nudge(call, [this] { run(); });
}

void WriteTurns::run() {
  std::vector<std::shared_ptr<LinkCore>> links;
  {
    const std::scoped_lock lock(mutex_);
    links.swap(links_);
  }
  for (const auto& link : links)
    link->write_turn();
}

}  // namespace sharingbus::transport::internal
