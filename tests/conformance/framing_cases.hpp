#pragma once

#include <memory>
#include <utility>

#include "tests/conformance/transport_suite.hpp"
#include "transport/content_length_framing.hpp"
#include "transport/length_prefix_framing.hpp"

namespace sharingbus::test {

/// The cases of a transport of bytes: each framing, one with a thread and one with two. `Sut` is made of a framing and
/// a count of threads.
template <class Sut>
auto framing_cases() {
  return testing::Values(
      TransportCase{"length_prefix",
                    [] {
                      using Framing = transport::LengthPrefixFraming;
                      auto framing = std::make_shared<Framing>(Framing::EmptyFrames::allowed);
                      return std::make_unique<Sut>(std::move(framing), 1);
                    }},
      TransportCase{"content_length_two_threads",
                    [] { return std::make_unique<Sut>(std::make_shared<transport::ContentLengthFraming>(), 2); }});
}

}  // namespace sharingbus::test
