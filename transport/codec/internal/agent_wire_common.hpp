#pragma once

#include <optional>
#include <string>
#include <vector>

#include <google/protobuf/map.h>
#include <google/protobuf/repeated_field.h>

#include "transport/codec/utf8.hpp"
#include "transport/messages/agent_messages.hpp"
#include "zentinel/agent/v2/agent.pb.h"

// What both directions of the agent protocol's Protobuf form share.
namespace sharingbus::transport::internal {

namespace agent_wire = zentinel::agent::v2;

template <class Enum>
Enum to_enum(int value) {
  return static_cast<Enum>(value);
}

/// `std::optional` from a field with explicit presence.
template <class T, class Wire>
std::optional<T> optional_of(bool has, const Wire& value) {
  return has ? std::optional<T>(value) : std::nullopt;
}

inline agent_messages::StringMap to_map(const google::protobuf::Map<std::string, std::string>& in) {
  return {in.begin(), in.end()};
}
inline void from_map(const agent_messages::StringMap& in, google::protobuf::Map<std::string, std::string>& out) {
  for (const auto& [key, value] : in)
    out[to_valid_utf8(key)] = to_valid_utf8(value);
}

inline std::vector<std::string> to_texts(const google::protobuf::RepeatedPtrField<std::string>& in) {
  return {in.begin(), in.end()};
}
inline void from_texts(const std::vector<std::string>& in, google::protobuf::RepeatedPtrField<std::string>& out) {
  for (const std::string& text : in)
    *out.Add() = to_valid_utf8(text);
}

inline agent_messages::Headers to_headers(const google::protobuf::RepeatedPtrField<agent_wire::Header>& in) {
  agent_messages::Headers out;
  out.reserve(static_cast<std::size_t>(in.size()));
  for (const auto& header : in)
    out.push_back({header.name(), header.value()});
  return out;
}
inline void from_header(const agent_messages::Header& in, agent_wire::Header& out) {
  out.set_name(to_valid_utf8(in.name));
  out.set_value(to_valid_utf8(in.value));
}
inline void from_headers(const agent_messages::Headers& in,
                         google::protobuf::RepeatedPtrField<agent_wire::Header>& out) {
  out.Reserve(static_cast<int>(in.size()));
  for (const auto& header : in)
    from_header(header, *out.Add());
}

}  // namespace sharingbus::transport::internal
