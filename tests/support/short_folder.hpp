#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace sharingbus::test {

/// A new folder with a short name, as the paths of sockets have to be short, and what is in it goes with it.
class ShortFolder {
 public:
  ShortFolder() {
    std::string name = std::filesystem::temp_directory_path() / "sbXXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~ShortFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ShortFolder(const ShortFolder&) = delete;
  ShortFolder& operator=(const ShortFolder&) = delete;

  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ / name; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace sharingbus::test
