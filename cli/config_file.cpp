#include "cli/config_file.hpp"

#include <filesystem>
#include <system_error>

#include "cli/flags.hpp"

namespace sharingbus::cli {
namespace {

std::vector<std::string> values_of(const std::string& key, const YAML::Node& node) {
  if (node.IsScalar()) return {node.Scalar()};
  if (!node.IsSequence()) throw CLI::ValidationError(key, "the config file has neither a value nor a list here");
  std::vector<std::string> values;
  for (const YAML::Node& item : node) {
    if (!item.IsScalar()) throw CLI::ValidationError(key, "the config file has a list of something else than values");
    values.push_back(item.Scalar());
  }
  return values;
}

void apply(CLI::App& app, const std::string& path, const std::string& key, const YAML::Node& node) {
  CLI::Option* option = app.get_option_no_throw("--" + key);
  if (option == nullptr || key == "config" || key == "help") {
    throw CLI::ValidationError(key, "unknown key in " + path);
  }
  if (option->count() != 0) return;
  for (const std::string& value : values_of(key, node)) option->add_result(value);
  option->run_callback();
}

}  // namespace

void add_config_flag(CLI::App& app, std::string& path) {
  app.add_option("--config", path, "YAML file with the long flags' names as keys; flags and environment win over it")
      ->type_name("FILE");
}

void apply_config_file(CLI::App& app, const std::string& path) {
  if (path.empty()) return;
  apply_config(app, path, load_config_file(path), {});
}

void apply_config(CLI::App& app, const std::string& path, const YAML::Node& root, const std::string& but) {
  for (const auto& entry : root) {
    if (entry.first.Scalar() != but) apply(app, path, entry.first.Scalar(), entry.second);
  }
}

YAML::Node load_config_file(const std::string& path) {
  // yaml-cpp throws from within the stream and leaks its buffer.
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw CLI::ValidationError("--config", "cannot read " + path + ": it is a folder");
  }
  YAML::Node root;
  try {
    root = YAML::LoadFile(path);
  } catch (const YAML::BadFile&) {
    throw CLI::ValidationError("--config", "cannot read " + path);
  } catch (const YAML::Exception& e) {
    throw CLI::ValidationError("--config", path + ": " + e.what());
  }
  if (!root.IsNull() && !root.IsMap()) throw CLI::ValidationError("--config", path + " is not a map of flags");
  return root;
}

}  // namespace sharingbus::cli
