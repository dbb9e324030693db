#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "connector/agent/affinity_table.hpp"

namespace sharingbus::connector {

struct OutlierOptions {
  bool enabled = false;
  /// Errors in a row that eject a connection.
  std::uint32_t failures = 5;
  /// The first ejection lasts this long, the nth n times that, up to the longest.
  Duration ejection = std::chrono::seconds(30);
  Duration ejection_max = std::chrono::minutes(5);
  /// No more than this share of an agent's connections is ejected at once, and never the last one.
  double max_ejected_share = 0.5;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Takes connections that fail out of the choice for a while. O(connections). One thread at a time.
class OutlierDetector {
 public:
  explicit OutlierDetector(OutlierOptions options) noexcept : options_(options) {}

  void add(ConnectionKey connection);
  void remove(ConnectionKey connection);
  void succeeded(ConnectionKey connection);
  /// True when this ejected it.
  bool failed(ConnectionKey connection, TimePoint now);
  /// Takes back those whose time is over.
  [[nodiscard]] std::vector<ConnectionKey> restore(TimePoint now);

  [[nodiscard]] bool ejected(ConnectionKey connection) const;
  [[nodiscard]] std::size_t ejected_count() const noexcept { return ejected_; }

 private:
  struct Member {
    ConnectionKey key = 0;
    std::uint32_t in_a_row = 0;
    std::uint32_t ejections = 0;
    bool ejected = false;
    TimePoint until{};
  };
  [[nodiscard]] Member* find(ConnectionKey connection);
  [[nodiscard]] bool may_eject() const;

  OutlierOptions options_;
  std::vector<Member> members_;
  std::size_t ejected_ = 0;
};

}  // namespace sharingbus::connector
