// SPDX-License-Identifier: Apache-2.0
// Matrices and schemes for tests of packed layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "kvant/core/rng.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/quant/layer_scheme.hpp"
#include "kvant/quant/qlinear.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

inline Matrix<float> random_matrix(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Matrix<float> m(rows, cols);
  Rng random(seed);
  for (std::size_t i = 0; i < m.size(); ++i) m.data()[i] = random.uniform() - random.uniform();
  return m;
}

/// A weight under the scheme of a layer, which has to be one.
inline QLinear quantized(MatrixView<const float> w, std::string_view text, InputParameters input = {}) {
  const LayerScheme scheme = parse_layer_scheme(text).value();
  return {quantize(w, scheme.weight).value(), {}, {scheme.activation, input}};
}

/// Every layout, every kind of scale and zero point, groups that are whole steps and groups that are not.
inline constexpr const char* kSchemes[] = {"int8-channel",
                                           "int8-tensor",
                                           "int8-g32-asym",
                                           "int8-g20",
                                           "int8-g12/int8-token",
                                           "int5-g64",
                                           "uint8-g64-asym",
                                           "int4-g128",
                                           "int4-g32",
                                           "int4-g32-asym",
                                           "int4-g32-full",
                                           "uint4-g32-asym-scale:fp32",
                                           "int4-b16x16",
                                           "int4-g12",
                                           "int4-g12-asym",
                                           "nf4-g64",
                                           "fp4_e2m1-g32-scale:bf16",
                                           "int3-g64",
                                           "int2-g32",
                                           "int2-g5-asym",
                                           "int1-g32",
                                           "int1-g9",
                                           "ternary-channel",
                                           "fp8_e4m3fn-channel",
                                           "fp8_e4m3-g32",
                                           "fp8_e3m4-channel",
                                           "fp8_e4m3fnuz-g64",
                                           "fp8_e5m2fnuz-channel",
                                           "fp8_e4m3b11fnuz-channel",
                                           "fp8_e5m2-b128x128",
                                           "fp8_e4m3fn-g10",
                                           "fp8_e4m3fn-channel/fp8_e4m3fn-token",
                                           "fp8_e4m3fn-channel/int8-token",
                                           "int8-channel/int8-token",
                                           "int8-channel/int8-token-asym",
                                           "int4-g32/int8-token",
                                           "int4-g32/int8-g32",
                                           "int4-g32-asym/int8-token",
                                           "int4-g32-asym/int8-token-asym",
                                           "int4-g32-asym/fp8_e4m3fn-token",
                                           "int4-g32-asym/int8-tensor-static",
                                           "nf4-g64/int8-token",
                                           "fp4_bnb-g64",
                                           "iq4_nl-g32",
                                           "fp6_e3m2-g32",
                                           "fp6_e2m3-channel",
                                           "mxfp8_e4m3fn",
                                           "mxfp8_e4m3fn/mxfp8_e4m3fn",
                                           "mxfp6_e2m3",
                                           "mxfp4",
                                           "mxfp4/mxfp4",
                                           "mxint8",
                                           "mxint8/int8-token",
                                           "nvfp4",
                                           "nvfp4/nvfp4",
                                           "nf4-g64-dq",
                                           "int4-g32-asym-dq",
                                           "is4",
                                           "is3",
                                           "is2",
                                           "is4/int8-token",
                                           "q4_1",
                                           "q5_1/int8-token",
                                           "q2_k",
                                           "q3_k",
                                           "q4_k",
                                           "q4_k/int8-token",
                                           "q5_k",
                                           "q6_k/int8-token",
                                           "uint8-channel-fzero/int8-token",
                                           "uint4-g20-fzero",
                                           "uint1-g32-fzero-scale:fp32/int8-token",
                                           "uint2-g16-fzero"};

}  // namespace kvant
