#include "connector/connector.hpp"

#include <utility>

namespace sharingbus::connector {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

class FunctionConnector final : public Connector {
 public:
  FunctionConnector(std::string type, Handler handler) : type_(std::move(type)), handler_(std::move(handler)) {}

  std::string connector_type() const override { return type_; }
  asio::awaitable<Result<json::value>> execute(json::value payload, std::optional<std::string> capability) override {
    return handler_(std::move(payload), std::move(capability));
  }

 private:
  const std::string type_;
  const Handler handler_;
};

}  // namespace

asio::awaitable<Result<json::value>> Connector::execute(json::value, std::optional<std::string>) {
  co_return Error(errc::handler_failed, "the connector implements no execute");
}

asio::awaitable<Result<json::value>> Connector::execute_with_context(json::value payload,
                                                                     std::optional<std::string> capability, Context) {
  return execute(std::move(payload), std::move(capability));
}

asio::awaitable<Result<Payload>> Connector::execute_payload(Payload payload, std::optional<std::string> capability,
                                                            Context context) {
  auto value = to_json(payload);
  if (!value) co_return std::move(value).error();
  auto answer = co_await execute_with_context(std::move(*value), std::move(capability), std::move(context));
  if (!answer) co_return std::move(answer).error();
  co_return encode_json(*answer);
}

std::shared_ptr<Connector> make_connector(std::string type, Handler handler) {
  return std::make_shared<FunctionConnector>(std::move(type), std::move(handler));
}

}  // namespace sharingbus::connector
