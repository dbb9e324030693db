#include <cstdio>

#include "bus/base/result.hpp"

int main() {
  std::puts("consumer: ok");
  return 0;
}
