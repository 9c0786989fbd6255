// SPDX-License-Identifier: Apache-2.0
// The histogram: which bin a value counts in, how it grows, what merging two of them gives.
#include "kvant/calibrate/histogram.hpp"

#include <gtest/gtest.h>

#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "../reference/check.hpp"

namespace {

using kvant::Histogram;
using Counts = std::vector<std::uint64_t>;

Counts counts(const Histogram& h) { return {h.counts().begin(), h.counts().end()}; }

std::uint64_t total(const Histogram& h) {
  return std::accumulate(h.counts().begin(), h.counts().end(), std::uint64_t{0});
}

Histogram over(double low, double high, std::size_t bins, std::size_t growth = 4) {
  Histogram h(bins, growth);
  h.start(low, high);
  return h;
}

TEST(Histogram, CountsAnEdgeInTheBinThatBeginsThereAndTheLastEdgeInTheLastBin) {
  Histogram h = over(-1, 1, 4);
  for (const double x : {-1.0, -0.5, -0.1, 0.0, 0.5, 0.75, 1.0}) h.add(x);
  EXPECT_EQ(counts(h), (Counts{1, 2, 1, 3}));
  EXPECT_EQ(h.edge(0), -1);
  EXPECT_EQ(h.edge(3), 0.5);
  EXPECT_EQ(h.edge(4), 1);
  EXPECT_EQ(h.centre(0), -0.75);
}

TEST(Histogram, PutsEveryFloatBetweenTheEdgesOfItsBin) {
  for (const float high : {1.0f, 0.3f, 3e38f, 1e-40f}) {
    Histogram empty = over(0, static_cast<double>(high), 1000);
    for (float x : reference::random_uniform(20000, high, 3)) {
      x = x < 0 ? -x : x;
      Histogram h = empty;
      h.add(static_cast<double>(x));
      std::size_t bin = 0;
      while (h.counts()[bin] == 0) ++bin;
      ASSERT_LE(h.edge(bin), static_cast<double>(x));
      ASSERT_TRUE(static_cast<double>(x) < h.edge(bin + 1) || bin + 1 == h.size());
      if (x > high / 50) break;  // a copy a value is slow: a few hundred of each will do
    }
  }
}

TEST(Histogram, GrowsByWholeBinsOfTheSameWidth) {
  Histogram h = over(0, 1, 4);
  h.add(0.9);
  h.cover(0, 1.6);
  EXPECT_EQ(h.size(), 7u);
  EXPECT_EQ(h.width(), 0.25);
  EXPECT_EQ(h.high(), 1.75);
  h.add(1.6);
  h.cover(-0.3, 1.0);
  EXPECT_EQ(h.low(), -0.5);
  EXPECT_EQ(counts(h), (Counts{0, 0, 0, 0, 0, 1, 0, 0, 1}));
  h.cover(-0.5, 1.75);
  EXPECT_EQ(h.size(), 9u) << "it reaches that far already";
}

TEST(Histogram, MakesOneBinOfTwoWhereThereWouldBeTooMany) {
  Histogram h = over(0, 1, 4, 2);
  for (const double x : {0.1, 0.3, 0.6, 0.9, 0.95}) h.add(x);
  h.cover(0, 2.5);
  EXPECT_EQ(h.width(), 0.5);
  EXPECT_EQ(counts(h), (Counts{2, 3, 0, 0, 0}));
  h.cover(-1, 2.5);
  EXPECT_EQ(counts(h), (Counts{0, 0, 2, 3, 0, 0, 0}));
  h.cover(-1.1, 3);
  EXPECT_EQ(h.width(), 1);
  EXPECT_EQ(h.low(), -2);
  EXPECT_EQ(counts(h), (Counts{0, 0, 5, 0, 0}));
}

TEST(Histogram, GrowsFromTheSmallestFloatToTheLargest) {
  Histogram h = over(0, 0x1p-149, 2048);
  h.add(0x1p-149, 5);
  h.cover(0, static_cast<double>(FLT_MAX));
  h.add(static_cast<double>(FLT_MAX));
  EXPECT_LE(h.size(), 4u * 2048);
  EXPECT_GT(h.size(), 2u * 2048);
  EXPECT_EQ(h.counts().front(), 5u);
  EXPECT_EQ(total(h), 6u);
  EXPECT_GE(h.high(), static_cast<double>(FLT_MAX));
}

TEST(Histogram, GrowsAlikeAtBothEndsWhereItIsSymmetric) {
  Histogram h(4);
  h.start_symmetric(1);
  EXPECT_EQ(h.low(), -1);
  EXPECT_EQ(h.high(), 1);
  h.cover_symmetric(1.0);
  EXPECT_EQ(h.size(), 4u);
  h.cover_symmetric(1.2);
  EXPECT_EQ(h.low(), -1.5);
  EXPECT_EQ(h.high(), 1.5);
  h.cover_symmetric(2.0);
  EXPECT_EQ(h.high(), 2.5) << "one bin more than it takes, as onnxruntime";
  h.cover_symmetric(1e9);
  EXPECT_EQ(h.low(), -h.high());
  EXPECT_LE(h.size(), 16u);
}

TEST(Histogram, LetsZerosWaitForTheFirstBins) {
  Histogram h(4);
  h.add(0, 3);
  EXPECT_FALSE(h.started());
  h.start(-1, 1);
  EXPECT_EQ(counts(h), (Counts{0, 0, 3, 0}));
}

Histogram filled(double low, double high, const std::vector<double>& values) {
  Histogram h = over(low, high, 8);
  for (const double x : values) {
    h.cover(x, x);
    h.add(x);
  }
  return h;
}

TEST(Histogram, MergesEqualBinsAsIfItHadSeenBoth) {
  const std::vector<double> a{0.1, 0.2, 0.99, 1.7};
  const std::vector<double> b{0.15, 0.5, 1.1, 2.4, 0.7};
  std::vector<double> both = a;
  both.insert(both.end(), b.begin(), b.end());
  Histogram sum = filled(0, 1, a);
  sum.merge(filled(0, 1, b));
  const Histogram expected = filled(0, 1, both);
  EXPECT_EQ(counts(sum), counts(expected));
  EXPECT_EQ(sum.high(), expected.high());
}

TEST(Histogram, MergesTheSameForBothOrders) {
  const Histogram fine = filled(0, 0.3, {0.01, 0.02, 0.29, 0.31});
  const Histogram wide = filled(-1, 1, {-0.9, 0.3, 1.0, 3.1});
  Histogram shifted = filled(0.1, 2.1, {0.2, 2.0});
  Histogram zeros(8);
  zeros.add(0, 7);
  const std::vector<Histogram> all{fine, wide, shifted, zeros, Histogram(8), filled(0, 1e30, {1e29})};
  for (const Histogram& a : all)
    for (const Histogram& b : all) {
      Histogram ab = a;
      ab.merge(b);
      Histogram ba = b;
      ba.merge(a);
      EXPECT_EQ(counts(ab), counts(ba));
      if (ab.started()) {
        EXPECT_EQ(ab.low(), ba.low());
        EXPECT_EQ(ab.high(), ba.high());
        const auto zeros_of = [&](const Histogram& h) {
          return h.started() ? 0u : &h == &zeros || &h == &all[3] ? 7u : 0u;
        };
        EXPECT_EQ(total(ab), total(a) + total(b) + zeros_of(a) + zeros_of(b)) << "no count is lost";
      }
    }
}

TEST(Histogram, MergesNarrowerBinsByTheirCentres) {
  Histogram wide = filled(0, 8, {0.5});
  Histogram narrow = filled(0, 2, {0.9, 1.0, 1.3});
  wide.merge(narrow);
  EXPECT_EQ(wide.width(), 1);
  EXPECT_EQ(counts(wide), (Counts{2, 2, 0, 0, 0, 0, 0, 0}));
}

}  // namespace
