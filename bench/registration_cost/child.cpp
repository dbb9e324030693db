#include "bench/registration_cost/child.hpp"

#include <array>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace registration_cost {
namespace {

std::string line_of(std::FILE* file) {
  std::array<char, 512> buffer{};
  if (std::fgets(buffer.data(), buffer.size(), file) == nullptr) return {};
  buffer[std::strcspn(buffer.data(), "\n")] = 0;
  return buffer.data();
}

}  // namespace

Child::Child(const std::vector<std::string>& arguments) : role_(arguments.at(0)) {
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) fail("no pipe");
  std::vector<std::string> all{"registration_cost"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& each : all)
    argv.push_back(each.data());
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) fail("no process");
  if (pid_ == 0) {
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    ::execv("/proc/self/exe", argv.data());
    ::_exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  to_ = ::fdopen(in[1], "w");
  from_ = ::fdopen(out[0], "r");
}

Child::~Child() {
  std::fclose(to_);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  std::fclose(from_);
  if (status != 0) std::fprintf(stderr, "registration_cost: %s ended with status %d\n", role_.c_str(), status);
}

void Child::tell(const std::string& line) {
  std::fprintf(to_, "%s\n", line.c_str());
  std::fflush(to_);
}

std::string Child::next() {
  std::string line = line_of(from_);
  if (line.empty()) fail(role_ + " said nothing more");
  return line;
}

double Child::figure(const std::string& key) {
  const std::string line = next();
  if (line.compare(0, key.size() + 1, key + " ") != 0) fail(role_ + " said '" + line + "' instead of " + key);
  return std::strtod(line.c_str() + key.size(), nullptr);
}

std::string heard() {
  return line_of(stdin);
}

void say(const std::string& key, double figure) {
  std::printf("%s %.9g\n", key.c_str(), figure);
  std::fflush(stdout);
}

void fail(const std::string& why) {
  std::fprintf(stderr, "registration_cost: %s\n", why.c_str());
  std::exit(1);
}

}  // namespace registration_cost
