// SPDX-License-Identifier: Apache-2.0
// The minifloat engine with parameters that no listed format has: FNUZ, FP6, IEEE E4M3 and E3M4, one-bit mantissas.
#include "kvant/numeric/minifloat.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

#include "../reference/check.hpp"
#include "../reference/number_formats.hpp"

namespace {

using kvant::Minifloat;
using kvant::Overflow;
using kvant::Rounding;
using kvant::Specials;
using reference::Family;

template <class F>
void compare(const reference::NumberFormat& spec) {
  static_assert(F::kBits <= 8);
  ASSERT_EQ(F::kBits, static_cast<unsigned>(spec.bits));
  EXPECT_EQ(static_cast<double>(F::kMax), spec.max);
  reference::Mismatches decode("decode");
  for (std::uint32_t code = 0; code < (1u << F::kBits); ++code) {
    const double expected = reference::decode(spec, code);
    const float got = F::decode(static_cast<typename F::Code>(code));
    if (std::isnan(expected))
      decode.compare(std::isnan(got) ? 1 : 0, 1, static_cast<float>(code));
    else
      decode.compare(reference::to_bits(got), reference::to_bits(static_cast<float>(expected)),
                     static_cast<float>(code));
  }
  const reference::Encoder expected(spec);
  reference::Mismatches encode("encode");
  const auto check = [&](float x) {
    for (const bool saturate : {true, false}) {
      const Overflow overflow = saturate ? Overflow::saturate : Overflow::ieee;
      encode.compare(F::encode(x, {Rounding::nearest_even, overflow, 0}),
                     expected(x, reference::Direction::nearest_even, saturate), x);
      encode.compare(F::encode(x, {Rounding::up, overflow, 0}), expected(x, reference::Direction::up, saturate), x);
      encode.compare(F::encode(x, {Rounding::toward_zero, overflow, 0}),
                     expected(x, reference::Direction::toward_zero, saturate), x);
    }
  };
  for (std::uint32_t code = 0; code < 65536; ++code) check(reference::from_bits(code << 16));
  for (const float x : reference::random_uniform(20000, 1.3f * F::kMax, 5)) check(x);
  const auto& values = expected.magnitudes();
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {
    const auto tie = static_cast<float>(values[i] + (values[i + 1] - values[i]) / 2);
    for (const float x : {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, INFINITY)}) {
      check(x);
      check(-x);
    }
  }
}

TEST(Minifloat, E4m3Fnuz) {
  compare<Minifloat<4, 3, 8, Specials::fnuz>>({"e4m3fnuz", Family::fnuz, 4, 3, 8, 8, 0, 0, 240, false, true});
}
TEST(Minifloat, E5m2Fnuz) {
  compare<Minifloat<5, 2, 16, Specials::fnuz>>({"e5m2fnuz", Family::fnuz, 5, 2, 16, 8, 0, 0, 57344, false, true});
}
TEST(Minifloat, E4m3B11Fnuz) {
  compare<Minifloat<4, 3, 11, Specials::fnuz>>({"e4m3b11fnuz", Family::fnuz, 4, 3, 11, 8, 0, 0, 30, false, true});
}
TEST(Minifloat, E3m2) {
  compare<Minifloat<3, 2, 3, Specials::finite>>({"e3m2", Family::finite, 3, 2, 3, 6, 0, 0, 28, false, false});
}
TEST(Minifloat, E2m3) {
  compare<Minifloat<2, 3, 1, Specials::finite>>({"e2m3", Family::finite, 2, 3, 1, 6, 0, 0, 7.5, false, false});
}
TEST(Minifloat, E4m3Ieee) {
  compare<Minifloat<4, 3, 7, Specials::ieee>>({"e4m3", Family::ieee, 4, 3, 7, 8, 0, 0, 240, true, true});
}
TEST(Minifloat, E3m4Ieee) {
  compare<Minifloat<3, 4, 3, Specials::ieee>>({"e3m4", Family::ieee, 3, 4, 3, 8, 0, 0, 15.5, true, true});
}

TEST(Minifloat, FnuzHasNoNegativeZero) {
  using F = Minifloat<4, 3, 8, Specials::fnuz>;
  EXPECT_EQ(F::encode(-0.0f), 0);
  EXPECT_EQ(F::encode(-1e-30f), 0);
  EXPECT_EQ(F::encode(NAN), 0x80);
}

}  // namespace
