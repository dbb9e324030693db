#include "cli/builtin_connectors.hpp"

#include <boost/json/object.hpp>
#include <utility>

namespace sharingbus::cli {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using connector::Payload;

class EchoConnector final : public connector::Connector {
 public:
  std::string connector_type() const override { return "echo"; }
  bool may_block() const override { return false; }
  asio::awaitable<Result<json::value>> execute(json::value payload, std::optional<std::string>) override {
    co_return payload;
  }
};

class ClockConnector final : public connector::Connector {
 public:
  explicit ClockConnector(const Clock& clock) : clock_(clock) {}
  std::string connector_type() const override { return "clock"; }
  bool may_block() const override { return false; }
  asio::awaitable<Result<json::value>> execute(json::value, std::optional<std::string>) override {
    co_return json::object{{"unix_ms", clock_.unix_ms()}};
  }

 private:
  const Clock& clock_;
};

}  // namespace

std::shared_ptr<connector::Connector> make_builtin_connector(const std::string& type, const Clock& clock) {
  if (type == "echo") return std::make_shared<EchoConnector>();
  if (type == "clock") return std::make_shared<ClockConnector>(clock);
  return nullptr;
}

std::vector<std::string> builtin_connector_types() {
  return {"echo", "clock"};
}

}  // namespace sharingbus::cli
