#include "connector/gateway/internal/pending_requests.hpp"

namespace sharingbus::connector::internal {
namespace {

class CallbackTaker final : public AnswerTaker {
 public:
  explicit CallbackTaker(ExecuteCallback callback) : callback_(std::move(callback)) {}
  void take(Error error, ExecuteReply reply) override { callback_(std::move(error), std::move(reply)); }

 private:
  const ExecuteCallback callback_;
};

}  // namespace

std::unique_ptr<AnswerTaker> make_taker(ExecuteCallback callback) {
  if (!callback) return nullptr;
  return std::make_unique<CallbackTaker>(std::move(callback));
}

PendingRequests::~PendingRequests() {
  // What a request's end brings about must not find it here.
  const auto all = take_all();
}

void PendingRequests::add(RequestPtr request) {
  if (!by_id_.insert(*request).second) return;
  by_deadline_.insert(*request.release());
}

RequestPtr PendingRequests::remove(Request& request) {
  by_id_.erase(by_id_.iterator_to(request));
  by_deadline_.erase(by_deadline_.iterator_to(request));
  return RequestPtr(&request);
}

RequestPtr PendingRequests::take(const std::string& id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : remove(*found);
}

std::vector<RequestPtr> PendingRequests::take_due(TimePoint now) {
  std::vector<RequestPtr> due;
  while (!by_deadline_.empty() && by_deadline_.begin()->deadline <= now)
    due.push_back(remove(*by_deadline_.begin()));
  return due;
}

std::optional<TimePoint> PendingRequests::next_deadline() const {
  if (by_deadline_.empty()) return std::nullopt;
  return by_deadline_.begin()->deadline;
}

}  // namespace sharingbus::connector::internal
