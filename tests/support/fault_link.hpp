#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include <boost/asio/any_io_executor.hpp>

#include "bus/base/timer.hpp"
#include "bus/sharing_bus.hpp"
#include "transport/dialer.hpp"

namespace sharingbus::test {

/// What goes wrong on one dialled stream. Messages are counted from 0, inbound ones only.
struct Faults {
  /// Nobody answers at the address.
  bool refuse = false;
  Duration open_delay{};
  /// The stream opens, and the peer ends it before anything else.
  bool accept_then_close = false;
  /// Every message takes this long on its way, in both directions and in order.
  Duration delay{};
  /// On top, by their size; 0: no limit.
  std::size_t bytes_per_second = 0;
  /// Before this message the connection is reset.
  std::optional<std::size_t> reset_at;
  /// From this message on the network is gone: nothing comes, nothing goes, and nobody hears of an end.
  std::optional<std::size_t> silent_at;
  /// This message comes twice.
  std::optional<std::size_t> duplicate_at;
  /// Some bits of this message are flipped.
  std::optional<std::size_t> corrupt_at;

  /// A mix of all of them; about every third stream has none.
  static Faults random(std::mt19937& random);
};
/// For failure messages.
[[nodiscard]] std::string to_string(const Faults& faults);

/// Wraps the dialer of any transport and lets the faults of a plan happen to its streams. The peer's side sees what it
/// would see: a refused stream never reaches it, of a silent one it hears nothing until it gives up or `close`.
///
/// Everything happens on `executor`, a context or strand on one thread, where its functions must be called.
class FaultDialer final : public transport::Dialer {
 public:
  /// The faults of the n-th stream, from 0.
  using Plan = std::function<Faults(std::uint64_t stream)>;

  FaultDialer(std::unique_ptr<transport::Dialer> inner, boost::asio::any_io_executor executor, TimerService& timers,
              Plan plan);
  ~FaultDialer() override;

  std::shared_ptr<transport::Link> open(transport::StreamOptions options, std::string first_frame) override;
  void close(std::function<void()> done) override;
  [[nodiscard]] transport::DialerStats stats() const override;

  /// From the next stream on.
  void set_plan(Plan plan) { plan_ = std::move(plan); }

 private:
  class FaultLink;
  class RawDecoder;
  void inner_event(const BusEvent& event);
  void forget(std::uint64_t id);

  const boost::asio::any_io_executor executor_;
  TimerService& timers_;
  Plan plan_;
  /// Where the inner streams' events go, undecoded.
  SharingBus wire_;
  Subscription wire_events_;
  std::unique_ptr<transport::Dialer> inner_;
  std::map<std::uint64_t, std::shared_ptr<FaultLink>> links_;
  std::map<std::uint64_t, std::weak_ptr<FaultLink>> by_wire_;
  std::uint64_t opened_ = 0;
  std::function<void()> done_;
  bool closed_ = false;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace sharingbus::test
