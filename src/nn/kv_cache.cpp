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

/// heads * width * capacity, added to `sum`; false where no memory could hold it.
bool add_room(std::size_t& sum, std::size_t heads, std::size_t width, std::size_t capacity) {
  const auto rows = checked_mul(heads, capacity);
  const auto elements = rows ? checked_mul(*rows, width) : std::nullopt;
  const auto all = elements ? checked_add(sum, *elements) : std::nullopt;
  sum = all.value_or(0);
  return all.has_value();
}

}  // namespace

Result<KvCache> KvCache::make(const ModelConfig& config, std::size_t capacity, std::size_t source,
                              std::size_t context) {
  if (capacity == 0) return fail(ErrorCode::usage, "a cache for 0 tokens; expected at least 1");
  if (!config.encoder.empty() && source == 0)
    return fail(ErrorCode::usage, "the model reads a source, but the cache has no room for its tokens");
  return guarded([&]() -> Result<KvCache> {
    KvCache cache;
    cache.capacity_ = capacity;
    cache.source_capacity_ = source;
    std::size_t keys = 0;
    std::size_t values = 0;
    bool fits = true;
    for (const CacheShape& shape : config.caches) {
      const std::size_t room = shape.of_source ? source : capacity;
      cache.parts_.push_back({shape, keys, values, room});
      fits = fits && padded(room) >= room && add_room(keys, shape.heads, shape.key_dim, padded(room)) &&
             add_room(values, shape.heads, padded(shape.value_dim), room);
    }
    if (!fits)
      return fail(ErrorCode::out_of_memory, "a cache for " + std::to_string(capacity) + " tokens exceeds any memory");
    cache.keys_.resize(keys);
    cache.values_.resize(values);
    for (const Rope& rope : config.ropes)
      cache.frequencies_.push_back(rope_frequencies(rope, context != 0 ? context : capacity));
    return cache;
  });
}

bool KvCache::fits(const ModelConfig& config) const noexcept {
  return frequencies_.size() == config.ropes.size() &&
         std::equal(parts_.begin(), parts_.end(), config.caches.begin(), config.caches.end(),
                    [](const Part& part, const CacheShape& shape) { return part.shape == shape; });
}

std::size_t KvCache::key_offset(const Part& part, std::size_t kv_head) const noexcept {
  return part.keys + kv_head * padded(part.capacity) * part.shape.key_dim;
}

std::size_t KvCache::value_offset(const Part& part, std::size_t kv_head) const noexcept {
  return part.values + kv_head * part.capacity * padded(part.shape.value_dim);
}

void KvCache::store(std::size_t attention, std::size_t position, Heads keys, Heads values) {
  expects(attention < parts_.size(), "an attention of the cache");
  const Part& part = parts_[attention];
  expects(position < part.capacity, "a position within the cache");
  const std::size_t key_dim = part.shape.key_dim;
  const std::size_t panel = position / kCacheLanes * kCacheLanes;
  for (std::size_t h = 0; h < part.shape.heads; ++h) {
    const float* const key = keys.data + h * keys.stride;
    float* const k = keys_.data() + key_offset(part, h) + panel * key_dim + position % kCacheLanes;
    for (std::size_t i = 0; i < key_dim; ++i) k[i * kCacheLanes] = key[i];
    std::copy_n(values.data + h * values.stride, part.shape.value_dim,
                values_.data() + value_offset(part, h) + position * padded(part.shape.value_dim));
  }
}

CachedHead KvCache::head(std::size_t attention, std::size_t kv_head) const {
  expects(attention < parts_.size() && kv_head < parts_[attention].shape.heads, "a head of the cache");
  const Part& part = parts_[attention];
  return {keys_.data() + key_offset(part, kv_head), values_.data() + value_offset(part, kv_head), part.shape.key_dim,
          part.shape.value_dim};
}

void KvCache::advance(std::size_t tokens) {
  expects(tokens <= capacity_ - length_, "no more tokens than there is room for");
  length_ += tokens;
}

void KvCache::set_context(const ModelConfig& config, std::size_t tokens) {
  for (std::size_t i = 0; i < config.ropes.size(); ++i)
    if (depends_on_context(config.ropes[i])) frequencies_[i] = rope_frequencies(config.ropes[i], tokens);
}

void KvCache::set_source(std::size_t tokens) {
  expects(tokens <= source_capacity_, "no more tokens than there is room for");
  source_length_ = tokens;
}

}  // namespace kvant::nn
