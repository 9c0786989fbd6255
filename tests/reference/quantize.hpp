// SPDX-License-Identifier: Apache-2.0
// Plain round-to-nearest quantization as a numpy user would write it: IEEE float divisions by the processor, values
// found by search (number_formats.hpp), no code of the library. The rules are those of its documentation:
// value = scale * (level - zero), x / scale to nearest even, saturated, scales as stored before codes are chosen.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "number_formats.hpp"

namespace reference {

enum class Zero { symmetric, full, asymmetric };

struct Group {
  float scale = 0;
  int zero = 0;
  bool clamped = false;
};

struct Quantized {
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
  std::vector<int> zeros;
  std::size_t clamped = 0;
};

class Quantizer {
 public:
  Quantizer(std::string_view format, Zero zero, std::string_view scale_type = "fp16")
      : format_(*find_format(format)),
        scale_(*find_format(scale_type)),
        zero_(zero),
        encode_(format_),
        round_(scale_) {}

  /// Plain parameters of the finite ones of x.
  [[nodiscard]] Group choose(const std::vector<float>& x) const {
    float low = 0;
    float high = 0;
    for (const float v : x) {
      if (!std::isfinite(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
    if (zero_ == Zero::asymmetric) {
      const auto steps = static_cast<float>(format_.high - format_.low);
      Group g = stored(divided(high, steps) - divided(low, steps));
      if (g.scale == 0) return g;
      const float z = static_cast<float>(format_.low) - divided(low, g.scale);
      g.zero = static_cast<int>(std::clamp(std::nearbyint(static_cast<double>(z)), static_cast<double>(format_.low),
                                           static_cast<double>(format_.high)));
      return g;
    }
    const float peak = -low > high ? low : high;
    if (zero_ == Zero::full) return stored(divided(peak, static_cast<float>(format_.low)));
    return stored(divided(std::fabs(peak), static_cast<float>(unit())));
  }

  /// What the largest magnitude is divided by: half the number of steps between neighbours of two's complement.
  [[nodiscard]] double unit() const {
    const bool twos_complement = format_.family == Family::integer && -format_.low == format_.high + 1;
    return twos_complement ? (std::ldexp(1.0, format_.bits) - 1) / 2 : format_.max;
  }

  [[nodiscard]] std::uint8_t code(float x, const Group& g) const {
    const float ratio = g.scale == 0 ? 0.0f : divided(x, g.scale);
    if (g.zero == 0) return static_cast<std::uint8_t>(encode_(ratio));
    double level = std::isnan(ratio) ? 0.0 : std::nearbyint(static_cast<double>(ratio));
    level = std::clamp(level + g.zero, static_cast<double>(format_.low), static_cast<double>(format_.high));
    return static_cast<std::uint8_t>(static_cast<int>(level) & ((1 << format_.bits) - 1));
  }

  [[nodiscard]] double value(std::uint8_t code, const Group& g) const {
    return static_cast<double>(g.scale) * (level(code) - g.zero);
  }
  /// What a code stands for before scale and zero point, as the library stores it (a float).
  [[nodiscard]] double level(std::uint8_t code) const {
    return static_cast<double>(static_cast<float>(decode(format_, code)));
  }

  /// The nearest number of the scale's type; the largest one, counted, where there is none.
  [[nodiscard]] Group stored(float scale) const {
    if (scale_.bits == 32) return {std::isinf(scale) ? static_cast<float>(scale_.max) : scale, 0, std::isinf(scale)};
    const double rounded = decode(scale_, round_(scale, Direction::nearest_even, false));
    if (std::isfinite(rounded)) return {static_cast<float>(rounded), 0, false};
    return {static_cast<float>(decode(scale_, round_(scale, Direction::nearest_even, true))), 0, true};
  }

  /// Blocks of `height` x `width`, the last ones short.
  [[nodiscard]] Quantized operator()(const std::vector<float>& x, std::size_t rows, std::size_t cols,
                                     std::size_t height, std::size_t width) const {
    Quantized q;
    q.codes.resize(x.size());
    for (std::size_t top = 0; top < rows; top += height)
      for (std::size_t left = 0; left < cols; left += width) {
        std::vector<std::size_t> members;
        for (std::size_t r = top; r < std::min(rows, top + height); ++r)
          for (std::size_t c = left; c < std::min(cols, left + width); ++c) members.push_back(r * cols + c);
        std::vector<float> block;
        for (const std::size_t i : members) block.push_back(x[i]);
        const Group g = choose(block);
        for (const std::size_t i : members) q.codes[i] = code(x[i], g);
        q.scales.push_back(g.scale);
        if (zero_ == Zero::asymmetric) q.zeros.push_back(g.zero);
        q.clamped += g.clamped ? 1 : 0;
      }
    return q;
  }

 private:
  /// One IEEE division at run time.
  [[nodiscard]] static float divided(float a, float b) {
    volatile float x = a;
    volatile float y = b;
    volatile float ratio = x / y;
    return ratio;
  }

  NumberFormat format_;
  NumberFormat scale_;
  Zero zero_;
  Encoder encode_;
  Encoder round_;
};

}  // namespace reference
