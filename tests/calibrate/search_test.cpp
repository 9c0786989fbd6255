// SPDX-License-Identifier: Apache-2.0
// The searches of a histogram: their objectives against slow ones, their optima against brute force and against torch's
// greedy walk.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../golden/observers/distributions.hpp"
#include "../reference/uniform_error.hpp"
#include "kvant/calibrate/divergence.hpp"
#include "kvant/calibrate/histogram.hpp"
#include "kvant/calibrate/mse.hpp"
#include "kvant/calibrate/uniform_search.hpp"
#include "kvant/numeric/runtime_codebook.hpp"

namespace {

using kvant::detail::UniformSearch;
using Counts = std::vector<std::uint64_t>;

/// Counts of all characters: random, with holes, one bin only, a far outlier.
std::vector<Counts> small_histograms() {
  std::mt19937 engine(5);
  std::vector<Counts> all{{7}, {0, 0, 9, 0, 0}, {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 500}, Counts(24, 3)};
  for (const std::size_t bins : {2u, 7u, 24u, 40u}) {
    Counts c(bins);
    for (std::uint64_t& n : c) n = engine() % 4 == 0 ? 0 : engine() % 1000;
    c[bins / 2] += 20000;
    all.push_back(c);
  }
  return all;
}

/// Rounding of the fast objective: 1e-16 of the sum of squares about the end, times the number of sums.
double rounding(const Counts& counts, std::size_t cells) {
  double total = 0;
  for (const std::uint64_t n : counts) total += static_cast<double>(n);
  const auto bins = static_cast<double>(counts.size());
  return 4e-16 * static_cast<double>(cells + counts.size()) * total * bins * bins;
}

TEST(UniformSearch, HasTheErrorOfSlowIntegration) {
  for (const Counts& counts : small_histograms())
    for (const std::size_t cells : {1u, 2u, 3u, 4u, 16u, 256u}) {
      const UniformSearch search(counts, cells);
      for (std::size_t s = 0; s < counts.size(); ++s)
        for (std::size_t e = s + 1; e <= counts.size(); ++e)
          ASSERT_NEAR(search.error(s, e),
                      reference::uniform_error(counts, static_cast<double>(s), static_cast<double>(e), cells),
                      rounding(counts, cells))
              << s << ".." << e << " of " << counts.size() << ", " << cells << " cells";
    }
}

TEST(UniformSearch, FindsWhatBruteForceFinds) {
  for (const Counts& counts : small_histograms())
    for (const std::size_t cells : {2u, 4u, 16u, 256u})
      for (const std::size_t zero : {std::size_t{0}, counts.size() / 2, counts.size() - 1}) {
        const auto found = UniformSearch(counts, cells).best(zero, zero + 1);
        ASSERT_LE(found.begin, zero);
        ASSERT_GE(found.end, zero + 1);
        double least = std::numeric_limits<double>::infinity();
        for (std::size_t s = 0; s <= zero; ++s)
          for (std::size_t e = zero + 1; e <= counts.size(); ++e)
            least = std::min(least,
                             reference::uniform_error(counts, static_cast<double>(s), static_cast<double>(e), cells));
        const double error =
            reference::uniform_error(counts, static_cast<double>(found.begin), static_cast<double>(found.end), cells);
        EXPECT_LE(error, least + 2 * rounding(counts, cells)) << counts.size() << " bins, " << cells << " cells";
      }
}

kvant::Histogram histogram_of(const std::vector<float>& x, std::size_t bins) {
  kvant::Histogram h(bins);
  kvant::ObservedExtremes extremes;
  extremes.observe(x);
  kvant::detail::count_from_zero(h, x, extremes);
  return h;
}

struct Clipped {
  double pair, torch, all;  ///< errors of our pair, of torch's, and of clipping nothing
};

Clipped compare(const std::vector<float>& x, std::size_t bins, const char* format) {
  const kvant::Histogram h = histogram_of(x, bins);
  const kvant::FormatInfo& info = kvant::format_info(*kvant::format_from_name(format));
  const auto cells = static_cast<std::size_t>(info.high - info.low + 1);
  kvant::Mse mse({.bins = static_cast<std::uint32_t>(bins)});
  mse.observe(x);
  const kvant::Range range = mse.range(info, kvant::Symmetry::asymmetric);
  // A scale always covers zero, so every range is compared with zero in it.
  const auto error = [&](double low, double high) {
    const auto units = [&](double v) { return (v - h.low()) / h.width(); };
    return reference::uniform_error(h.counts(), units(std::min(low, 0.0)), units(std::max(high, 0.0)), cells);
  };
  const auto torch = reference::torch_walk(h.counts(), cells);
  return {error(static_cast<double>(range.low), static_cast<double>(range.high)),
          error(h.edge(torch.first), h.edge(torch.second)), error(h.low(), h.high())};
}

TEST(Mse, IsNeverWorseThanTorchsWalkAndThanTheExtremes) {
  std::size_t better = 0;
  for (const auto& d : golden::observers::kHashes)
    for (const char* format : {"int8", "uint8", "int4", "int2"}) {
      const Clipped errors = compare(golden::observers::values(d.distribution, d.count), 512, format);
      const double slack = 1 + 1e-6;  // edges of floats, and the rounding of 256 sums
      EXPECT_LE(errors.pair, errors.torch * slack) << d.distribution << " " << format;
      EXPECT_LE(errors.pair, errors.all * slack) << d.distribution << " " << format;
      better += errors.pair < 0.99 * errors.torch ? 1 : 0;
    }
  EXPECT_GT(better, 20u) << "the walk stops early on most of them";
}

TEST(Mse, SearchesAllPairsOfTwoThousandBins) {
  const Clipped errors = compare(golden::observers::values("student4", 12288), 2048, "int8");
  EXPECT_LE(errors.pair, errors.torch * (1 + 1e-6));
  EXPECT_LT(errors.pair, 0.99 * errors.all);
}

/// sum (x - q(x))^2 over the histogram's bin centres, under the scale of a range, by itself.
double error_of(const kvant::Histogram& h, const kvant::Grid& grid, kvant::Range range) {
  const kvant::GroupParameters p = kvant::parameters_for_range(grid, range);
  double sum = 0;
  for (std::size_t i = 0; i < h.size(); ++i) {
    const auto x = static_cast<float>(h.centre(i));
    const float code = p.scale == 0 ? 0.0f : x / p.scale;
    const kvant::FormatInfo& f = grid.format();
    const double e = static_cast<double>(x) - static_cast<double>(p.scale * f.decode(f.encode(code, {})));
    sum += static_cast<double>(h.counts()[i]) * e * e;
  }
  return sum;
}

TEST(Mse, IsNeverWorseThanOtherClipsForSymmetricScalesOfEveryFormat) {
  for (const auto& d : golden::observers::kHashes) {
    const std::vector<float> x = golden::observers::values(d.distribution, d.count);
    const kvant::Histogram h = histogram_of(x, 512);
    for (const char* format : {"int8", "int4", "int3", "int2", "uint4", "fp8_e4m3fn", "fp8_e5m2", "fp4_e2m1", "nf4"}) {
      const kvant::Grid grid(*kvant::parse_scheme(std::string(format) + "-tensor-scale:fp32"));
      kvant::Mse mse({.bins = 512});
      mse.observe(x);
      const double found = error_of(h, grid, mse.range(grid.format(), kvant::Symmetry::symmetric));
      const double peak = std::max(std::fabs(h.low()), h.high());
      for (std::size_t i = 0; i <= h.size(); i += 4) {
        const auto t = static_cast<float>(std::min(std::fabs(h.edge(i)), peak));
        EXPECT_LE(found, error_of(h, grid, {-t, t}) * (1 + 1e-9)) << d.distribution << " " << format << " " << t;
      }
    }
  }
}

TEST(Mse, ClipsForACodebookOfOnesOwnLikeForThatOfTheList) {
  const std::vector<float> x = golden::observers::values("student4", 4096);
  kvant::Mse mse({.bins = 512});
  mse.observe(x);
  const kvant::FormatInfo& nf4 = kvant::format_info(kvant::format_id<kvant::nf4>);
  const std::vector<float> levels(kvant::nf4::kLevels.begin(), kvant::nf4::kLevels.end());
  const auto expected = mse.range(nf4, kvant::Symmetry::symmetric);
  EXPECT_LT(expected.high, *std::max_element(x.begin(), x.end()));
  for (const char* name : {"mine", "fp4_e2m1"}) {
    const auto book = kvant::RuntimeCodebook::make(name, levels);
    EXPECT_EQ(mse.range(kvant::format_info(book->id()), kvant::Symmetry::symmetric), expected) << name;
  }
}

TEST(Mse, TakesTheWidestOfEqualRanges) {
  kvant::Mse mse;
  mse.observe(std::vector<float>{-4.0f, -1.0f, -0.5f});
  const kvant::FormatInfo& unsigned4 = kvant::format_info(kvant::format_id<kvant::uint4>);
  EXPECT_EQ(mse.range(unsigned4, kvant::Symmetry::symmetric), (kvant::Range{-4.0f, -0.5f})) << "all of it becomes zero";
}

TEST(MagnitudeDivergence, KeepsAllBinsWhereClippingGainsNothing) {
  using kvant::detail::MagnitudeDivergence;
  EXPECT_EQ(MagnitudeDivergence(Counts(256, 5), 128).best(128, 1), 256u) << "uniform: all candidates that divide are 0";
  Counts last(300, 0);
  last.back() = 9;
  EXPECT_EQ(MagnitudeDivergence(last, 128).best(128, 1), 300u) << "candidates that hold nothing do not count";
  EXPECT_EQ(MagnitudeDivergence(Counts{4}, 128).best(128, 1), 1u);
  EXPECT_EQ(MagnitudeDivergence(Counts{4, 4, 1}, 1).best(128, 1), 3u) << "fewer bins than the start";
}

TEST(MagnitudeDivergence, TakesTheLastOfEqualCandidates) {
  Counts counts(300, 5);
  for (std::size_t i = 280; i < 300; ++i) counts[i] = 0;
  EXPECT_EQ(kvant::detail::MagnitudeDivergence(counts, 512).best(128, 1), 300u);
  EXPECT_EQ(kvant::detail::MagnitudeDivergence(counts, 512).best(128, 7), 296u) << "of those that the stride meets";
}

TEST(MagnitudeDivergence, CutsAFarOutlierWhereLevelsAreFew) {
  Counts counts(2048, 0);
  for (std::size_t i = 0; i < 200; ++i) counts[i] = 1000 - 4 * i;
  counts.back() = 1;
  const std::size_t kept = kvant::detail::MagnitudeDivergence(counts, 8).best(128, 1);
  EXPECT_GE(kept, 128u);
  EXPECT_LE(kept, 200u);
}

TEST(SymmetricDivergence, HasOneCandidateWhereBinsAndLevelsAreAsMany) {
  Counts counts(128, 1);
  counts[3] = 1000;
  const auto bins = kvant::detail::SymmetricDivergence(counts, 128).best();
  EXPECT_EQ(bins.begin, 0u);
  EXPECT_EQ(bins.end, 128u);
}

}  // namespace
