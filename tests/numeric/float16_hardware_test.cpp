// SPDX-License-Identifier: Apache-2.0
// fp16 against the compiler's own _Float16 (hardware or its runtime library), where there is one.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "../reference/check.hpp"
#include "kvant/numeric/formats.hpp"

namespace {

#if defined(__GNUC__) && !defined(__clang__) && (defined(__SSE2__) || __GNUC__ >= 13)

__extension__ using Half = _Float16;

std::uint16_t hardware_encode(float x) {
  volatile float opaque = x;  // at run time, not folded
  return std::bit_cast<std::uint16_t>(static_cast<Half>(opaque));
}

TEST(Float16Hardware, EncodesAlike) {
  reference::Mismatches differ("fp16");
  constexpr kvant::RoundingMode kIeee{kvant::Rounding::nearest_even, kvant::Overflow::ieee, 0};
  const auto check = [&](float x) {
    if (!std::isnan(x)) differ.compare(kvant::fp16::encode(x, kIeee), hardware_encode(x), x);
  };
  for (const float x : reference::random_patterns(1000000, 6)) check(x);
  for (const float x : reference::random_uniform(500000, 70000.0f, 7)) check(x);
  for (const float x : reference::random_uniform(500000, 0x1p-13f, 8)) check(x);
}

TEST(Float16Hardware, DecodesAlike) {
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const auto c = static_cast<std::uint16_t>(code);
    const auto expected = static_cast<float>(std::bit_cast<Half>(c));
    if (std::isnan(expected))
      EXPECT_TRUE(std::isnan(kvant::fp16::decode(c)));
    else
      EXPECT_EQ(reference::to_bits(kvant::fp16::decode(c)), reference::to_bits(expected));
  }
}

#else

TEST(Float16Hardware, EncodesAlike) { GTEST_SKIP() << "the compiler has no _Float16"; }

#endif

}  // namespace
