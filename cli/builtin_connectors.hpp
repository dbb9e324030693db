#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bus/base/timer.hpp"
#include "connector/connector.hpp"

namespace sharingbus::cli {

/// The connectors that the program brings along: `echo` answers with what it was asked, `clock` with the time.
/// Null for another name.
[[nodiscard]] std::shared_ptr<connector::Connector> make_builtin_connector(const std::string& type, const Clock& clock);
[[nodiscard]] std::vector<std::string> builtin_connector_types();

}  // namespace sharingbus::cli
