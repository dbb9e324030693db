#include "transport/byte_stream/internal/byte_link_set.hpp"

#include "transport/byte_stream/internal/byte_link.hpp"

namespace sharingbus::transport::internal {

bool ByteLinkSet::add(std::shared_ptr<ByteLink> link) {
  const std::scoped_lock lock(mutex_);
  if (closed_) return false;
  const ByteLink* key = link.get();
  links_.emplace(key, std::move(link));
  ++added_;
  return true;
}

void ByteLinkSet::remove(const ByteLink* link) {
  std::shared_ptr<ByteLink> freed;
  std::vector<std::function<void()>> done;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = links_.find(link);
    if (found == links_.end()) return;
    freed = std::move(found->second);
    links_.erase(found);
    if (links_.empty()) done.swap(waiting_);
  }
  if (on_removed_) on_removed_();
  for (const auto& fn : done)
    fn();
}

void ByteLinkSet::close(const Error& why, std::function<void()> done) {
  std::vector<std::shared_ptr<ByteLink>> links;
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    links.reserve(links_.size());
    for (const auto& [key, link] : links_)
      links.push_back(link);
    if (!links.empty() && done) waiting_.push_back(std::exchange(done, nullptr));
  }
  for (const auto& link : links)
    link->cancel(why);
  if (done) done();
}

std::size_t ByteLinkSet::size() const {
  const std::scoped_lock lock(mutex_);
  return links_.size();
}

DialerStats ByteLinkSet::stats() const {
  const std::scoped_lock lock(mutex_);
  return {links_.size(), links_.size(), added_, added_};
}

void launch(ByteLinkSet& links, const std::shared_ptr<ByteLink>& link, std::string first_frame) {
  if (!links.add(link)) return link->fail(Error(errc::closed, "the dialer is closed"));
  if (!first_frame.empty() && link->send(std::move(first_frame)) == SendStatus::too_large) {
    return link->fail(Error(errc::message_too_large, "the first message exceeds the outbound limit"));
  }
  link->start();
}

}  // namespace sharingbus::transport::internal
