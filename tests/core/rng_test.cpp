// SPDX-License-Identifier: Apache-2.0
#include "kvant/core/rng.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <set>
#include <string>

namespace {

using kvant::Rng;
using kvant::seed_from_name;

TEST(Rng, IsSplitMix64) {
  // The published sequence of seed 1234567 (Java's SplittableRandom constants, Vigna's splitmix64.c).
  Rng rng(1234567);
  for (const std::uint64_t expected :
       {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u, 16408922859458223821u})
    EXPECT_EQ(rng.next(), expected);
}

TEST(Rng, DependsOnSeedAndPositionOnly) {
  Rng a(7);
  Rng b(7);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next(), b.next());
  Rng c(8);
  EXPECT_NE(a.next(), c.next());
}

TEST(Rng, IsUniformBelowOne) {
  Rng rng(3);
  double sum = 0;
  std::array<int, 16> bins{};
  constexpr int kDraws = 160000;
  for (int i = 0; i < kDraws; ++i) {
    const float u = rng.uniform();
    ASSERT_GE(u, 0.0f);
    ASSERT_LT(u, 1.0f);
    ASSERT_EQ(u * 0x1p24f, static_cast<float>(static_cast<std::int32_t>(u * 0x1p24f))) << "24 random bits";
    sum += static_cast<double>(u);
    ++bins[static_cast<std::size_t>(u * 16)];
  }
  // Five standard deviations: sqrt(1/12/n) of the mean, sqrt(n p (1-p)) of a bin.
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * 0.28868 / 400);
  for (const int n : bins) EXPECT_NEAR(n, kDraws / 16, 5 * 97);
}

/// FNV-1a, then the SplitMix64 finalizer, written out once more.
std::uint64_t expected_seed(const std::string& name, std::uint64_t seed) {
  const auto mix = [](std::uint64_t z) {
    z += 11400714819323198485u;
    z ^= z >> 30;
    z *= 13787848793156543929u;
    z ^= z >> 27;
    z *= 10723151780598845931u;
    return z ^ (z >> 31);
  };
  std::uint64_t h = 14695981039346656037u;
  for (const char c : name) {
    h ^= static_cast<std::uint64_t>(static_cast<unsigned char>(c));
    h *= 1099511628211u;
  }
  return mix(h ^ mix(seed));
}

TEST(SeedFromName, IsFnv1aMixedWithTheSeed) {
  for (const char* name : {"", "a", "model.layers.0.self_attn.q_proj.weight", "\xff\x80"})
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX})
      EXPECT_EQ(seed_from_name(name, seed), expected_seed(name, seed)) << name;
}

TEST(SeedFromName, TellsNamesAndSeedsApart) {
  std::set<std::uint64_t> seen;
  for (int layer = 0; layer < 100; ++layer)
    for (std::uint64_t seed = 0; seed < 10; ++seed)
      seen.insert(seed_from_name("layers." + std::to_string(layer) + ".weight", seed));
  EXPECT_EQ(seen.size(), 1000u);
}

TEST(SeedFromName, GivesTheRecordedValues) {
  EXPECT_EQ(seed_from_name("model.embed_tokens.weight", 0), 0x087c2bc2be817625u);
  static_assert(seed_from_name("", 0) != seed_from_name("", 1));
}

}  // namespace
