#include "transport/grpc/internal/link_set.hpp"

#include <chrono>
#include <utility>

#include "transport/grpc/internal/grpc_threads.hpp"
#include "transport/grpc/internal/link_core.hpp"

namespace sharingbus::transport::internal {
namespace {

constexpr auto kTick = std::chrono::milliseconds(500);
/// How long a peer that does not read may keep a cancelled stream from ending: the status waits behind what was written
/// before.
constexpr auto kPatience = std::chrono::seconds(1);

}  // namespace

LinkSet::Admission LinkSet::add(const std::shared_ptr<LinkCore>& link, std::size_t max_links) {
  const std::scoped_lock lock(mutex_);
  if (closed_) return Admission::closed;
  if (links_.size() >= max_links) return Admission::full;
  links_.emplace(link.get(), link);
  ++admitted_;
  if (!tick_) schedule_tick();
  return Admission::admitted;
}

void LinkSet::remove(const LinkCore* link) {
  std::shared_ptr<LinkCore> freed;
  std::vector<std::function<void()>> done;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = links_.find(link);
    if (found == links_.end()) return;
    freed = std::move(found->second);
    links_.erase(found);
    if (links_.empty()) done.swap(waiting_);
  }
  for (const auto& fn : done)
    fn();
}

/// Under the mutex.
std::vector<std::shared_ptr<LinkCore>> LinkSet::all() const {
  std::vector<std::shared_ptr<LinkCore>> links;
  links.reserve(links_.size());
  for (const auto& [key, link] : links_)
    links.push_back(link);
  return links;
}

void LinkSet::for_each(const std::function<void(LinkCore&)>& fn) const {
  std::vector<std::shared_ptr<LinkCore>> links;
  {
    const std::scoped_lock lock(mutex_);
    links = all();
  }
  for (const auto& link : links)
    fn(*link);
}

void LinkSet::close(const Error& why, std::function<void()> done) {
  std::vector<std::shared_ptr<LinkCore>> links;
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    links = all();
    if (!links.empty() && done) waiting_.push_back(std::exchange(done, nullptr));
  }
  for (const auto& link : links)
    link->cancel(why);
  if (done) done();
}

void LinkSet::schedule_tick() {
  tick_ = run_after(kTick, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->tick();
  });
}

void LinkSet::tick() {
  std::unique_ptr<grpc::Alarm> fired;
  {
    const std::scoped_lock lock(mutex_);
    fired = std::move(tick_);
    if (links_.empty()) return endings_.clear();
    schedule_tick();
  }
  force_late_ends();
  if (on_tick_) on_tick_();
}

void LinkSet::expect_end(std::weak_ptr<LinkCore> link) {
  const TimePoint until = std::chrono::steady_clock::now() + kPatience;
  const std::scoped_lock lock(mutex_);
  endings_.push_back({until, std::move(link)});
}

void LinkSet::force_late_ends() {
  const TimePoint now = std::chrono::steady_clock::now();
  std::vector<std::weak_ptr<LinkCore>> late;
  {
    const std::scoped_lock lock(mutex_);
    for (; !endings_.empty() && endings_.front().patience_until <= now; endings_.pop_front())
      late.push_back(std::move(endings_.front().link));
  }
  for (const auto& each : late) {
    if (const auto link = each.lock()) link->force_end();
  }
}

std::size_t LinkSet::size() const {
  const std::scoped_lock lock(mutex_);
  return links_.size();
}

std::uint64_t LinkSet::admitted() const {
  const std::scoped_lock lock(mutex_);
  return admitted_;
}

}  // namespace sharingbus::transport::internal
