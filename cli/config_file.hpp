#pragma once

#include <string>

#include <CLI/CLI.hpp>
#include <yaml-cpp/yaml.h>

namespace sharingbus::cli {

/// The YAML map in the file at `path`, or null for an empty one. Throws `CLI::ParseError` that names what is wrong.
[[nodiscard]] YAML::Node load_config_file(const std::string& path);
/// What `apply_config_file` does with a map that was read from `path`, but for the key `but`, which is the command's
/// own.
void apply_config(CLI::App& app, const std::string& path, const YAML::Node& root, const std::string& but);

}  // namespace sharingbus::cli
