# cmake --install: the static libraries, public headers under include/sharingbus, and the package `sharingbus`.
include(CMakePackageConfigHelpers)
set(SHARINGBUS_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/sharingbus")

# Generated code is part of no public interface, but the static libraries that use it have to link.
if(TARGET sharingbus_proto)
  install(TARGETS sharingbus_proto EXPORT sharingbus ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()

get_property(SHARINGBUS_MODULES GLOBAL PROPERTY SHARINGBUS_MODULES)
if(SHARINGBUS_MODULES)
  install(EXPORT sharingbus NAMESPACE sharingbus:: FILE sharingbusTargets.cmake DESTINATION "${SHARINGBUS_PACKAGE_DIR}")
endif()
configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/sharingbusConfig.cmake.in" "${PROJECT_BINARY_DIR}/sharingbusConfig.cmake"
  INSTALL_DESTINATION "${SHARINGBUS_PACKAGE_DIR}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/sharingbusConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/sharingbusConfig.cmake" "${PROJECT_BINARY_DIR}/sharingbusConfigVersion.cmake"
  "${CMAKE_CURRENT_LIST_DIR}/Findconcurrentqueue.cmake" "${CMAKE_CURRENT_LIST_DIR}/Findreaderwriterqueue.cmake"
  DESTINATION "${SHARINGBUS_PACKAGE_DIR}")
install(FILES "${SHARINGBUS_ROOT}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
if(TARGET sharingbus)
  install(TARGETS sharingbus RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
