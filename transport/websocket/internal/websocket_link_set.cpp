#include "transport/websocket/internal/websocket_link_set.hpp"

#include <utility>

#include "transport/websocket/internal/websocket_link.hpp"

namespace sharingbus::transport::internal {

bool WebSocketLinkSet::add(std::shared_ptr<WebSocketLink> link) {
  const std::scoped_lock lock(mutex_);
  if (closed_) return false;
  const WebSocketLink* key = link.get();
  links_.emplace(key, Entry{std::move(link)});
  ++added_;
  return true;
}

WebSocketLinkSet::Admission WebSocketLinkSet::admit(const WebSocketLink* link, std::size_t most) {
  {
    const std::scoped_lock lock(mutex_);
    const auto found = links_.find(link);
    if (closed_ || !admitting_ || found == links_.end()) return Admission::closed;
    if (admitted_ >= most) return Admission::full;
    found->second.admitted = true;
    ++admitted_;
  }
  if (on_fewer_waiting_) on_fewer_waiting_();
  return Admission::admitted;
}

void WebSocketLinkSet::remove(const WebSocketLink* link) {
  Entry freed;
  std::vector<std::function<void()>> done;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = links_.find(link);
    if (found == links_.end()) return;
    freed = std::move(found->second);
    links_.erase(found);
    if (freed.admitted) --admitted_;
    if (links_.empty()) done.swap(closers_);
  }
  if (on_fewer_waiting_) on_fewer_waiting_();
  for (const auto& fn : done)
    fn();
}

void WebSocketLinkSet::stop_admitting() {
  const std::scoped_lock lock(mutex_);
  admitting_ = false;
}

void WebSocketLinkSet::close(const Error& why, std::function<void()> done) {
  std::vector<std::shared_ptr<WebSocketLink>> links;
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    links.reserve(links_.size());
    for (const auto& [key, entry] : links_)
      links.push_back(entry.link);
    if (!links.empty() && done) closers_.push_back(std::exchange(done, nullptr));
  }
  for (const auto& link : links)
    link->cancel(why);
  if (done) done();
}

std::size_t WebSocketLinkSet::admitted() const {
  const std::scoped_lock lock(mutex_);
  return admitted_;
}

std::size_t WebSocketLinkSet::waiting() const {
  const std::scoped_lock lock(mutex_);
  return links_.size() - admitted_;
}

DialerStats WebSocketLinkSet::stats() const {
  const std::scoped_lock lock(mutex_);
  return {links_.size(), links_.size(), added_, added_};
}

}  // namespace sharingbus::transport::internal
