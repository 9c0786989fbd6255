// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/kv_cache.hpp"

#include <algorithm>
#include <optional>
#include <string>

#include "core/guard.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"

namespace kvant::nn {
namespace {

std::size_t padded(std::size_t n) noexcept { return round_up(n, kCacheLanes); }

}  // namespace

Result<KvCache> KvCache::make(const ModelConfig& config, std::size_t capacity) {
  if (capacity == 0) return fail(ErrorCode::usage, "a cache for 0 tokens; expected at least 1");
  const auto heads = checked_mul(config.layers, config.kv_heads);
  const auto width = heads ? checked_mul(*heads, padded(config.head_dim)) : std::nullopt;
  const auto elements = width ? checked_mul(*width, padded(capacity)) : std::nullopt;
  if (!elements || padded(capacity) < capacity)
    return fail(ErrorCode::out_of_memory, "a cache for " + std::to_string(capacity) + " tokens exceeds any memory");
  return guarded([&]() -> Result<KvCache> {
    KvCache cache;
    cache.layers_ = config.layers;
    cache.kv_heads_ = config.kv_heads;
    cache.head_dim_ = config.head_dim;
    cache.capacity_ = capacity;
    cache.keys_.resize(cache.key_offset(config.layers, 0));
    cache.values_.resize(cache.value_offset(config.layers, 0));
    return cache;
  });
}

bool KvCache::fits(const ModelConfig& config) const noexcept {
  return layers_ == config.layers && kv_heads_ == config.kv_heads && head_dim_ == config.head_dim;
}

std::size_t KvCache::key_offset(std::size_t layer, std::size_t kv_head) const noexcept {
  return (layer * kv_heads_ + kv_head) * padded(capacity_) * head_dim_;
}

std::size_t KvCache::value_offset(std::size_t layer, std::size_t kv_head) const noexcept {
  return (layer * kv_heads_ + kv_head) * capacity_ * padded(head_dim_);
}

void KvCache::store(std::size_t layer, std::size_t position, std::span<const float> keys,
                    std::span<const float> values) {
  expects(layer < layers_ && position < capacity_, "a position within the cache");
  expects(keys.size() == kv_heads_ * head_dim_ && values.size() == keys.size(), "keys and values of every head");
  const std::size_t panel = position / kCacheLanes * kCacheLanes;
  for (std::size_t h = 0; h < kv_heads_; ++h) {
    float* const k = keys_.data() + key_offset(layer, h) + panel * head_dim_ + position % kCacheLanes;
    for (std::size_t i = 0; i < head_dim_; ++i) k[i * kCacheLanes] = keys[h * head_dim_ + i];
    std::copy_n(values.data() + h * head_dim_, head_dim_,
                values_.data() + value_offset(layer, h) + position * padded(head_dim_));
  }
}

CachedHead KvCache::head(std::size_t layer, std::size_t kv_head) const {
  expects(layer < layers_ && kv_head < kv_heads_, "a head of the cache");
  return {keys_.data() + key_offset(layer, kv_head), values_.data() + value_offset(layer, kv_head), head_dim_};
}

void KvCache::advance(std::size_t tokens) {
  expects(tokens <= capacity_ - length_, "no more tokens than there is room for");
  length_ += tokens;
}

}  // namespace kvant::nn
