// SPDX-License-Identifier: Apache-2.0
#include "kvant/calibrate/statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>

#include "../reference/executors.hpp"
#include "../reference/weights.hpp"

namespace {

using kvant::Needs;

TEST(Statistics, AreThoseOfAllRows) {
  const kvant::Matrix<float> x = reference::normal_matrix(50, 37, 1);
  reference::ThreadedExecutor threads(3);
  const kvant::Context context(kvant::kernels::generic::kTable, threads);
  kvant::LayerStatistics s, alone;
  const Needs all = Needs::channels | Needs::gram | Needs::samples;
  for (std::size_t first = 0; first < 50; first += 20)
    kvant::add_inputs(s, all, x.view().rows(first, std::min<std::size_t>(20, 50 - first)), context, 45);
  for (std::size_t r = 0; r < 50; ++r) kvant::add_inputs(alone, all, x.view().rows(r, 1), {}, 45);
  EXPECT_EQ(s.tokens, 50u);
  ASSERT_EQ(s.samples.rows(), 45u);
  for (std::size_t c = 0; c < 37; ++c) {
    double abs = 0, square = 0, most = 0;
    for (std::size_t r = 0; r < 50; ++r) {
      const double v = x(r, c);
      abs += std::fabs(v);
      square += v * v;
      most = std::max(most, std::fabs(v));
      if (r < 45) {
        EXPECT_EQ(s.samples(r, c), x(r, c));
      }
    }
    EXPECT_EQ(s.amax[c], static_cast<float>(most));
    EXPECT_NEAR(s.sum_abs[c], abs, 1e-9);
    EXPECT_NEAR(s.mean_square()[c], square / 50, 1e-9);
    for (std::size_t d = 0; d < 37; ++d) {
      double gram = 0;
      for (std::size_t r = 0; r < 50; ++r) gram += static_cast<double>(x(r, c)) * static_cast<double>(x(r, d));
      EXPECT_NEAR(s.gram(c, d), d < c ? 0.0 : gram, 1e-6);
      EXPECT_EQ(s.gram(c, d), alone.gram(c, d)) << "however rows are cut and whoever adds them";
    }
    EXPECT_EQ(s.sum_square[c], alone.sum_square[c]);
  }
}

TEST(Statistics, HoldNothingThatWasNotAskedFor) {
  const kvant::Matrix<float> x = reference::normal_matrix(5, 8, 2);
  kvant::LayerStatistics s;
  kvant::add_inputs(s, Needs::channels, x.view());
  EXPECT_EQ(s.gram.size() + s.samples.size(), 0u);
  EXPECT_TRUE(contains(Needs::channels | Needs::gram, Needs::gram));
  EXPECT_FALSE(contains(Needs::channels, Needs::gram));
  EXPECT_TRUE(contains(Needs::gram, Needs::nothing));
}

}  // namespace
