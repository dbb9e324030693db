#include "transport/uds/uds_listener.hpp"

#include <cerrno>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "transport/byte_stream/internal/socket_listener.hpp"
#include "transport/uds/internal/unix_address.hpp"

namespace sharingbus::transport {
namespace {

using internal::system_text;
using internal::UniqueFd;

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// `PATH.lock`, locked: who has it owns the address, also while no socket listens there. Removed by who holds it.
class PathLock {
 public:
  /// 0, or errno; EWOULDBLOCK when somebody else has it.
  [[nodiscard]] int acquire(const std::string& path) {
    path_ = path + ".lock";
    for (;;) {
      UniqueFd file(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
      if (!file) return errno;
      if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return errno;
      // The one who had it may have removed it after we opened it; then it locks nothing any more.
      struct stat opened {};
      struct stat named {};
      if (::fstat(file.get(), &opened) != 0) return errno;
      if (::stat(path_.c_str(), &named) == 0 && same_file(opened, named)) {
        file_ = std::move(file);
        return 0;
      }
    }
  }
  void release() {
    if (!file_) return;
    ::unlink(path_.c_str());
    file_.reset();
  }

 private:
  std::string path_;
  UniqueFd file_;
};

class UnixListeningSocket final : public internal::ListeningSocket {
 public:
  UnixListeningSocket(Endpoint endpoint, std::uint32_t mode) : endpoint_(std::move(endpoint)), mode_(mode) {}
  ~UnixListeningSocket() override { UnixListeningSocket::close(); }

  Result<Endpoint> open() override;
  void refuse() override { ::shutdown(socket_.get(), SHUT_RD); }
  Result<> resume() override;
  void close() override;
  int descriptor() const override { return socket_.get(); }
  std::string prepare(int accepted) override { return internal::unix_peer(accepted, endpoint_); }

 private:
  [[nodiscard]] const std::string& path() const { return endpoint_.host; }
  [[nodiscard]] Error failed(int error) const;
  [[nodiscard]] Result<> check_present() const;
  [[nodiscard]] int bind();
  void remove_own();

  const Endpoint endpoint_;
  const std::uint32_t mode_;
  internal::UnixAddress address_;
  PathLock lock_;
  UniqueFd socket_;
  /// The file that `bind` made.
  struct stat own_ {};
  bool has_own_ = false;
};

Error UnixListeningSocket::failed(int error) const {
  if (error == EADDRINUSE || error == EWOULDBLOCK) return {errc::address_in_use, to_string(endpoint_) + " is in use"};
  return {errc::invalid_endpoint, to_string(endpoint_) + ": " + system_text(error)};
}

/// Whether what has the name, if anything, may be replaced.
Result<> UnixListeningSocket::check_present() const {
  struct stat present {};
  if (::lstat(path().c_str(), &present) != 0) return errno == ENOENT ? Result<>() : failed(errno);
  if (!S_ISSOCK(present.st_mode)) {
    return Error(errc::invalid_endpoint, to_string(endpoint_) + " is there already and is no socket");
  }
  const UniqueFd answer(internal::connect_unix(address_));
  // Nobody has it open. Whatever else came of the attempt, somebody may.
  if (!answer && (errno == ECONNREFUSED || errno == ENOENT)) return {};
  return failed(EADDRINUSE);
}

/// 0 or errno.
int UnixListeningSocket::bind() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return errno;
  // The file has the socket's own permissions from the first moment, less what the umask takes away.
  if (::fchmod(socket.get(), mode_) != 0) return errno;
  if (::bind(socket.get(), address_.get(), address_.size) != 0) return errno;
  if (::lstat(path().c_str(), &own_) != 0) return errno;
  has_own_ = true;
  if (::chmod(path().c_str(), mode_) != 0 || ::listen(socket.get(), SOMAXCONN) != 0) return errno;
  socket_ = std::move(socket);
  return 0;
}

Result<Endpoint> UnixListeningSocket::open() {
  auto address = internal::unix_address(endpoint_);
  if (!address) return std::move(address).error();
  address_ = *address;
  if (const int error = lock_.acquire(path()); error != 0) return failed(error);
  if (auto free = check_present(); !free) {
    lock_.release();
    return std::move(free).error();
  }
  ::unlink(path().c_str());
  if (const int error = bind(); error != 0) {
    close();
    return failed(error);
  }
  return endpoint_;
}

Result<> UnixListeningSocket::resume() {
  // A Unix socket that was shut down listens no more, so another one takes its name.
  remove_own();
  const int error = bind();
  if (error == 0) return {};
  return Error(errc::address_in_use, "listening again failed: " + system_text(error));
}

void UnixListeningSocket::remove_own() {
  struct stat present {};
  if (has_own_ && ::lstat(path().c_str(), &present) == 0 && same_file(present, own_)) ::unlink(path().c_str());
  has_own_ = false;
}

void UnixListeningSocket::close() {
  remove_own();
  socket_.reset();
  lock_.release();
}

}  // namespace

Result<> UdsListenerOptions::validate() const {
  if (!framing) return Error(errc::invalid_argument, "framing is missing");
  if (!base.decoder) return Error(errc::invalid_argument, "decoder is missing");
  if (auto valid = base.limits.validate(); !valid) return valid;
  if (base.max_links == 0) return Error(errc::invalid_argument, "max_links must be at least 1");
  if (mode > 0777) return Error(errc::invalid_argument, "mode must be at most 0777");
  return {};
}

struct UdsListener::State final : internal::SocketListener {
  using SocketListener::SocketListener;
};

UdsListener::UdsListener(boost::asio::any_io_executor executor, TimerService& timers, Endpoint endpoint,
                         UdsListenerOptions options) {
  if (const auto valid = options.validate(); !valid) throw std::invalid_argument(to_string(valid.error()));
  auto socket = std::make_unique<UnixListeningSocket>(std::move(endpoint), options.mode);
  state_ = std::make_shared<State>(std::move(executor), timers, std::move(options.base), std::move(options.framing),
                                   std::move(options.log), std::move(socket));
}

UdsListener::~UdsListener() {
  close(nullptr);
}

Result<Endpoint> UdsListener::listen() {
  return state_->listen();
}

std::uint64_t UdsListener::id() const noexcept {
  return state_->id();
}

void UdsListener::stop_accepting() {
  state_->stop_accepting();
}

void UdsListener::close(std::function<void()> done) {
  state_->close(Error(errc::closed, "the listener was closed"), std::move(done));
}

std::size_t UdsListener::link_count() const {
  return state_->link_count();
}

}  // namespace sharingbus::transport
