# SPDX-License-Identifier: Apache-2.0
# The tiers beyond generic: one line each, with the flags that its one file alone is compiled with. These files have no
# exceptions and no RTTI, because both leave weak symbols, which the linker may then use for code of another tier.

function(kvant_tier name processor)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(${processor})$" AND NOT KVANT_GENERIC_ONLY)
    target_sources(kvant PRIVATE src/kernels/${name}.cpp)
    set_source_files_properties(src/kernels/${name}.cpp PROPERTIES
                                COMPILE_OPTIONS "-fno-exceptions;-fno-rtti;${ARGN}")
    string(TOUPPER ${name} upper)
    set_property(SOURCE src/kernels/tiers.cpp APPEND PROPERTY COMPILE_DEFINITIONS KVANT_TIER_${upper})
  endif()
endfunction()

kvant_tier(avx2 "x86_64|AMD64" -mavx2 -mfma -mf16c)
kvant_tier(avx512 "x86_64|AMD64" -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c)
kvant_tier(neon "aarch64|ARM64|arm64" -march=armv8.2-a+dotprod)
