# sharingbus_test and sharingbus_fuzz. Building a label's tests alone: target tests_<label>.
if(NOT (SHARINGBUS_TESTS OR SHARINGBUS_FUZZ))
  return()
endif()
enable_testing()
include(GoogleTest)

# Python by path, because what the tests import comes from Debian's packages for Debian's interpreter.
find_program(SHARINGBUS_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_program(SHARINGBUS_PYTHON NAMES python3 REQUIRED)
mark_as_advanced(SHARINGBUS_PYTHON)

# What sanitizers need at run time; PYTHONDONTWRITEBYTECODE keeps tests from writing into the source tree.
set(SHARINGBUS_TEST_ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
if(SHARINGBUS_SANITIZE MATCHES "thread")
  list(APPEND SHARINGBUS_TEST_ENVIRONMENT
    "TSAN_OPTIONS=suppressions=${SHARINGBUS_ROOT}/tests/tsan.supp:halt_on_error=1:second_deadlock_stack=1:history_size=4")
endif()
if(SHARINGBUS_SANITIZE MATCHES "address")
  list(APPEND SHARINGBUS_TEST_ENVIRONMENT "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1")
endif()
if(SHARINGBUS_SANITIZE MATCHES "undefined")
  list(APPEND SHARINGBUS_TEST_ENVIRONMENT "UBSAN_OPTIONS=print_stacktrace=1")
endif()

# sharingbus_test_properties(<test> LABELS … [TIMEOUT seconds] [ENV NAME=value…] [PROCESSORS n]): for add_test tests.
function(sharingbus_test_properties test)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT;PROCESSORS" "LABELS;ENV")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set_tests_properties(${test} PROPERTIES
    LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} ENVIRONMENT "${SHARINGBUS_TEST_ENVIRONMENT};${arg_ENV}")
  if(arg_PROCESSORS)
    set_tests_properties(${test} PROPERTIES PROCESSORS ${arg_PROCESSORS})
  endif()
endfunction()

# sharingbus_test(<name> SOURCES … LIBS … LABELS … [TIMEOUT seconds] [ENV NAME=value…] [DEFINITIONS …] [NO_MAIN])
#
# A GoogleTest program (with GoogleMock, and its main unless NO_MAIN); CTest runs every TEST as <name>/Suite.Test.
# LABELS: what it is (unit conformance sim integration interop stress) and the module (bus transport connector cli).
# Label `full` keeps it out of a plain `./run test`.
function(sharingbus_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "NO_MAIN" "TIMEOUT" "SOURCES;LIBS;LABELS;ENV;DEFINITIONS")
  if(NOT arg_SOURCES OR NOT arg_LABELS OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "sharingbus_test(${name}): needs SOURCES and LABELS; unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT SHARINGBUS_TESTS)
    return()
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${name} ${arg_SOURCES})
  sharingbus_target_defaults(${name})
  target_include_directories(${name} PRIVATE "${SHARINGBUS_ROOT}")
  target_compile_definitions(${name} PRIVATE ${arg_DEFINITIONS})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gmock $<$<NOT:$<BOOL:${arg_NO_MAIN}>>:GTest::gmock_main>)
  gtest_discover_tests(${name}
    TEST_PREFIX "${name}/"
    TEST_LIST ${name}_TESTS
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    NO_PRETTY_TYPES
    NO_PRETTY_VALUES)
  # Its own PROPERTIES flattens lists, so labels and environment are set by a script that CTest reads afterwards.
  set(script "${CMAKE_CURRENT_BINARY_DIR}/${name}_properties.cmake")
  file(CONFIGURE OUTPUT "${script}" @ONLY CONTENT [=[
if(@name@_TESTS)
  set_tests_properties(${@name@_TESTS} PROPERTIES
    LABELS [==[@arg_LABELS@]==] TIMEOUT @arg_TIMEOUT@ ENVIRONMENT [==[@SHARINGBUS_TEST_ENVIRONMENT@;@arg_ENV@]==])
endif()
]=])
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${script}")
  foreach(label IN LISTS arg_LABELS)
    sharingbus_collect(tests_${label} ${name})
  endforeach()
endfunction()

# sharingbus_fuzz(<name> SOURCES … LIBS … CORPUS dir)
#
# SOURCES define LLVMFuzzerTestOneInput. With any compiler, test fuzz.<name> replays the corpus; with SHARINGBUS_FUZZ
# there is a libFuzzer program <name> besides, part of the target `fuzzers` and of what `./run fuzz` runs.
function(sharingbus_fuzz name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "CORPUS" "SOURCES;LIBS")
  if(NOT arg_SOURCES OR NOT arg_CORPUS OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "sharingbus_fuzz(${name}): needs SOURCES and CORPUS; unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  cmake_path(ABSOLUTE_PATH arg_CORPUS BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE)
  if(SHARINGBUS_TESTS)
    add_executable(${name}_replay ${arg_SOURCES} "${SHARINGBUS_ROOT}/tests/fuzz/replay_main.cpp")
    sharingbus_target_defaults(${name}_replay)
    target_include_directories(${name}_replay PRIVATE "${SHARINGBUS_ROOT}")
    target_link_libraries(${name}_replay PRIVATE ${arg_LIBS})
    add_test(NAME fuzz.${name} COMMAND ${name}_replay "${arg_CORPUS}")
    sharingbus_test_properties(fuzz.${name} LABELS fuzz)
    sharingbus_collect(tests_fuzz ${name}_replay)
  endif()
  if(SHARINGBUS_FUZZ)
    add_executable(${name} ${arg_SOURCES})
    sharingbus_target_defaults(${name})
    target_include_directories(${name} PRIVATE "${SHARINGBUS_ROOT}")
    target_link_libraries(${name} PRIVATE ${arg_LIBS})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    sharingbus_collect(fuzzers ${name})
    # Read by `run`: name, program, corpus.
    file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/fuzzers/${name}.txt" CONTENT "$<TARGET_FILE:${name}>\n${arg_CORPUS}\n")
  endif()
endfunction()
