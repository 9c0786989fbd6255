// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/sampling.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace kvant::nn {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

Sampler sampler(float temperature, float top_p = 1, std::uint64_t seed = 0) {
  return *Sampler::make({temperature, top_p, seed});
}

std::vector<std::int32_t> draws(Sampler s, const std::vector<float>& logits, std::size_t count) {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < count; ++i) ids.push_back(*s.next(logits));
  return ids;
}

std::set<std::int32_t> drawn(Sampler s, const std::vector<float>& logits, std::size_t count = 2000) {
  const auto ids = draws(std::move(s), logits, count);
  return {ids.begin(), ids.end()};
}

TEST(Greedy, TakesTheLargestAndOfEqualsTheLowestId) {
  EXPECT_EQ(greedy(std::array{1.0f, 3.0f, 2.0f}), 1);
  EXPECT_EQ(greedy(std::array{1.0f, 3.0f, 3.0f}), 1);
  EXPECT_EQ(greedy(std::array{-0.0f, 0.0f}), 0);
  EXPECT_EQ(greedy(std::array{-kInf, -kInf}), 0);
  EXPECT_EQ(greedy(std::array{5.0f}), 0);
}

TEST(Greedy, PassesOverNaN) {
  EXPECT_EQ(greedy(std::array{kNaN, -1.0f, kNaN, 2.0f, kNaN}), 3);
  EXPECT_EQ(greedy(std::array{kNaN, -kInf}), 1);
  EXPECT_EQ(greedy(std::array{kNaN, kNaN}), 0);
}

TEST(Sampler, IsGreedyAtTemperatureZeroOrTopPZero) {
  const std::vector<float> logits{0.1f, 0.3f, 0.3f, 0.2f};
  EXPECT_EQ(drawn(sampler(0), logits), (std::set<std::int32_t>{1}));
  EXPECT_EQ(drawn(sampler(1, 0), logits), (std::set<std::int32_t>{1}));
  EXPECT_EQ(drawn(sampler(1, 1e-6f), logits), (std::set<std::int32_t>{1}));
  EXPECT_EQ(drawn(sampler(1e-38f), {0.1f, 0.3f, 0.2f}), (std::set<std::int32_t>{1}));
}

TEST(Sampler, KeepsTheFewestTokensThatReachTopP) {
  const std::vector<float> logits{std::log(0.1f), std::log(0.5f), std::log(0.15f), std::log(0.25f)};
  EXPECT_EQ(drawn(sampler(1, 0.49f), logits), (std::set<std::int32_t>{1}));
  EXPECT_EQ(drawn(sampler(1, 0.51f), logits), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(drawn(sampler(1, 0.76f), logits), (std::set<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(drawn(sampler(1, 1), logits), (std::set<std::int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(drawn(sampler(1, 0.5f), {0, 0, 0, 0}), (std::set<std::int32_t>{0, 1}));
}

TEST(Sampler, DrawsInProportionToProbabilities) {
  const std::vector<float> logits{std::log(0.1f), std::log(0.6f), std::log(0.3f)};
  const auto share_of_1 = [&](float temperature) {
    double hits = 0;
    for (const std::int32_t id : draws(sampler(temperature), logits, 10000)) hits += id == 1 ? 1 : 0;
    return hits / 10000;
  };
  const double four_sigma = 4 * std::sqrt(0.25 / 10000);
  EXPECT_NEAR(share_of_1(1), 0.6, four_sigma);
  EXPECT_NEAR(share_of_1(0.5f), 0.36 / 0.46, four_sigma);  // squares of the probabilities, normalized
  EXPECT_NEAR(share_of_1(1e6f), 1.0 / 3, four_sigma);
}

TEST(Sampler, RepeatsItselfForASeedAndOnlyForThat) {
  std::vector<float> logits(100, 0.0f);
  const auto first = draws(sampler(1, 1, 5), logits, 50);
  EXPECT_EQ(draws(sampler(1, 1, 5), logits, 50), first);
  EXPECT_NE(draws(sampler(1, 1, 6), logits, 50), first);
  EXPECT_GT(std::set<std::int32_t>(first.begin(), first.end()).size(), 20u);
}

TEST(Sampler, DrawsByPositionWhateverCameBefore) {
  const std::vector<float> logits(100, 0.0f);
  const std::vector<float> certain{kInf, 0.0f};
  Sampler plain = sampler(1, 1, 5);
  Sampler interrupted = sampler(1, 1, 5);
  EXPECT_EQ(*plain.next(logits), *interrupted.next(logits));
  ASSERT_TRUE(plain.next(logits));
  EXPECT_EQ(*interrupted.next(certain), 0);
  EXPECT_EQ(*plain.next(logits), *interrupted.next(logits));
}

TEST(Sampler, IsDefinedForInfiniteAndNaNLogits) {
  EXPECT_EQ(drawn(sampler(1), {0, kInf, 1, kInf}), (std::set<std::int32_t>{1}));
  EXPECT_EQ(drawn(sampler(1), {-kInf, -kInf}), (std::set<std::int32_t>{0}));
  EXPECT_EQ(drawn(sampler(1), {kNaN, kNaN}), (std::set<std::int32_t>{0}));
  EXPECT_EQ(drawn(sampler(1), {kNaN, 0, -kInf, 0}), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(drawn(sampler(1), {-3e38f, 3e38f}), (std::set<std::int32_t>{1}));
}

TEST(Sampler, RefusesImpossibleSettings) {
  for (const float temperature : {-0.1f, kNaN, kInf}) {
    const auto s = Sampler::make({temperature, 1, 0});
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().code, ErrorCode::usage);
  }
  for (const float top_p : {-0.1f, 1.1f, kNaN}) EXPECT_FALSE(Sampler::make({1, top_p, 0}));
}

}  // namespace
}  // namespace kvant::nn
