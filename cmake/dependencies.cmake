# SPDX-License-Identifier: Apache-2.0
# What kvant is built from (docs/architecture.md says why each).

set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON) # a project that adds kvant as a folder links them too
find_package(Threads REQUIRED)
set(KVANT_PRIVATE_DEPENDENCIES)
set(KVANT_PKG_CONFIG_MODULES) # of these, the ones that pkg-config finds; a static package asks for them again
set(KVANT_CLI_DEPENDENCIES)

if(CMAKE_CROSSCOMPILING)
  # The system's include folder belongs to another processor: show the compiler tl/ alone.
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include)
  file(CREATE_LINK /usr/include/tl ${CMAKE_BINARY_DIR}/include/tl SYMBOLIC)
  add_library(tl::expected INTERFACE IMPORTED GLOBAL)
  target_include_directories(tl::expected INTERFACE ${CMAKE_BINARY_DIR}/include)
else()
  find_package(tl-expected REQUIRED)
endif()

if(NOT KVANT_KERNELS_ONLY)
  find_package(PkgConfig REQUIRED)
  find_package(nlohmann_json REQUIRED)
  find_path(KVANT_XXHASH xxhash.h REQUIRED) # compiled in (XXH_INLINE_ALL): nothing to link
  list(APPEND KVANT_PKG_CONFIG_MODULES libpcre2-8 libutf8proc)
  pkg_check_modules(KVANT_PRIVATE REQUIRED IMPORTED_TARGET GLOBAL ${KVANT_PKG_CONFIG_MODULES})
  # BUILD_INTERFACE: headers that only our sources include are nothing that a static package needs.
  list(APPEND KVANT_PRIVATE_DEPENDENCIES $<BUILD_INTERFACE:nlohmann_json::nlohmann_json> PkgConfig::KVANT_PRIVATE)
  if(KVANT_BUILD_CLI)
    find_package(CLI11 REQUIRED)
    find_package(fmt REQUIRED)
    list(APPEND KVANT_CLI_DEPENDENCIES CLI11::CLI11 fmt::fmt)
  endif()
endif()

if(PROJECT_IS_TOP_LEVEL)
  find_program(KVANT_CCACHE ccache)
  if(KVANT_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${KVANT_CCACHE})
  endif()
endif()
