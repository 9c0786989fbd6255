// SPDX-License-Identifier: Apache-2.0
// Seeded random numbers that are the same on every machine, and seeds made from names, so that what happens to one
// tensor never depends on which tensors came before it.
#pragma once

#include <cstdint>
#include <string_view>

namespace kvant {

/// SplitMix64 (Steele, Lea, Flood 2014): the finalizer turns any counter into 64 well-mixed bits.
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// FNV-1a over the bytes of `name`, mixed with `seed`.
[[nodiscard]] constexpr std::uint64_t seed_from_name(std::string_view name, std::uint64_t seed) noexcept {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return mix64(h ^ mix64(seed));
}

/// A counter-based stream: the i-th number depends on seed and i only.
class Rng {
 public:
  constexpr explicit Rng(std::uint64_t seed) noexcept : state_(seed) {}

  [[nodiscard]] constexpr std::uint64_t next() noexcept { return mix64(state_ + 0x9e3779b97f4a7c15u * counter_++); }

  /// Uniform in [0, 1) with 24 random bits.
  [[nodiscard]] constexpr float uniform() noexcept { return static_cast<float>(next() >> 40) * 0x1p-24f; }

 private:
  std::uint64_t state_;
  std::uint64_t counter_ = 0;
};

}  // namespace kvant
