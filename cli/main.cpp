#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <vector>

#include "cli/command.hpp"
#include "transport/codec/connector_protobuf.hpp"

namespace sharingbus::cli {
namespace {

int run_program(int argc, char** argv) {
  CLI::App program("SharingBus: transports publish onto one bus, everything else subscribes.", "sharingbus");
  // Not 1, which would hide the name of an unknown one.
  program.require_subcommand(0, 1);
  program.set_version_flag("--version", "sharingbus 0.1.0");
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_demo_command(program));
  commands.push_back(make_gateway_command(program));
  commands.push_back(make_connect_command(program));
  commands.push_back(make_pool_command(program));
  commands.push_back(make_agent_command(program));
  commands.push_back(make_supervise_command(program));
  try {
    program.parse(argc, argv);
    for (const auto& command : commands) {
      if (command->app().parsed()) return command->run();
    }
    throw CLI::RequiredError("A subcommand");
  } catch (const CLI::ParseError& e) {
    // Prints help and version to stdout, errors to stderr.
    return program.exit(e) == 0 ? kDone : kUsage;
  }
}

}  // namespace
}  // namespace sharingbus::cli

int main(int argc, char** argv) {
  // gRPC writes to stderr by itself; what matters of it comes to us as errors.
  ::setenv("GRPC_VERBOSITY", "NONE", 0);
  sharingbus::transport::mute_protobuf_log();
  try {
    return sharingbus::cli::run_program(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "sharingbus: %s\n", e.what());
    return sharingbus::cli::kFailed;
  }
}
