#include "tests/support/bus_oracle.hpp"

#include <algorithm>
#include <utility>

namespace sharingbus::test {

using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

AssertionResult check_balanced(const BusSnapshot& snapshot) {
  if (snapshot.published != snapshot.dispatched + snapshot.ingress_lost + snapshot.ingress_depth) {
    return AssertionFailure() << "ingress: published=" << snapshot.published << " dispatched=" << snapshot.dispatched
                              << " lost=" << snapshot.ingress_lost << " depth=" << snapshot.ingress_depth;
  }
  for (const SubscriptionStats& stats : snapshot.subscriptions) {
    if (!stats.balanced() || stats.queued > stats.high_water || stats.high_water > stats.capacity) {
      return AssertionFailure() << stats.name << " (" << stats.filter << "): matched=" << stats.matched
                                << " received=" << stats.received << " lagged=" << stats.lagged
                                << " discarded=" << stats.discarded << " queued=" << stats.queued
                                << " high_water=" << stats.high_water << " capacity=" << stats.capacity;
    }
  }
  const RetiredTotals& retired = snapshot.retired;
  if (retired.matched != retired.received + retired.lagged + retired.discarded) {
    return AssertionFailure() << "retired: matched=" << retired.matched << " received=" << retired.received
                              << " lagged=" << retired.lagged << " discarded=" << retired.discarded;
  }
  return AssertionSuccess();
}

AssertionResult check_balanced(const SharingBus& bus) {
  return check_balanced(bus.snapshot());
}

std::shared_ptr<const MatchLog> OrderRecorder::track(Filter filter) {
  auto log = std::make_shared<MatchLog>(std::move(filter));
  const std::scoped_lock lock(mutex_);
  logs_.push_back(log);
  return log;
}

void OrderRecorder::on_event(StagedEvent& event) {
  const std::scoped_lock lock(mutex_);
  const std::uint64_t sequence = event.event().sequence();
  if (sequence != last_ + 1) ++out_of_order_;
  last_ = sequence;
  for (const auto& log : logs_)
    log->record(event.event());
}

std::uint64_t OrderRecorder::out_of_order() const {
  const std::scoped_lock lock(mutex_);
  return out_of_order_;
}

void StreamOracle::observe(const EventRef& event) {
  if (ended_) after_end_ = true;
  items_.push_back({event->sequence(), event->sequence(), 1, false});
  ++events_;
}
void StreamOracle::observe(const Gap& gap) {
  if (ended_) after_end_ = true;
  items_.push_back({gap.first, gap.last, gap.count, true});
  lost_ += gap.count;
}

void StreamOracle::observe(const Received& received) {
  if (const EventRef* event = received.event()) return observe(*event);
  if (const Gap* gap = received.gap()) return observe(*gap);
  if (received.closed() != nullptr) ended_ = true;
}

void StreamOracle::observe(const Lent& lent) {
  for (const EventRef& event : lent.events())
    observe(event);
  if (const Gap* gap = lent.gap()) observe(*gap);
  if (lent.closed() != nullptr) ended_ = true;
}

AssertionResult StreamOracle::verify() const {
  if (after_end_) return AssertionFailure() << "something followed the end of the stream";
  if (items_.empty()) return AssertionSuccess();
  const std::vector<std::uint64_t> expected = expected_->sequences();
  auto next = std::lower_bound(expected.begin(), expected.end(), start_ != 0 ? start_ : items_.front().first);
  for (std::size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    const auto describe = [&] {
      return AssertionFailure() << "item " << i << (item.is_gap ? " gap " : " event ") << item.first << ".."
                                << item.last << " count " << item.count << ": ";
    };
    if (item.count == 0) {
      // Of unknown count, at the start of a late join only.
      if (i != 0 || start_ == 0 || item.first != start_) return describe() << "an empty gap";
      next = std::upper_bound(expected.begin(), expected.end(), item.last);
      continue;
    }
    if (next == expected.end()) return describe() << "nothing more should have matched";
    if (*next != item.first) return describe() << "expected sequence " << *next;
    if (static_cast<std::uint64_t>(expected.end() - next) < item.count) return describe() << "counts too many";
    next += static_cast<std::ptrdiff_t>(item.count);
    if (*(next - 1) != item.last) return describe() << "ends at " << *(next - 1) << " by count";
  }
  return AssertionSuccess();
}

AssertionResult StreamOracle::verify(const SubscriptionStats& stats) const {
  if (auto result = verify(); !result) return result;
  if (stats.received != events_ || stats.lagged != lost_ || stats.queued != 0 || !stats.balanced()) {
    return AssertionFailure() << stats.name << ": stream has events=" << events_ << " lost=" << lost_
                              << ", counters say matched=" << stats.matched << " received=" << stats.received
                              << " lagged=" << stats.lagged << " queued=" << stats.queued;
  }
  return AssertionSuccess();
}

}  // namespace sharingbus::test
