#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <utility>

namespace sharingbus {

/// Counts work in flight and refuses new work once closed; closing completes when the count is zero. The owner of a
/// gate owns everything that entered it. Any thread; entering is one uncontended mutex.
class Gate {
 public:
  /// One piece of work; leaving is its destruction. Move-only. Must not outlive the gate.
  class Entry {
   public:
    Entry() = default;
    Entry(Entry&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Entry& operator=(Entry&& other) noexcept {
      if (this != &other) {
        leave();
        gate_ = std::exchange(other.gate_, nullptr);
      }
      return *this;
    }
    ~Entry() { leave(); }
    /// False when the gate was closed already.
    explicit operator bool() const noexcept { return gate_ != nullptr; }

   private:
    friend class Gate;
    explicit Entry(Gate* gate) noexcept : gate_(gate) {}
    void leave() noexcept {
      if (gate_ != nullptr) std::exchange(gate_, nullptr)->leave();
    }
    Gate* gate_ = nullptr;
  };

  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  /// An empty entry when the gate is closed.
  [[nodiscard]] Entry enter() {
    const std::scoped_lock lock(mutex_);
    if (closed_) return Entry{};
    ++count_;
    return Entry{this};
  }

  /// Refuses new entries from now on and calls `on_empty` once, when the last entry has left: at once if there is none,
  /// else on the thread that leaves last. A second close replaces nothing: every caller's function is called.
  void close(std::function<void()> on_empty) {
    {
      const std::scoped_lock lock(mutex_);
      closed_ = true;
      if (count_ != 0) {
        if (!on_empty_) {
          on_empty_ = std::move(on_empty);
        } else {
          on_empty_ = [first = std::move(on_empty_), second = std::move(on_empty)] {
            first();
            second();
          };
        }
        return;
      }
    }
    on_empty();
  }

  [[nodiscard]] bool closed() const {
    const std::scoped_lock lock(mutex_);
    return closed_;
  }
  [[nodiscard]] std::size_t count() const {
    const std::scoped_lock lock(mutex_);
    return count_;
  }

 private:
  void leave() noexcept {
    std::function<void()> call;
    {
      const std::scoped_lock lock(mutex_);
      if (--count_ == 0 && closed_) call = std::move(on_empty_);
    }
    if (call) call();
  }

  mutable std::mutex mutex_;
  std::size_t count_ = 0;
  bool closed_ = false;
  std::function<void()> on_empty_;
};

}  // namespace sharingbus
