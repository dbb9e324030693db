#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/strand.hpp>

#include "transport/turn.hpp"

namespace sharingbus::transport {

/// An executor whose type is erased, and which is asked once what can be asked of it: `require`, `prefer` and `query`
/// of an `any_io_executor` allocate, and Asio uses them in every operation. Copies are cheap and share what they hold.
///
/// Outstanding work is not tracked: a posted function and a pending operation of a socket are work by themselves.
///
/// One that takes part `in_turns` leaves what is posted within a `Turn` to its end, and so, on a thread that is none of
/// the executor's, what might be done at once.
class ErasedExecutor {
 public:
  /// Of no other type, since for a copy it would be looked at whether this is an executor, and so in a circle.
  template <std::same_as<boost::asio::any_io_executor> Executor>
  explicit ErasedExecutor(const Executor& executor, bool in_turns = false)
      : in_turns_(in_turns),
        held_(std::make_shared<const Held>(Held{executor,
                                                boost::asio::require(executor, boost::asio::execution::blocking.never),
                                                boost::asio::query(executor, boost::asio::execution::context)})) {}

  boost::asio::execution_context& query(boost::asio::execution::context_t /*property*/) const noexcept {
    return held_->context;
  }
  boost::asio::execution::blocking_t query(boost::asio::execution::blocking_t /*property*/) const noexcept {
    if (never_) return boost::asio::execution::blocking.never;
    return boost::asio::execution::blocking.possibly;
  }
  [[nodiscard]] ErasedExecutor require(boost::asio::execution::blocking_t::never_t /*property*/) const noexcept {
    return {held_, in_turns_, true};
  }
  [[nodiscard]] ErasedExecutor require(boost::asio::execution::blocking_t::possibly_t /*property*/) const noexcept {
    return {held_, in_turns_, false};
  }
  template <class Function>
  void execute(Function&& function) const {
    if constexpr (std::copy_constructible<std::decay_t<Function>>) {
      if (in_turns_ && (never_ || Turn::elsewhere())) {
        if (Turn* const turn = Turn::open()) return turn->keep(std::forward<Function>(function));
      }
    }
    if (!never_ && Turn::Beginning::take()) return std::forward<Function>(function)();
    (never_ ? held_->never : held_->possibly).execute(std::forward<Function>(function));
  }
  friend bool operator==(const ErasedExecutor& a, const ErasedExecutor& b) noexcept {
    return a.held_ == b.held_ && a.never_ == b.never_;
  }
  friend bool operator!=(const ErasedExecutor& a, const ErasedExecutor& b) noexcept { return !(a == b); }

 private:
  struct Held {
    boost::asio::any_io_executor possibly;
    boost::asio::any_io_executor never;
    boost::asio::execution_context& context;
  };
  ErasedExecutor(std::shared_ptr<const Held> held, bool in_turns, bool never) noexcept
      : in_turns_(in_turns), never_(never), held_(std::move(held)) {}

  bool in_turns_ = false;
  bool never_ = false;
  std::shared_ptr<const Held> held_;
};

/// A strand of an executor whose type is erased. `asio::strand<any_io_executor>` does the same with some forty
/// allocations more for a request and its answer.
///
/// Has nothing but what an executor needs, as Beast takes a strand of Asio's for an executor of the older kind.
class Strand {
 public:
  /// Of no other type, as above.
  template <std::same_as<boost::asio::any_io_executor> Executor>
  explicit Strand(const Executor& executor) : strand_(ErasedExecutor(executor)) {}
  /// Of an executor that is erased already, which saves asking it again.
  explicit Strand(ErasedExecutor executor) : strand_(std::move(executor)) {}

  boost::asio::execution_context& query(boost::asio::execution::context_t property) const noexcept {
    return boost::asio::query(strand_.get_inner_executor(), property);
  }
  boost::asio::execution::blocking_t query(boost::asio::execution::blocking_t property) const noexcept {
    return boost::asio::query(strand_.get_inner_executor(), property);
  }
  [[nodiscard]] Strand require(boost::asio::execution::blocking_t::never_t property) const {
    return Strand(boost::asio::require(strand_, property));
  }
  [[nodiscard]] Strand require(boost::asio::execution::blocking_t::possibly_t property) const {
    return Strand(boost::asio::require(strand_, property));
  }
  template <class Function>
  void execute(Function&& function) const {
    strand_.execute(std::forward<Function>(function));
  }
  [[nodiscard]] bool running_in_this_thread() const noexcept { return strand_.running_in_this_thread(); }
  friend bool operator==(const Strand& a, const Strand& b) noexcept { return a.strand_ == b.strand_; }
  friend bool operator!=(const Strand& a, const Strand& b) noexcept { return !(a == b); }

 private:
  explicit Strand(boost::asio::strand<ErasedExecutor> strand) noexcept : strand_(std::move(strand)) {}

  boost::asio::strand<ErasedExecutor> strand_;
};

}  // namespace sharingbus::transport
