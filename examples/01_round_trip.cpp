// SPDX-License-Identifier: Apache-2.0
// Quantize a matrix to 4 bits, dequantize it, and look at the error. Header-only: nothing to link.
#include <cstdio>

#include "kvant/kvant.hpp"

int main() {
  // A weight of 256 output and 1024 input features; yours comes from a checkpoint.
  kvant::Matrix<float> weight(256, 1024);
  kvant::Rng random(1);
  for (std::size_t i = 0; i < weight.size(); ++i) weight.data()[i] = 0.1f * (random.uniform() - random.uniform());

  // One float16 scale for every 128 inputs of a row.
  const auto quantized = kvant::quantize<kvant::int4>(weight.view(), kvant::PerGroup{128});
  if (!quantized) {
    std::printf("%s\n", kvant::describe(quantized.error()).c_str());
    return 1;
  }
  const kvant::Matrix<float> back = kvant::dequantize(*quantized);

  kvant::DistortionMeter meter;
  meter.add({weight.data(), weight.size()}, {back.data(), back.size()});
  const kvant::Distortion error = meter.result();
  const double bits = static_cast<double>(kvant::stored_bits(quantized->scheme, 256, 1024)) / (256 * 1024);
  std::printf("int4-g128: %.3f bits per weight, %.2f dB, relative error %.4f, largest error %.5f\n", bits,
              error.sqnr_db, error.relative_error, error.max_abs_error);
  return error.sqnr_db > 15 ? 0 : 1;
}
