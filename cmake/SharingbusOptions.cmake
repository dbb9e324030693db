# Options, and the compiler flags that follow from them.
option(SHARINGBUS_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(SHARINGBUS_EXAMPLES "Build the examples; CTest runs them" ${PROJECT_IS_TOP_LEVEL})
option(SHARINGBUS_BENCH "Build the benchmarks" OFF)
option(SHARINGBUS_FUZZ "Build the libFuzzer targets (Clang only)" OFF)
option(SHARINGBUS_WERROR "Warnings are errors" OFF)
option(SHARINGBUS_COVERAGE "Instrument for gcov" OFF)
set(SHARINGBUS_SANITIZE "" CACHE STRING "Sanitizers, such as address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES AND PROJECT_IS_TOP_LEVEL)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(SHARINGBUS_CCACHE ccache)
  mark_as_advanced(SHARINGBUS_CCACHE)
  if(SHARINGBUS_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${SHARINGBUS_CCACHE}")
  endif()
endif()

# Sanitizers and coverage go to everything we compile, generated code included: half a program instrumented reports
# races and leaks that are none.
if(SHARINGBUS_SANITIZE)
  add_compile_options("-fsanitize=${SHARINGBUS_SANITIZE}" -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options("-fsanitize=${SHARINGBUS_SANITIZE}")
  if(SHARINGBUS_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC warns at every atomic_thread_fence that TSan does not model it. Boost and moodycamel use fences in headers,
    # so the warning says nothing about our code; tests/tsan.supp has the consequence.
    add_compile_options(-Wno-tsan)
  endif()
  if(SHARINGBUS_SANITIZE MATCHES "undefined" AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # Clang 14 cannot put the data of this check before a split coroutine ("difference across sections").
    add_compile_options(-fno-sanitize=function)
  endif()
  if(SHARINGBUS_SANITIZE MATCHES "undefined" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # A check at every access, a third of the time to compile, and a null pointer ends in AddressSanitizer anyway. The
    # fuzzers, which read the bytes of others, are built by Clang and have all of them.
    add_compile_options(-fno-sanitize=null,alignment,vptr)
  endif()
endif()
if(SHARINGBUS_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "SHARINGBUS_FUZZ needs Clang; use the preset fuzz")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(SHARINGBUS_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()

# Warnings for our own code only. No -Wsign-conversion: Asio's and Beast's size types would fill the code with casts.
add_library(sharingbus_warnings INTERFACE)
target_compile_options(sharingbus_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
  -Wold-style-cast -Wundef -Wimplicit-fallthrough -Wvla
  $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond -Wlogical-op>
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
  $<$<BOOL:${SHARINGBUS_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these inside inlined Boost and standard library code as soon as it optimises or instruments.
  target_compile_options(sharingbus_warnings INTERFACE
    -Wno-maybe-uninitialized -Wno-dangling-pointer -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow)
endif()
target_compile_definitions(sharingbus_warnings INTERFACE $<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)
