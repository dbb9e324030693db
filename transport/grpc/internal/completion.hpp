#pragma once

namespace sharingbus::transport::internal {

/// What a completion queue gives back when an operation is over: its tag.
class Completion {
 public:
  /// On the queue's thread. What `ok` means depends on the operation, see grpcpp/completion_queue.h.
  virtual void completed(bool ok) = 0;

  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

 protected:
  Completion() = default;
  ~Completion() = default;
};

/// Calls a member function.
template <class Owner, void (Owner::*Function)(bool)>
class CompletionOf final : public Completion {
 public:
  explicit CompletionOf(Owner& owner) noexcept : owner_(owner) {}
  void completed(bool ok) override { (owner_.*Function)(ok); }

 private:
  Owner& owner_;
};

}  // namespace sharingbus::transport::internal
