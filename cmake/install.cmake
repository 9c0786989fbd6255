# SPDX-License-Identifier: Apache-2.0
# What an installation holds: headers, library, program, and what find_package and pkg-config read. The package files
# name every place relative to their own, so that an installed tree can be moved. Parts for `cmake --install
# --component`: kvant_headers (sufficient for header-only use), kvant_library, kvant_program.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/kvant)
set(pkgconfig_folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

target_include_directories(kvant_headers INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(DIRECTORY include/kvant DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT kvant_headers
        FILES_MATCHING REGEX "\\.(h|hpp|inl)$")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT kvant_headers)
install(TARGETS kvant_headers EXPORT kvant-headers-targets)
install(EXPORT kvant-headers-targets NAMESPACE kvant:: DESTINATION ${package_folder} COMPONENT kvant_headers)

install(TARGETS kvant EXPORT kvant-library-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT kvant_library
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT kvant_library)
if(TARGET kvant_c)
  target_include_directories(kvant_c INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  install(TARGETS kvant_c EXPORT kvant-library-targets)
endif()
install(EXPORT kvant-library-targets NAMESPACE kvant:: DESTINATION ${package_folder} COMPONENT kvant_library)

if(TARGET kvant_cli)
  file(RELATIVE_PATH libraries_from_program ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
  set_target_properties(kvant_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${libraries_from_program}")
  install(TARGETS kvant_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT kvant_program)
endif()

# A shared library brings its private dependencies along; who links a static one links them too.
if(BUILD_SHARED_LIBS)
  set(static_library OFF)
  set(requires_private "")
  set(libs_private "")
else()
  set(static_library ON)
  list(JOIN KVANT_PKG_CONFIG_MODULES ", " requires_private)
  set(libs_private -pthread)
endif()

configure_file(cmake/kvant-config.cmake.in kvant-config.cmake @ONLY)
write_basic_package_version_file(kvant-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kvant-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/kvant-config-version.cmake
        DESTINATION ${package_folder} COMPONENT kvant_headers)

file(RELATIVE_PATH includes_from_pkgconfig ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(cmake/kvant-headers.pc.in kvant-headers.pc @ONLY)
configure_file(cmake/kvant.pc.in kvant.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kvant-headers.pc DESTINATION ${pkgconfig_folder} COMPONENT kvant_headers)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kvant.pc DESTINATION ${pkgconfig_folder} COMPONENT kvant_library)
