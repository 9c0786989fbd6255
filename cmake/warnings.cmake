# SPDX-License-Identifier: Apache-2.0
# How our own code is compiled; consumers and dependencies never see these flags.

set(KVANT_WARNINGS
    -Wall
    -Wextra
    -Wpedantic
    -Wshadow
    -Wconversion
    -Wsign-conversion
    -Wold-style-cast
    -Wcast-qual)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND KVANT_WARNINGS -Wno-restrict) # false alarms on std::string (GCC bug 105651)
endif()
if(KVANT_WARNINGS_AS_ERRORS)
  list(APPEND KVANT_WARNINGS -Werror)
endif()

# -ffp-contract=off: a product and a sum are fused where the source says std::fma and nowhere else.
# -fmacro-prefix-map: contracts name their files, and what users install shall not tell where it was built.
function(kvant_own_code target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  target_compile_options(${target} PRIVATE ${KVANT_WARNINGS} -ffp-contract=off
                                           -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()
