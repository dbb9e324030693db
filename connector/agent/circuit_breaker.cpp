#include "connector/agent/circuit_breaker.hpp"

namespace sharingbus::connector {

std::string_view to_string(CircuitBreaker::State state) noexcept {
  switch (state) {
    case CircuitBreaker::State::closed:
      return "closed";
    case CircuitBreaker::State::open:
      return "open";
    case CircuitBreaker::State::half_open:
      return "half_open";
  }
  return "unknown";
}

Result<> CircuitBreakerOptions::validate() const {
  if (failures == 0) return Error(errc::invalid_argument, "circuit_breaker.failures must be at least 1");
  if (successes == 0) return Error(errc::invalid_argument, "circuit_breaker.successes must be at least 1");
  if (half_open_calls == 0) return Error(errc::invalid_argument, "circuit_breaker.half_open_calls must be at least 1");
  if (open_for <= Duration::zero()) return Error(errc::invalid_argument, "circuit_breaker.open_for must be above 0");
  return {};
}

bool CircuitBreaker::allow(TimePoint now) {
  if (!options_.enabled || state_ == State::closed) return true;
  if (state_ == State::open) {
    if (now < until_) return false;
    state_ = State::half_open;
    in_a_row_ = 0;
    trying_ = 0;
  }
  if (trying_ >= options_.half_open_calls) return false;
  ++trying_;
  return true;
}

void CircuitBreaker::trial_ended() {
  // Calls from before it opened end too; they tried nothing.
  if (trying_ > 0) --trying_;
}

bool CircuitBreaker::succeeded() {
  if (!options_.enabled) return false;
  if (state_ == State::closed) in_a_row_ = 0;
  if (state_ != State::half_open) return false;
  trial_ended();
  if (++in_a_row_ < options_.successes) return false;
  state_ = State::closed;
  in_a_row_ = 0;
  return true;
}

bool CircuitBreaker::failed(TimePoint now) {
  if (!options_.enabled || state_ == State::open) return false;
  if (state_ == State::closed && ++in_a_row_ < options_.failures) return false;
  state_ = State::open;
  until_ = now + options_.open_for;
  return true;
}

void CircuitBreaker::abandoned() {
  if (state_ == State::half_open) trial_ended();
}

}  // namespace sharingbus::connector
