#pragma once

#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>

#include "transport/dialer.hpp"
#include "transport/listener.hpp"

namespace sharingbus::transport {

/// A network inside the process: links between dialers and listeners that name the same `memory://name`. Frames are
/// bytes and pass the same decoders, limits and credit as on a real transport, so it serves tests, examples and
/// components that live together. Everything happens on `executor`: give it a strand, or a context run by one thread.
/// The network must outlive its dialers and listeners; they and their links may be used from any thread.
class MemoryNetwork {
 public:
  explicit MemoryNetwork(boost::asio::any_io_executor executor);
  ~MemoryNetwork();
  MemoryNetwork(const MemoryNetwork&) = delete;
  MemoryNetwork& operator=(const MemoryNetwork&) = delete;

  /// A dialer to `memory://name`.
  [[nodiscard]] std::unique_ptr<Dialer> make_dialer(std::string name);
  /// A listener at `memory://name`; `listen` answers `address_in_use` while another one has the name.
  [[nodiscard]] std::unique_ptr<Listener> make_listener(std::string name, ListenerOptions options);

  class Hub;

 private:
  std::shared_ptr<Hub> hub_;
};

}  // namespace sharingbus::transport
