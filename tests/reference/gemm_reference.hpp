// SPDX-License-Identifier: Apache-2.0
// An independent oracle for the kernels: weights as plain matrices, their packing written from the text of
// kernels.hpp, and products in double precision. Shares no code with include/ or src/.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace kvant::test {

enum class Packing { f32, bf16, w8, w4, w2, w1 };

/// A weight matrix [n, k] before packing. `values` hold f32 and bf16 weights; codes, scales and zero points the others.
struct PlainWeights {
  Packing packing = Packing::f32;
  std::size_t n = 0, k = 0, group = 0;
  bool scales_f32 = false, has_zeros = false, has_offsets = false;
  std::int32_t zero = 0;
  std::int32_t code_step = 1;        // for the int8 kernels: a weight is (code_step * code - zero) * scale
  std::array<float, 16> levels{};    // of each code, again and again
  std::vector<float> values;         // [n, k]
  std::vector<std::uint8_t> codes;   // [n, k]
  std::vector<float> scales;         // [n, groups], exactly representable in their storage type
  std::vector<std::uint16_t> halfs;  // the same as binary16
  std::vector<std::uint8_t> zeros;   // [n, groups]
  std::vector<float> offsets;        // [n, groups], like scales
  std::vector<std::uint16_t> offset_halfs;

  [[nodiscard]] std::size_t groups() const { return group == 0 ? 0 : (k + group - 1) / group; }
  [[nodiscard]] bool grouped() const { return packing != Packing::f32 && packing != Packing::bf16; }
  [[nodiscard]] std::size_t bits() const {
    return packing == Packing::w8 ? 8 : packing == Packing::w4 ? 4 : packing == Packing::w2 ? 2 : 1;
  }
  // A step: so many inputs, in so many bytes.
  [[nodiscard]] std::size_t step() const { return 32 / bits(); }
  [[nodiscard]] std::size_t step_bytes() const { return packing == Packing::w8 ? 256 : 128; }
  [[nodiscard]] std::size_t columns() const { return packing == Packing::w8 ? 64 : 32; }
  [[nodiscard]] std::size_t panels() const { return (n + columns() - 1) / columns(); }

  /// What the code means, before its scale and varying zero point.
  [[nodiscard]] double level(std::size_t row, std::size_t col) const {
    const unsigned code = codes[row * k + col];
    return packing == Packing::w8 ? static_cast<double>(code) - zero : double{levels[code]};
  }
  /// The weight's value; `exact_zero`: codes minus zero points, as the integer kernels see them.
  [[nodiscard]] double value(std::size_t row, std::size_t col) const {
    if (!grouped()) return values[row * k + col];
    const std::size_t at = row * groups() + col / group;
    const double shift = has_zeros ? static_cast<double>(zeros[at]) - zero : 0.0;
    return (level(row, col) - shift) * scales[at] - offset(at);
  }
  /// The weight as the int8 kernels see it: (code_step * code - zero point) * scale, whatever `levels` says.
  [[nodiscard]] double integer_value(std::size_t row, std::size_t col) const {
    const std::size_t at = row * groups() + col / group;
    return (code_step * codes[row * k + col] - (has_zeros ? int{zeros[at]} : zero)) * double{scales[at]} - offset(at);
  }
  [[nodiscard]] double offset(std::size_t at) const { return has_offsets ? double{offsets[at]} : 0.0; }
  /// Bytes of a group's numbers in a panel.
  [[nodiscard]] std::size_t record_bytes() const {
    return columns() * (scales_f32 ? 4 : 2) * (has_offsets ? 2 : 1) + (has_zeros ? 64 : 0);
  }
};

/// binary16 by its definition.
inline float half_value(std::uint16_t h) {
  const int exponent = h >> 10 & 31;
  const int mantissa = h & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>((h >> 15) != 0 ? -magnitude : magnitude);
}

/// x cut to bfloat16. By way of memory: GCC 12 at -O1 drops the mask between two bit casts.
inline float upper_half(float x) {
  std::uint16_t halfs[2];
  std::memcpy(halfs, &x, sizeof x);
  halfs[0] = 0;
  std::memcpy(&x, halfs, sizeof x);
  return x;
}

struct WeightShape {
  Packing packing;
  std::size_t n, k, group;
  bool scales_f32, has_zeros;
  bool has_offsets = false;
};

