#pragma once

#include <string>

namespace sharingbus::scenarios {

/// Each prints its rows under names that begin with `name`, for every size and way that the environment asks for.
void fan_out_on_executor(const std::string& name);
void fan_out_from_thread(const std::string& name);
void selective(const std::string& name);
void one_is_stuck(const std::string& name);
void late_binding(const std::string& name);
void free_running_thread(const std::string& name);
void free_running_task(const std::string& name);
void latency_pinned(const std::string& name);
void latency_sleep(const std::string& name);
void latency_coop(const std::string& name);
void memory(const std::string& name);
/// Prints the resident bytes of this process with `subscribers` idle ones; a run of its own for `memory`.
void memory_child(int subscribers, bool with_callbacks);
void publishers_on_executor(const std::string& name);
void publishers_from_threads(const std::string& name);

}  // namespace sharingbus::scenarios
