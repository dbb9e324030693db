# moodycamel::ReaderWriterQueue: headers only, and Debian ships no config. Target readerwriterqueue::readerwriterqueue, the
# name that upstream's own config and other package managers use; spell the include <readerwriterqueue/readerwriterqueue.h>.
find_package(readerwriterqueue CONFIG QUIET)
if(TARGET readerwriterqueue::readerwriterqueue)
  set(readerwriterqueue_FOUND TRUE)
  return()
endif()
find_path(readerwriterqueue_INCLUDE_DIR readerwriterqueue/readerwriterqueue.h)
mark_as_advanced(readerwriterqueue_INCLUDE_DIR)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(readerwriterqueue REQUIRED_VARS readerwriterqueue_INCLUDE_DIR)
if(readerwriterqueue_FOUND)
  add_library(readerwriterqueue::readerwriterqueue INTERFACE IMPORTED)
  set_target_properties(readerwriterqueue::readerwriterqueue PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${readerwriterqueue_INCLUDE_DIR}")
endif()