/// Random weights. Scales are of either sign and of different sizes.
inline PlainWeights random_weights(const WeightShape& s, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal;
  PlainWeights w;
  w.packing = s.packing;
  w.n = s.n;
  w.k = s.k;
  w.group = s.group;
  w.scales_f32 = s.scales_f32;
  w.has_zeros = s.has_zeros;
  w.has_offsets = s.has_offsets;
  w.zero = 1 << (w.bits() - 1);
  for (std::size_t i = 0; i < 16; ++i) {
    const std::size_t code = i % (std::size_t{1} << std::min<std::size_t>(w.bits(), 4));
    w.levels[i] = code < i      ? w.levels[code]
                  : s.has_zeros ? static_cast<float>(i) - static_cast<float>(w.zero)
                                : normal(rng);
  }
  if (w.bits() < 4 && !s.has_zeros && seed % 2 == 0) w.code_step = 2;
  if (!w.grouped()) {
    for (std::size_t i = 0; i < w.n * w.k; ++i) {
      const float x = normal(rng);
      w.values.push_back(w.packing == Packing::bf16 ? upper_half(x) : x);
    }
    return w;
  }
  const unsigned most = (1u << w.bits()) - 1;
  for (std::size_t i = 0; i < w.n * w.k; ++i) w.codes.push_back(static_cast<std::uint8_t>(rng() % (most + 1)));
  for (std::size_t i = 0; i < w.n * w.groups(); ++i) {
    const auto half = static_cast<std::uint16_t>((rng() % 2) << 15 | (5 + rng() % 12) << 10 | rng() % 1024);
    w.halfs.push_back(half);
    w.scales.push_back(w.scales_f32 ? normal(rng) : half_value(half));
    w.zeros.push_back(static_cast<std::uint8_t>(rng() % (most + 1)));
  }
  for (std::size_t i = 0; s.has_offsets && i < w.scales.size(); ++i) {
    const auto half = static_cast<std::uint16_t>((rng() % 2) << 15 | (8 + rng() % 10) << 10 | rng() % 1024);
    w.offset_halfs.push_back(half);
    w.offsets.push_back(w.scales_f32 ? normal(rng) : half_value(half));
  }
  return w;
}

/// Bytes of one panel: "per group, per step ...; after the steps of a group one record".
inline std::size_t panel_bytes(const PlainWeights& w) {
  if (w.packing == Packing::f32) return w.k * 32 * 4;
  if (w.packing == Packing::bf16) return (w.k + 1) / 2 * 32 * 2 * 2;
  std::size_t bytes = 0;
  for (std::size_t first = 0; first < w.k; first += w.group) {
    const std::size_t count = std::min(w.group, w.k - first);
    bytes += (count + w.step() - 1) / w.step() * w.step_bytes() + w.record_bytes();
  }
  return bytes;
}

namespace detail {

inline void pack_grouped_panel(const PlainWeights& w, std::size_t panel, unsigned char* out) {
  const bool w8 = w.packing == Packing::w8;
  const std::size_t step = w.step();
  for (std::size_t group = 0; group < w.groups(); ++group) {
    const std::size_t first = group * w.group;
    const std::size_t count = std::min(w.group, w.k - first);
    const std::size_t steps = (count + step - 1) / step;
    for (std::size_t c = 0; c < w.columns(); ++c) {
      const std::size_t row = panel * w.columns() + c;
      for (std::size_t j = 0; j < steps * step; ++j) {
        // Whatever stands in the padding meets activations that are zero.
        const unsigned code = row >= w.n ? 0u : j < count ? w.codes[row * w.k + first + j] : 77u % (1u << w.bits());
        const std::size_t s = j / step, i = j % step;
        if (w8) {
          out[s * 256 + c * 4 + i] = static_cast<unsigned char>(code);
        } else {
          unsigned char& byte = out[s * 128 + c / 16 * 64 + c % 16 * 4 + i % 4];
          byte = static_cast<unsigned char>(byte | code << (i / 4 * w.bits()));
        }
      }
    }
    out += steps * w.step_bytes();
    for (std::size_t c = 0; c < w.columns(); ++c) {
      const std::size_t row = panel * w.columns() + c;
      if (row >= w.n) continue;
      const std::size_t at = row * w.groups() + group;
      if (w.scales_f32) {
        std::memcpy(out + c * 4, &w.scales[at], 4);
      } else {
        std::memcpy(out + c * 2, &w.halfs[at], 2);
      }
      const std::size_t place = w.columns() + c;
      if (w.has_offsets && w.scales_f32) std::memcpy(out + place * 4, &w.offsets[at], 4);
      if (w.has_offsets && !w.scales_f32) std::memcpy(out + place * 2, &w.offset_halfs[at], 2);
      if (w.has_zeros) out[w.columns() * (w.scales_f32 ? 4 : 2) + c] = w.zeros[at];
    }
    out += w.record_bytes();
  }
}

}  // namespace detail

/// All panels, one after the other.
inline std::vector<unsigned char> pack(const PlainWeights& w) {
  const std::size_t stride = panel_bytes(w);
  std::vector<unsigned char> out(w.panels() * stride);
  for (std::size_t panel = 0; panel < w.panels(); ++panel) {
    unsigned char* p = out.data() + panel * stride;
    if (w.grouped()) {
      detail::pack_grouped_panel(w, panel, p);
      continue;
    }
    for (std::size_t c = 0; c < 32 && panel * 32 + c < w.n; ++c)
      for (std::size_t k = 0; k < w.k; ++k) {
        const float x = w.values[(panel * 32 + c) * w.k + k];
        if (w.packing == Packing::f32) {
          std::memcpy(p + (k * 32 + c) * 4, &x, 4);
        } else {
          const auto top = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16);
          std::memcpy(p + (k / 2 * 64 + c * 2 + k % 2) * 2, &top, 2);
        }
      }
  }
  return out;
}

/// sum over k of a[k] * weight(row, k), and the sum of the magnitudes, which scales every rounding error.
struct Dot {
  double value = 0;
  double magnitude = 0;
};
template <class Activation, class Weight>
Dot dot_reference(std::size_t k, Activation a, Weight weight) {
  Dot d;
  for (std::size_t j = 0; j < k; ++j) {
    const double term = double(a(j)) * weight(j);
    d.value += term;
    d.magnitude += std::fabs(term);
  }
  return d;
}

}  // namespace kvant::test
