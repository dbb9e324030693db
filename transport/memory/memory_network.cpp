#include "transport/memory/memory_network.hpp"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <boost/asio/post.hpp>

#include "transport/memory/internal/memory_link.hpp"

namespace sharingbus::transport {

using internal::MemoryLink;

namespace {

/// The links that one dialer or listener owns, and who waits for the last of them.
class LinkOwner : public std::enable_shared_from_this<LinkOwner> {
 public:
  /// Null once closed.
  std::shared_ptr<MemoryLink> make_link(const boost::asio::any_io_executor& executor, StreamOptions options) {
    const std::scoped_lock lock(mutex_);
    if (closed_) return nullptr;
    const std::uint64_t key = ++last_key_;
    auto link = std::make_shared<MemoryLink>(executor, std::move(options), [weak = weak_from_this(), key] {
      if (const auto self = weak.lock()) self->forget(key);
    });
    links_.emplace(key, link);
    return link;
  }

  void close(std::function<void()> done, const Error& why) {
    std::vector<std::shared_ptr<MemoryLink>> links;
    {
      const std::scoped_lock lock(mutex_);
      closed_ = true;
      for (const auto& [key, link] : links_)
        links.push_back(link);
      if (!links.empty() && done) waiting_.push_back(std::exchange(done, nullptr));
    }
    for (const auto& link : links)
      link->cancel(why);
    if (done) done();
  }

  std::size_t size() const {
    const std::scoped_lock lock(mutex_);
    return links_.size();
  }
  std::uint64_t made() const {
    const std::scoped_lock lock(mutex_);
    return last_key_;
  }

 private:
  void forget(std::uint64_t key) {
    std::vector<std::function<void()>> done;
    {
      const std::scoped_lock lock(mutex_);
      links_.erase(key);
      if (links_.empty()) done.swap(waiting_);
    }
    for (auto& fn : done)
      fn();
  }

  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<MemoryLink>> links_;
  std::uint64_t last_key_ = 0;
  bool closed_ = false;
  std::vector<std::function<void()>> waiting_;
};

}  // namespace

/// Who listens where. Everything but the table itself happens on the executor.
class MemoryNetwork::Hub : public std::enable_shared_from_this<Hub> {
 public:
  struct Site {
    ListenerOptions options;
    std::shared_ptr<LinkOwner> links = std::make_shared<LinkOwner>();
    bool accepting = true;
  };

  explicit Hub(boost::asio::any_io_executor executor) : executor_(std::move(executor)) {}
  [[nodiscard]] const boost::asio::any_io_executor& executor() const { return executor_; }

  bool add(const std::string& name, std::shared_ptr<Site> site) {
    const std::scoped_lock lock(mutex_);
    return sites_.try_emplace(name, std::move(site)).second;
  }
  void remove(const std::string& name, const std::shared_ptr<Site>& site) {
    const std::scoped_lock lock(mutex_);
    const auto found = sites_.find(name);
    if (found != sites_.end() && found->second == site) sites_.erase(found);
  }
  void stop_accepting(const std::shared_ptr<Site>& site) {
    const std::scoped_lock lock(mutex_);
    site->accepting = false;
  }

  /// On the executor: joins `dialled` with a new link of the listener at `name`, or fails it.
  void connect(const std::string& name, const std::shared_ptr<MemoryLink>& dialled) {
    // Its dialer was closed while `open` ran.
    if (dialled->ended()) return;
    std::shared_ptr<MemoryLink> accepted;
    std::uint64_t listener = 0;
    {
      const std::scoped_lock lock(mutex_);
      const auto found = sites_.find(name);
      if (found != sites_.end() && found->second->accepting) {
        Site& site = *found->second;
        listener = site.options.id;
        if (site.links->size() < site.options.max_links)
          accepted = site.links->make_link(executor_, accept_options(site));
      }
    }
    if (!accepted) return dialled->fail(Error(errc::connection_refused, "memory://" + name + " refused the stream"));
    MemoryLink::connect(dialled, accepted, name, listener);
  }

