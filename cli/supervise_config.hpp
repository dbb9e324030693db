#pragma once

#include <string>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "connector/lifecycle/service.hpp"

namespace sharingbus::cli {

/// One entry of `services` in the config of `supervise`.
struct SupervisedService {
  connector::ExtensionService service;
  connector::ServicePolicy policy;
};

/// Reads the list under `services`, and puts it into the order in which they are to be started. Throws
/// `CLI::ValidationError` that names the key, as in `services[0].timeout`.
[[nodiscard]] std::vector<SupervisedService> read_services(const YAML::Node& services);

}  // namespace sharingbus::cli
