# One verb per need: sharingbus_library, sharingbus_example, sharingbus_bench. Tests: SharingbusTests.cmake.
include(GNUInstallDirs)

set(SHARINGBUS_ROOT "${PROJECT_SOURCE_DIR}")
set(SHARINGBUS_INCLUDE_DIR "${CMAKE_INSTALL_INCLUDEDIR}/sharingbus")

# Folders without a CMakeLists.txt are skipped, so that a source package may leave tests or benches out.
function(sharingbus_add_subdirectories)
  foreach(dir IN LISTS ARGN)
    if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${dir}/CMakeLists.txt")
      add_subdirectory("${dir}")
    endif()
  endforeach()
endfunction()

# What every target of ours shares.
function(sharingbus_target_defaults target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:sharingbus_warnings>)
endfunction()

# sharingbus_library(<module> [SOURCES …] [PUBLIC_HEADERS …] [PUBLIC deps…] [PRIVATE deps…])
#
# Target sharingbus_<module>, alias sharingbus::<module>, exported and installed. Without SOURCES it is an interface
# library. PUBLIC_HEADERS install under include/sharingbus/ with their path in the repository; each must compile alone
# with the PUBLIC deps only (test tidy.headers_compile_alone). tests/tidy finds headers that the list forgot.
function(sharingbus_library module)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PUBLIC_HEADERS;PUBLIC;PRIVATE")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "sharingbus_library(${module}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  set(target sharingbus_${module})
  if(arg_SOURCES)
    set(scope PUBLIC)
    add_library(${target} STATIC ${arg_SOURCES})
    sharingbus_target_defaults(${target})
    target_link_libraries(${target} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
  else()
    set(scope INTERFACE)
    add_library(${target} INTERFACE)
    target_compile_features(${target} INTERFACE cxx_std_20)
    target_link_libraries(${target} INTERFACE ${arg_PUBLIC} ${arg_PRIVATE})
  endif()
  add_library(sharingbus::${module} ALIAS ${target})
  set_target_properties(${target} PROPERTIES
    EXPORT_NAME ${module}
    VERIFY_INTERFACE_HEADER_SETS ${SHARINGBUS_TESTS})
  target_include_directories(${target} ${scope}
    "$<BUILD_INTERFACE:${SHARINGBUS_ROOT}>" "$<INSTALL_INTERFACE:${SHARINGBUS_INCLUDE_DIR}>")
  target_sources(${target} ${scope}
    FILE_SET HEADERS BASE_DIRS "${SHARINGBUS_ROOT}" FILES ${arg_PUBLIC_HEADERS})
  install(TARGETS ${target} EXPORT sharingbus
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    FILE_SET HEADERS DESTINATION "${SHARINGBUS_INCLUDE_DIR}")
  set_property(GLOBAL APPEND PROPERTY SHARINGBUS_MODULES sharingbus::${module})
  foreach(header IN LISTS arg_PUBLIC_HEADERS)
    cmake_path(ABSOLUTE_PATH header BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    cmake_path(RELATIVE_PATH header BASE_DIRECTORY "${SHARINGBUS_ROOT}")
    set_property(GLOBAL APPEND PROPERTY SHARINGBUS_PUBLIC_HEADERS "${header}")
  endforeach()
endfunction()

# sharingbus_example(<name> [LIBS …] [TIMEOUT seconds])
#
# examples/<name>.cpp, linked with every module unless LIBS names fewer; CTest runs it as example.<name>.
function(sharingbus_example name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "LIBS")
  if(NOT arg_LIBS)
    get_property(arg_LIBS GLOBAL PROPERTY SHARINGBUS_MODULES)
  endif()
  add_executable(example_${name} "${name}.cpp")
  sharingbus_target_defaults(example_${name})
  set_target_properties(example_${name} PROPERTIES OUTPUT_NAME ${name})
  target_link_libraries(example_${name} PRIVATE ${arg_LIBS})
  if(SHARINGBUS_TESTS)
    add_test(NAME example.${name} COMMAND example_${name})
    sharingbus_test_properties(example.${name} LABELS example TIMEOUT "${arg_TIMEOUT}")
    sharingbus_collect(tests_example example_${name})
  endif()
endfunction()

# sharingbus_bench(<name> [SOURCES …] [LIBS …] [NO_GOOGLE_BENCHMARK])
#
# bench/<name>.cpp against Google Benchmark and every module (or LIBS); NO_GOOGLE_BENCHMARK is for tools with a main
# of their own. The target `benches` builds all of them, and `./run bench` reads their names from benches.txt.
function(sharingbus_bench name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "NO_GOOGLE_BENCHMARK" "" "SOURCES;LIBS")
  if(NOT arg_SOURCES)
    set(arg_SOURCES "${name}.cpp")
  endif()
  if(NOT arg_LIBS)
    get_property(arg_LIBS GLOBAL PROPERTY SHARINGBUS_MODULES)
  endif()
  add_executable(${name} ${arg_SOURCES})
  sharingbus_target_defaults(${name})
  target_link_libraries(${name} PRIVATE ${arg_LIBS})
  if(NOT arg_NO_GOOGLE_BENCHMARK)
    target_link_libraries(${name} PRIVATE benchmark::benchmark benchmark::benchmark_main)
  endif()
  sharingbus_collect(benches ${name})
  file(APPEND "${SHARINGBUS_BENCH_LIST}" "${name}\n")
endfunction()

# Makes <targets…> part of the custom target <group>.
function(sharingbus_collect group)
  if(NOT TARGET ${group})
    add_custom_target(${group})
  endif()
  add_dependencies(${group} ${ARGN})
endfunction()
