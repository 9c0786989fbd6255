// SPDX-License-Identifier: Apache-2.0
// The same bytes on every machine: a synthetic matrix quantized under a dozen schemes, each as one hash. The matrix
// comes from integers and exact powers of two; no library function and no rounding stands between them.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kvant/quant/encode.hpp"

namespace golden {

struct Case {
  const char* scheme;
  std::uint64_t plain, searched;  ///< recorded by quantize_hash.cpp
};

#include "quantize_hashes.inc"

/// 24 x 200: rows of different magnitude (2^-14 … 2^4), outliers, zeros of both signs, a zero row, a constant row, a
/// row of subnormals, and a row below the range of fp16 scales.
inline kvant::Matrix<float> weights() {
  constexpr std::size_t kRows = 24;
  constexpr std::size_t kCols = 200;
  kvant::Matrix<float> w(kRows, kCols);
  std::uint64_t state = 0x853c49e6748fea9bu;
  const auto next = [&] {  // 15 bits of Knuth's MMIX generator, signed
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int>(state >> 49) - (1 << 14);
  };
  for (std::size_t r = 0; r < kRows; ++r) {
    const float unit = std::bit_cast<float>(static_cast<std::uint32_t>(127 - 28 + r % 18) << 23);  // 2^(r % 18 - 28)
    for (std::size_t c = 0; c < kCols; ++c) {
      const int sum = next() + next() + next() + next();  // near-normal, exact
      float x = static_cast<float>(sum) * unit;
      if (c % 61 == 17) x = static_cast<float>(sum) * unit * 32.0f;
      if (c % 23 == 3) x = c % 2 == 0 ? 0.0f : -0.0f;
      if (r == 5) x = 0.0f;
      if (r == 6) x = -0.375f;
      if (r == 7) x = std::bit_cast<float>(static_cast<std::uint32_t>(sum) & 0x807fffffu);
      if (r == 8) x = static_cast<float>(sum) * 0x1p-44f;
      w(r, c) = x;
    }
  }
  return w;
}

/// FNV-1a 64 over bytes, numbers in little-endian order.
class Hash {
 public:
  void add(std::uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) state_ = (state_ ^ (value >> 8 * i & 0xffu)) * 0x100000001b3u;
  }
  [[nodiscard]] std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0xcbf29ce484222325u;
};

inline std::uint64_t hash_of(const kvant::Matrix<float>& w) {
  Hash h;
  for (std::size_t i = 0; i < w.size(); ++i) h.add(std::bit_cast<std::uint32_t>(w.data()[i]), 4);
  return h.value();
}

/// Codes, bits of the scales, zero points, and bits of the values that they stand for.
inline std::uint64_t hash_of(const kvant::QMatrix& q, const kvant::Matrix<float>& values) {
  Hash h;
  for (const std::uint8_t code : q.codes) h.add(code, 1);
  for (const kvant::ScaleLevel& level : q.scales)
    for (const float s : level.values) h.add(std::bit_cast<std::uint32_t>(s), 4);
  for (const std::int16_t z : q.zero_points) h.add(static_cast<std::uint16_t>(z), 2);
  h.add(q.clamped_scales, 8);
  for (std::size_t i = 0; i < values.size(); ++i) h.add(std::bit_cast<std::uint32_t>(values.data()[i]), 4);
  return h.value();
}

inline std::uint64_t hash_of(const Case& c, bool search, const kvant::Matrix<float>& w,
                             const kvant::Context& context = {}) {
  const auto q = kvant::quantize(w.view(), *kvant::parse_scheme(c.scheme), {search, kvant::NonFinite::error}, context);
  return hash_of(*q, kvant::dequantize(*q, context));
}

}  // namespace golden
