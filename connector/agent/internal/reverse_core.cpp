#include "connector/agent/internal/reverse_core.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <unistd.h>
#include <utility>

#include <boost/asio/post.hpp>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "transport/codec/agent_codec.hpp"

namespace sharingbus::connector::internal {
namespace {

namespace messages = transport::agent_messages;

/// Room for the registration, and for the stream's own events.
constexpr std::size_t kGuestCapacity = 8;
/// What a peer that was refused gets to take the answer and to end its side.
constexpr auto kFarewell = std::chrono::seconds(1);

using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

Digest digest_of(std::string_view text) {
  Digest digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

/// In a time that tells neither where they differ nor how long they are.
bool equal_secrets(const Digest& left, std::string_view right) {
  const Digest digest = digest_of(right);
  return CRYPTO_memcmp(left.data(), digest.data(), digest.size()) == 0;
}

/// The user of the peer of a Unix socket, out of `… pid=12 uid=1000 gid=1000`; empty: there is none.
std::string user_of(const std::string& peer) {
  static constexpr std::string_view kField = " uid=";
  const auto at = peer.rfind(kField);
  if (at == std::string::npos) return {};
  const auto begin = at + kField.size();
  return peer.substr(begin, peer.find(' ', begin) - begin);
}

std::string connection_id(const std::string& agent_id, std::int64_t unix_ms) {
  std::array<char, 32> hex{};
  const int length = std::snprintf(hex.data(), hex.size(), "%llx", static_cast<unsigned long long>(unix_ms));
  return agent_id + "-" + std::string(hex.data(), static_cast<std::size_t>(length));
}

}  // namespace

ReverseCore::ReverseCore(boost::asio::any_io_executor executor, SharingBus& bus, TimerService& timers, AgentPool& pool,
                         ReverseListenerOptions options)
    : executor_(std::move(executor)),
      publisher_(bus.publisher()),
      source_(bus.new_source()),
      pool_(pool),
      options_(std::move(options)),
      decoder_(
          std::make_shared<transport::AgentFrameDecoder>(transport::AgentRole::proxy, transport::AgentCarrier::uds)),
      timers_(timers) {}

void ReverseCore::start(SharingBus& bus) {
  const auto weak = weak_from_this();
  opened_ = bus.subscribe_inline({.name = "reverse-listener", .filter = Filter::type<transport::StreamOpened>()},
                                 [weak, &bus](const EventRef& event) {
                                   if (const auto self = weak.lock()) self->stream_opened(bus, *event);
                                 });
  closed_ = bus.subscribe_inline({.name = "reverse-listener-closed", .filter = Filter::type<transport::StreamClosed>()},
                                 [weak](const EventRef& event) {
                                   const auto self = weak.lock();
                                   if (self && event->routing().connector_uid) {
                                     self->stream_closed(*event->routing().connector_uid);
                                   }
                                 });
}

transport::ListenerOptions ReverseCore::make_listener_options(SharingBus& bus) const {
  transport::ListenerOptions options;
  options.publisher = publisher_;
  options.decoder = decoder_;
  options.new_source = [&bus] { return bus.new_source(); };
  options.id = bus.new_source();
  options.limits.max_inbound_bytes = transport::kAgentUdsFrameBytesMax;
  options.limits.max_outbound_bytes = transport::kAgentUdsFrameBytesMax;
  options.limits.outbound_capacity = pool_.options().channel_buffer;
  return options;
}

Result<transport::Endpoint> ReverseCore::serve(std::shared_ptr<transport::Listener> listener) {
  if (const auto valid = options_.validate(); !valid) return valid.error();
  if (!listener || listener->id() == 0) {
    return Error(errc::invalid_argument, "a listener must be made with ReverseListener::make_listener_options");
  }
  {
    const std::scoped_lock lock(mutex_);
    if (closing_) return Error(errc::closed, "the reverse listener is closing");
    if (!listener_ids_.insert(listener->id()).second) {
      return Error(errc::invalid_argument, "each listener needs ReverseListener::make_listener_options of its own");
    }
    listeners_.push_back(listener);
  }
  auto endpoint = listener->listen();
  if (!endpoint) {
    const std::scoped_lock lock(mutex_);
    listener_ids_.erase(listener->id());
    std::erase(listeners_, listener);
  }
  return endpoint;
}

// --- guests ----------------------------------------------------------------------------------------------------------

void ReverseCore::stream_opened(SharingBus& bus, const BusEvent& event) {
  const auto& opened = *event.get_if<transport::StreamOpened>();
  auto link = opened.link.lock();
  if (!link) return;
  const Uuid uid = link->uid();
  auto guest = std::make_shared<Guest>();
  guest->link = link;
  guest->peer = opened.peer;
  Error refused;
  {
    const std::scoped_lock lock(mutex_);
    if (!listener_ids_.contains(opened.listener)) return;
    if (closing_) {
      refused = Error(errc::closed, "the reverse listener is closing");
    } else if (guests_.size() + leaving_.size() >= options_.max_unregistered) {
      refused = Error(errc::capacity_exceeded, "too many connections have not registered yet");
    } else {
      guests_.emplace(uid, guest);
    }
  }
  if (refused) {
    link->cancel(refused);
    // Not from within the bus's turn: a callback's publishing has little room.
    boost::asio::post(executor_, [self = shared_from_this(), guest, refused] { self->refuse(*guest, {}, refused); });
    return;
  }
  SubscriptionOptions options;
  options.name = "reverse-guest " + guest->peer;
  options.filter = Filter::connector_uid(uid) && Filter::origin(EventOrigin::transport);
  options.capacity = kGuestCapacity;
  auto subscription =
      subscribe_on(bus, executor_, std::move(options), [weak = weak_from_this(), uid](const Received& item) {
        if (const auto self = weak.lock()) self->received(uid, item);
      });
  TimerId timer = timers_.schedule_at(timers_.now() + options_.registration_timeout, [weak = weak_from_this(), uid] {
    const auto self = weak.lock();
    if (!self) return;
    boost::asio::post(self->executor_, [self, uid] {
      self->drop(uid, Error(errc::timed_out, "no registration within the registration timeout"));
    });
  });
  {
    const std::scoped_lock lock(mutex_);
    if (!guest->let_go) {
      guest->subscription = std::move(subscription);
      guest->timer = std::exchange(timer, 0);
    }
  }
  timers_.cancel(timer);
  // Its registration, and nothing else. No message of an agent costs the other kind, but reading needs some of both.
  link->grant({.requests = 1, .controls = 1});
}

/// Takes it out of the guests; null when it is none (any more).
ReverseCore::GuestPtr ReverseCore::leave(const Uuid& uid) {
  const std::scoped_lock lock(mutex_);
  const auto found = guests_.find(uid);
  if (found == guests_.end()) return nullptr;
  GuestPtr guest = std::move(found->second);
  guests_.erase(found);
  return guest;
}

void ReverseCore::let_go(const GuestPtr& guest) {
  CallbackSubscription subscription;
  TimerId timer = 0;
  {
    const std::scoped_lock lock(mutex_);
    guest->let_go = true;
    subscription = std::move(guest->subscription);
    timer = std::exchange(guest->timer, 0);
  }
  timers_.cancel(timer);
}

/// Ends it if it does not end by itself: half-closed it would stay for as long as its peer likes.
void ReverseCore::see_off(const Uuid& uid, const GuestPtr& guest) {
  {
    const std::scoped_lock lock(mutex_);
    // Then the listener ends it.
    if (closing_) return;
    leaving_.emplace(uid, guest);
  }
  TimerId timer = timers_.schedule_at(timers_.now() + kFarewell, [weak = weak_from_this(), uid, guest] {
    const auto self = weak.lock();
    if (!self) return;
    boost::asio::post(self->executor_, [self, uid, guest] {
      self->seen_off(uid);
      guest->link->cancel(Error(errc::timed_out, "the agent did not end its side of the stream"));
    });
  });
  {
    const std::scoped_lock lock(mutex_);
    if (leaving_.contains(uid)) guest->timer = std::exchange(timer, 0);
  }
  timers_.cancel(timer);
}

void ReverseCore::seen_off(const Uuid& uid) {
  TimerId timer = 0;
  {
    const std::scoped_lock lock(mutex_);
    const auto leaving = leaving_.find(uid);
    if (leaving == leaving_.end()) return;
    timer = std::exchange(leaving->second->timer, 0);
    leaving_.erase(leaving);
  }
  timers_.cancel(timer);
}

void ReverseCore::stream_closed(const Uuid& uid) {
  seen_off(uid);
  const std::scoped_lock lock(mutex_);
  const auto stream = streams_.find(uid);
  if (stream == streams_.end()) return;
  const auto owner = owners_.find(stream->second);
  if (owner != owners_.end()) {
    owner->second.streams.erase(uid);
    if (owner->second.streams.empty()) owners_.erase(owner);
  }
  streams_.erase(stream);
}

void ReverseCore::received(const Uuid& uid, const Received& item) {
  if (const auto* registration = item.get_if<messages::ReverseRegistration>()) return registered(uid, *registration);
  if (const auto* closed = item.get_if<transport::StreamClosed>()) {
    Error why = closed->error ? closed->error : Error(errc::stream_closed, "closed");
    return drop(uid, std::move(why));
  }
  if (item.closed() != nullptr) return drop(uid, Error(errc::closed, "the bus was closed"));
  if (item.event() == nullptr || item.get_if<transport::StreamOpened>() != nullptr) return;
  if (item.get_if<transport::StreamWritable>() != nullptr) return;
  drop(uid, Error(errc::protocol_violation, "the first message is no registration"));
}

/// Without an answer.
void ReverseCore::drop(const Uuid& uid, Error why) {
  const GuestPtr guest = leave(uid);
  if (!guest) return;
  let_go(guest);
  guest->link->cancel(why);
  refuse(*guest, {}, std::move(why));
}

void ReverseCore::refuse(const Guest& guest, const std::string& agent_id, Error why) {
  Routing routing = routing_for<ReverseAgentRefused>();
  routing.connector_uid = guest.link->uid();
  if (!agent_id.empty()) routing.connector_id = agent_id;
  publisher_.publish(ReverseAgentRefused{agent_id, guest.peer, std::move(why)}, std::move(routing), EventOrigin::agent,
                     source_);
}

// --- registration ----------------------------------------------------------------------------------------------------

Error ReverseCore::check(const Guest& guest, const messages::ReverseRegistration& registration,
                         std::string& owner) const {
  if (registration.protocol_version != messages::kAgentProtocolVersion) {
    return {errc::protocol_violation,
            "Protocol version mismatch: expected 2, got " + std::to_string(registration.protocol_version)};
  }
  if (registration.agent_id.empty()) return {errc::rejected, "Invalid message format: Agent ID cannot be empty"};
  if (!options_.allowed_agents.contains(registration.agent_id)) {
    return {errc::rejected, "Invalid message format: Agent '" + registration.agent_id + "' is not in the allowed list"};
  }
  if (options_.same_user) {
    const std::string user = user_of(guest.peer);
    if (user != std::to_string(::geteuid()))
      return {errc::unauthenticated, "Invalid message format: Registration rejected"};
    owner += "user " + user + ";";
  }
  if (!options_.tokens.empty()) {
    if (!registration.auth_token) {
      return {errc::unauthenticated, "Invalid message format: Authentication required but no token provided"};
    }
    const Digest shown = digest_of(*registration.auth_token);
    // All of them, so that the time does not tell which.
    bool known = false;
    for (const ReverseToken& token : options_.tokens) {
      const bool same = equal_secrets(shown, token.token);
      known |= same && (token.agent_id.empty() || token.agent_id == registration.agent_id);
    }
    if (!known) return {errc::unauthenticated, "Invalid message format: Registration rejected"};
    owner += "token " + std::string(shown.begin(), shown.end()) + ";";
  }
  const auto reverse = pool_.is_reverse_agent(registration.agent_id);
  if (reverse && !*reverse && !options_.may_join_dialled) {
    return {errc::rejected, "Invalid message format: Registration rejected"};
  }
  return {};
}

Error ReverseCore::claim(const Uuid& uid, const std::string& agent_id, const std::string& owner) {
  const std::scoped_lock lock(mutex_);
  const auto found = owners_.find(agent_id);
  if (found != owners_.end() && found->second.proof != owner) {
    return {errc::rejected, "Invalid message format: Registration rejected"};
  }
  Owner& place = owners_[agent_id];
  place.proof = owner;
  place.streams.insert(uid);
  streams_.emplace(uid, agent_id);
  return {};
}

void ReverseCore::registered(const Uuid& uid, const messages::ReverseRegistration& registration) {
  // Whoever has closed may give up the pool.
  const Gate::Entry entry = registering_.enter();
  if (!entry) return;
  const GuestPtr guest = leave(uid);
  if (!guest) return;
  let_go(guest);
  const std::int64_t unix_ms = timers_.moment().unix_ms;
  const auto answer = [&](const Error& why) {
    messages::ReverseRegistrationResponse response;
    response.success = !why;
    if (why) response.error = why.message;
    response.proxy_id = pool_.options().proxy_id;
    response.proxy_version = pool_.options().proxy_version;
    if (!why) response.connection_id = connection_id(registration.agent_id, unix_ms);
    auto frame = transport::encode_agent_message(response, transport::AgentWire::json);
    return frame ? std::move(*frame) : std::string();
  };
  std::string owner;
  Error why;
  // Where the transport is not held to it.
  if (guest->link->stats().bytes_received > options_.max_registration_bytes) {
    why = Error(errc::message_too_large, "Invalid message format: Registration rejected");
  }
  if (!why) why = check(*guest, registration, owner);
  if (!why) why = claim(uid, registration.agent_id, owner);
  if (!why) {
    const auto joined = pool_.add_reverse_connection(registration.agent_id, guest->link, registration.capabilities,
                                                     guest->peer, answer({}));
    if (joined) return;
    stream_closed(uid);
    why = joined.error();
  }
  see_off(uid, guest);
  guest->link->send(answer(why));
  guest->link->finish();
  refuse(*guest, registration.agent_id, std::move(why));
}

// --- the end ---------------------------------------------------------------------------------------------------------

void ReverseCore::close(std::function<void()> done) {
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  std::unordered_map<Uuid, GuestPtr> guests;
  {
    const std::scoped_lock lock(mutex_);
    closing_ = true;
    listeners = listeners_;
    guests.swap(guests_);
    guests.merge(leaving_);
    leaving_.clear();
  }
  for (const auto& [uid, guest] : guests)
    let_go(guest);
  // The gate's one more than there are listeners.
  const auto open = std::make_shared<std::atomic<std::size_t>>(listeners.size() + 1);
  const auto one_less = [open, executor = executor_, done = std::move(done)] {
    if (open->fetch_sub(1, std::memory_order_acq_rel) == 1 && done) boost::asio::post(executor, done);
  };
  for (const auto& listener : listeners)
    listener->close(one_less);
  registering_.close(one_less);
}

void ReverseCore::abandon() {
  close(nullptr);
  Subscription opened;
  Subscription closed;
  std::vector<std::shared_ptr<transport::Listener>> listeners;
  {
    const std::scoped_lock lock(mutex_);
    opened = std::move(opened_);
    closed = std::move(closed_);
    listeners.swap(listeners_);
  }
  opened = {};
  closed = {};
  listeners.clear();
  timers_.let_go();
}

}  // namespace sharingbus::connector::internal
