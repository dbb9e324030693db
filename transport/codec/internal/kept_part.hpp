#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "zentinel/agent/v2/agent.pb.h"

// The part of an envelope that requests and answers are in, kept by the thread from one to the next, so that its texts
// and lists are not allocated each time. Protobuf deletes what is in a `oneof` when that is cleared, so the part is
// lent to an envelope and taken back.
namespace sharingbus::transport::internal {

namespace agent_wire = zentinel::agent::v2;

template <class Envelope>
struct KeptPartOf;

template <>
struct KeptPartOf<agent_wire::ProxyToAgent> {
  using Envelope = agent_wire::ProxyToAgent;
  using Part = agent_wire::RequestHeadersEvent;
  static constexpr int kNumber = Envelope::kRequestHeadersFieldNumber;

  static void lend(Part* part, Envelope& envelope) { envelope.set_allocated_request_headers(part); }
  static Part* take_back(Envelope& envelope) { return envelope.release_request_headers(); }
  static void clear(Part& part) {
    // Which would be deleted as well.
    auto* metadata = part.release_metadata();
    part.Clear();
    if (metadata == nullptr) return;
    metadata->Clear();
    part.set_allocated_metadata(metadata);
  }
};

template <>
struct KeptPartOf<agent_wire::AgentToProxy> {
  using Envelope = agent_wire::AgentToProxy;
  using Part = agent_wire::AgentResponse;
  static constexpr int kNumber = Envelope::kResponseFieldNumber;

  static void lend(Part* part, Envelope& envelope) { envelope.set_allocated_response(part); }
  static Part* take_back(Envelope& envelope) { return envelope.release_response(); }
  static void clear(Part& part) { part.Clear(); }
};

/// Lends `envelope` the thread's part; what has become of it is cleared and kept, unless it was large.
template <class Envelope>
class LentPart {
  using Of = KeptPartOf<Envelope>;

 public:
  explicit LentPart(Envelope& envelope) : envelope_(envelope) {
    auto& part = kept();
    Of::lend(part ? part.release() : new typename Of::Part, envelope);
  }
  ~LentPart() {
    std::unique_ptr<typename Of::Part> part(Of::take_back(envelope_));
    if (!part || envelope_bytes_ > kKeptBytes) return;
    Of::clear(*part);
    kept() = std::move(part);
  }
  LentPart(const LentPart&) = delete;
  LentPart& operator=(const LentPart&) = delete;

  /// Whether the first field of `bytes`, an envelope, is the part.
  [[nodiscard]] static bool is_in(std::string_view bytes) noexcept {
    constexpr int kLengthDelimited = 2;
    return !bytes.empty() && bytes.front() == static_cast<char>(Of::kNumber << 3 | kLengthDelimited);
  }
  void is_of(std::size_t envelope_bytes) noexcept { envelope_bytes_ = envelope_bytes; }

 private:
  static constexpr std::size_t kKeptBytes = std::size_t{16} * 1024;

  static std::unique_ptr<typename Of::Part>& kept() {
    thread_local std::unique_ptr<typename Of::Part> part;
    return part;
  }

  Envelope& envelope_;
  std::size_t envelope_bytes_ = kKeptBytes + 1;
};

}  // namespace sharingbus::transport::internal
