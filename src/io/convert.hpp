// SPDX-License-Identifier: Apache-2.0
// Stored floats to fp32.
#pragma once

#include <cstddef>
#include <span>

#include "kvant/tensor/dtype.hpp"

namespace kvant::io {

/// F32, F16, BF16, F8_E4M3, F8_E5M2 (all exact) and F64 (rounds to nearest even).
[[nodiscard]] constexpr bool converts_to_float(DType dtype) noexcept {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64 ||
         dtype == DType::f8_e4m3 || dtype == DType::f8_e5m2;
}

/// Converts out.size() little-endian elements. `dtype` is one that converts, `in` holds as many.
void convert_to_float(DType dtype, std::span<const std::byte> in, std::span<float> out);

}  // namespace kvant::io