 private:
  static StreamOptions accept_options(const Site& site) {
    StreamOptions options;
    options.publisher = site.options.publisher;
    options.decoder = site.options.decoder;
    options.id = site.options.new_source ? site.options.new_source() : 0;
    options.origin = site.options.origin;
    options.limits = site.options.limits;
    return options;
  }

  const boost::asio::any_io_executor executor_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Site>> sites_;
};

namespace {

class MemoryDialer final : public Dialer {
 public:
  MemoryDialer(std::shared_ptr<MemoryNetwork::Hub> hub, std::string name)
      : hub_(std::move(hub)), name_(std::move(name)) {}
  ~MemoryDialer() override { links_->close(nullptr, Error(errc::closed, "the dialer is gone")); }

  std::shared_ptr<Link> open(StreamOptions options, std::string first_frame) override {
    auto link = links_->make_link(hub_->executor(), options);
    if (!link) {
      link = std::make_shared<MemoryLink>(hub_->executor(), std::move(options), nullptr);
      link->cancel(Error(errc::closed, "the dialer is closed"));
      return link;
    }
    if (!first_frame.empty() && link->send(std::move(first_frame)) == SendStatus::too_large) {
      link->cancel(Error(errc::message_too_large, "the first message exceeds the outbound limit"));
    }
    boost::asio::post(hub_->executor(), [hub = hub_, name = name_, link] { hub->connect(name, link); });
    return link;
  }

  void close(std::function<void()> done) override {
    links_->close(std::move(done), Error(errc::cancelled, "the dialer was closed"));
  }

  DialerStats stats() const override {
    const std::size_t streams = links_->size();
    return {streams == 0 ? 0U : 1U, streams, links_->made(), links_->made() == 0 ? 0U : 1U};
  }

 private:
  const std::shared_ptr<MemoryNetwork::Hub> hub_;
  const std::string name_;
  const std::shared_ptr<LinkOwner> links_ = std::make_shared<LinkOwner>();
};

class MemoryListener final : public Listener {
 public:
  MemoryListener(std::shared_ptr<MemoryNetwork::Hub> hub, std::string name, ListenerOptions options)
      : hub_(std::move(hub)), name_(std::move(name)), site_(std::make_shared<MemoryNetwork::Hub::Site>()) {
    site_->options = std::move(options);
  }
  ~MemoryListener() override { close(nullptr); }

  Result<Endpoint> listen() override {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(used_, true)) return Error(errc::invalid_state, "listen was called, or the listener is closed");
    if (!hub_->add(name_, site_)) return Error(errc::address_in_use, "memory://" + name_ + " is in use");
    return Endpoint{"memory", name_, 0};
  }
  std::uint64_t id() const noexcept override { return site_->options.id; }
  void stop_accepting() override { hub_->stop_accepting(site_); }
  void close(std::function<void()> done) override {
    stop_accepting();
    {
      const std::scoped_lock lock(mutex_);
      used_ = true;
      hub_->remove(name_, site_);
    }
    site_->links->close(std::move(done), Error(errc::closed, "the listener was closed"));
  }
  std::size_t link_count() const override { return site_->links->size(); }

 private:
  const std::shared_ptr<MemoryNetwork::Hub> hub_;
  const std::string name_;
  const std::shared_ptr<MemoryNetwork::Hub::Site> site_;
  std::mutex mutex_;
  /// `listen` or `close` was called.
  bool used_ = false;
};

}  // namespace

MemoryNetwork::MemoryNetwork(boost::asio::any_io_executor executor)
    : hub_(std::make_shared<Hub>(std::move(executor))) {}
MemoryNetwork::~MemoryNetwork() = default;

std::unique_ptr<Dialer> MemoryNetwork::make_dialer(std::string name) {
  return std::make_unique<MemoryDialer>(hub_, std::move(name));
}

std::unique_ptr<Listener> MemoryNetwork::make_listener(std::string name, ListenerOptions options) {
  return std::make_unique<MemoryListener>(hub_, std::move(name), std::move(options));
}

}  // namespace sharingbus::transport
