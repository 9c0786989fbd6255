// SPDX-License-Identifier: Apache-2.0
// Codes do not depend on the rounding direction, flush-to-zero or denormals-are-zero of the program.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/fp_modes.hpp"
#include "kvant/numeric/formats.hpp"

namespace {

/// Inputs that sit where a changed environment would show: subnormals, ties and numbers between codes.
std::vector<std::uint32_t> inputs() {
  std::vector<std::uint32_t> bits;
  for (std::uint32_t code = 0; code < 65536; code += 3) bits.push_back(code << 16 | (code & 0xffu));
  for (std::uint32_t code = 0; code < 5000; ++code) bits.push_back(code * 1677u);  // subnormals
  for (const float x : reference::random_uniform(20000, 130.0f, 20)) bits.push_back(reference::to_bits(x));
  return bits;
}

/// FNV-1a of all that the numeric headers give on bits.
std::uint64_t fingerprint(const std::vector<std::uint32_t>& bits) {
  std::uint64_t h = 0xcbf29ce484222325u;
  const auto mix = [&](std::uint32_t v) { h = (h ^ v) * 0x100000001b3u; };
  for (const kvant::FormatInfo& f : kvant::kFormats) {
    for (const std::uint32_t b : bits) mix(f.encode(reference::from_bits(b), {}));
    const std::uint32_t mask = 0xffffffffu >> (32 - f.bits);
    for (std::uint32_t code = 0; code < 65536; code += 7) mix(reference::to_bits(f.decode((code * 65537u) & mask)));
  }
  for (std::size_t i = 0; i + 1 < bits.size(); ++i) {
    mix(reference::to_bits(kvant::divide(reference::from_bits(bits[i]), reference::from_bits(bits[i + 1]))));
    mix(static_cast<std::uint32_t>(kvant::order_key(reference::from_bits(bits[i]))));
    mix(static_cast<std::uint32_t>(kvant::to_integer(reference::from_bits(bits[i]), -1000, 1000)));
  }
  return h;
}

TEST(NumericFpEnvironment, ChangesNoCode) {
  const std::vector<std::uint32_t> bits = inputs();
  const std::uint64_t expected = fingerprint(bits);
  for (const reference::FpMode& mode : reference::kFpModes) {
    std::uint64_t got = 0;
    {
      const reference::ScopedFpMode scoped(mode);
      got = fingerprint(bits);
    }
    EXPECT_EQ(got, expected) << mode.name;
  }
}

}  // namespace
