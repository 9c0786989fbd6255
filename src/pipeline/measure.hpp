// SPDX-License-Identifier: Apache-2.0
// The distortion of a band of rows, and how many rows a band has.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/quant/distortion.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant::pipeline {

/// Elements that are in memory as floats at a time: large enough to keep every thread busy, small beside a tensor.
inline constexpr std::size_t kBandElements = std::size_t{4} << 20;

/// Over fixed blocks of rows, so that it does not depend on the number of threads. `decode_row(r, out)` gives what row
/// r of the original became.
template <class DecodeRow>
DistortionMeter measure(const Matrix<float>& original, const Context& context, DecodeRow decode_row) {
  constexpr std::size_t kMeterRows = 16;
  std::vector<DistortionMeter> meters(ceil_div(original.rows(), kMeterRows));
  context.for_each(meters.size(), [&](std::size_t i) {
    std::vector<float> row(original.cols());
    for (std::size_t r = i * kMeterRows; r < std::min(original.rows(), (i + 1) * kMeterRows); ++r) {
      decode_row(r, std::span<float>(row));
      meters[i].add(original.row(r), row);
    }
  });
  DistortionMeter sum;
  for (const DistortionMeter& m : meters) sum.add(m);
  return sum;
}

}  // namespace kvant::pipeline
