#pragma once

#include <cstdio>
#include <string>
#include <sys/types.h>
#include <vector>

namespace registration_cost {

/// This program once more, in a process of its own, with other arguments; lines go to it and come from it. Its standard
/// input ends with this object, which waits for it.
class Child {
 public:
  explicit Child(const std::vector<std::string>& arguments);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void tell(const std::string& line);
  /// The next line that it writes. Ends this program when there is none.
  [[nodiscard]] std::string next();
  /// The number at the end of a line that begins with `key`, which must be the next.
  [[nodiscard]] double figure(const std::string& key);

 private:
  const std::string role_;
  pid_t pid_ = 0;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

// In the child.
/// The next line, or empty at the end.
[[nodiscard]] std::string heard();
void say(const std::string& key, double figure);
[[noreturn]] void fail(const std::string& why);

}  // namespace registration_cost
