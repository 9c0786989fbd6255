# SPDX-License-Identifier: Apache-2.0
# The tiers beyond generic: one line each, with the flags that its one file alone is compiled with. These files have no
# exceptions and no RTTI, because both leave weak symbols, which the linker may then use for code of another tier.

# Under sanitizers GCC takes minutes for such a file unless memory is checked by calls, and intrinsics' pointers only by the
# address sanitizer. Frames of its fake stack are not aligned for vectors of 64 bytes (GCC PR 110027).
set(KVANT_ISA_FLAGS -fno-exceptions -fno-rtti)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_FLAGS MATCHES "-fsanitize=address,undefined")
  list(APPEND KVANT_ISA_FLAGS --param=asan-instrumentation-with-call-threshold=0 --param=asan-use-after-return=0
       -fno-sanitize=null,alignment,object-size)
endif()

function(kvant_tier name processor)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(${processor})$" AND NOT KVANT_GENERIC_ONLY)
    target_sources(kvant PRIVATE src/kernels/${name}.cpp)
    set_source_files_properties(src/kernels/${name}.cpp PROPERTIES
                                COMPILE_OPTIONS "${KVANT_ISA_FLAGS};${ARGN}")
    string(TOUPPER ${name} upper)
    set_property(SOURCE src/kernels/tiers.cpp APPEND PROPERTY COMPILE_DEFINITIONS KVANT_TIER_${upper})
  endif()
endfunction()

kvant_tier(avx2 "x86_64|AMD64" -mavx2 -mfma -mf16c)
kvant_tier(avx512 "x86_64|AMD64" -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c)
kvant_tier(neon "aarch64|ARM64|arm64" -march=armv8.2-a+dotprod)
