# Run by CTest: installs when asked to, configures and builds a consumer, runs it.
file(REMOVE_RECURSE "${WORK_DIR}")
file(MAKE_DIRECTORY "${WORK_DIR}")

function(run)
  execute_process(COMMAND ${ARGN} OUTPUT_FILE "${WORK_DIR}/log" ERROR_FILE "${WORK_DIR}/log" RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    file(READ "${WORK_DIR}/log" log)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${command}: ${result}\n${log}")
  endif()
endfunction()

set(prefix_path "")
if(MODE STREQUAL "installed")
  run("${CMAKE_COMMAND}" --install "${SHARINGBUS_BINARY_DIR}" --prefix "${WORK_DIR}/prefix")
  set(prefix_path "${WORK_DIR}/prefix")
endif()

# An instrumented library needs an instrumented program.
set(flags "")
if(SANITIZE)
  set(flags "-fsanitize=${SANITIZE}")
endif()
run("${CMAKE_COMMAND}" -G Ninja -S "${SOURCE_DIR}" -B "${WORK_DIR}/build"
  -D "CMAKE_BUILD_TYPE=${BUILD_TYPE}"
  -D "CMAKE_CXX_COMPILER=${CXX_COMPILER}"
  -D "CMAKE_CXX_COMPILER_LAUNCHER=${CXX_COMPILER_LAUNCHER}"
  -D "CMAKE_CXX_FLAGS=${flags}"
  -D "CMAKE_PREFIX_PATH=${prefix_path}"
  -D "SHARINGBUS_SOURCE_DIR=${SHARINGBUS_SOURCE_DIR}")
run("${CMAKE_COMMAND}" --build "${WORK_DIR}/build")
execute_process(COMMAND "${WORK_DIR}/build/consumer" RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "consumer (${MODE}) ended with ${result}")
endif()
file(REMOVE_RECURSE "${WORK_DIR}")
