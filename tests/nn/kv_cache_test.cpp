// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/kv_cache.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "io/test_files.hpp"

namespace kvant::nn {
namespace {

ModelConfig shape(std::size_t layers, std::size_t kv_heads, std::size_t head_dim) {
  ModelConfig config;
  config.caches.assign(layers, {kv_heads, head_dim, head_dim});
  return config;
}

TEST(KvCache, ReturnsWhatWasStoredInTheOrderOfAttention) {
  constexpr std::size_t kLayers = 3, kHeads = 2, kDim = 6, kCapacity = 21;
  auto cache = KvCache::make(shape(kLayers, kHeads, kDim), kCapacity);
  ASSERT_TRUE(cache);
  const auto value = [](std::size_t layer, std::size_t t, std::size_t i) {
    return static_cast<float>(layer * 10000 + t * 100 + i);
  };
  for (std::size_t layer = 0; layer < kLayers; ++layer)
    for (std::size_t t = 0; t < kCapacity; ++t) {
      std::vector<float> k, v;
      for (std::size_t i = 0; i < kHeads * kDim; ++i) {
        k.push_back(value(layer, t, i));
        v.push_back(-value(layer, t, i));
      }
      cache->store(layer, t, {k.data(), kDim}, {v.data(), kDim});
    }
  for (std::size_t layer = 0; layer < kLayers; ++layer)
    for (std::size_t h = 0; h < kHeads; ++h) {
      const CachedHead head = cache->head(layer, h);
      EXPECT_EQ(head.key_dim, kDim);
      EXPECT_EQ(head.value_dim, kDim);
      for (std::size_t t = 0; t < kCapacity; ++t)
        for (std::size_t i = 0; i < kDim; ++i) {
          EXPECT_EQ(head.keys[t / 16 * 16 * kDim + i * 16 + t % 16], value(layer, t, h * kDim + i));
          EXPECT_EQ(head.values[t * 16 + i], -value(layer, t, h * kDim + i));
        }
    }
}

TEST(KvCache, CountsTokens) {
  auto cache = KvCache::make(shape(1, 1, 2), 5);
  ASSERT_TRUE(cache);
  EXPECT_EQ(cache->capacity(), 5u);
  EXPECT_EQ(cache->length(), 0u);
  cache->advance(3);
  cache->advance(2);
  EXPECT_EQ(cache->length(), 5u);
  cache->clear();
  EXPECT_EQ(cache->length(), 0u);
  EXPECT_EQ(cache->capacity(), 5u);
}

TEST(KvCache, KnowsItsModel) {
  const auto cache = KvCache::make(shape(2, 3, 4), 5);
  EXPECT_TRUE(cache->fits(shape(2, 3, 4)));
  EXPECT_FALSE(cache->fits(shape(1, 3, 4)));
  EXPECT_FALSE(cache->fits(shape(2, 4, 4)));
  EXPECT_FALSE(cache->fits(shape(2, 3, 6)));
}

TEST(KvCache, RefusesNoRoomAndTooMuchRoom) {
  EXPECT_EQ(io::test::code_of(KvCache::make(shape(1, 1, 2), 0)), "usage");
  EXPECT_EQ(io::test::code_of(KvCache::make(shape(1, 1, 2), SIZE_MAX)), "out_of_memory");
  EXPECT_EQ(io::test::code_of(KvCache::make(shape(1000, 1000, 128), SIZE_MAX / 1000)), "out_of_memory");
  EXPECT_EQ(io::test::code_of(KvCache::make(shape(80, 8, 128), std::size_t{1} << 46)), "out_of_memory");
}

}  // namespace
}  // namespace kvant::nn
