// SPDX-License-Identifier: Apache-2.0
// Keys and values of the tokens that a model has seen, for every layer and head, in float32.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/nn/architectures.hpp"
#include "kvant/nn/ops.hpp"

namespace kvant::nn {

class KvCache {
 public:
  /// Room for `capacity` tokens, all of it allocated. Errors: usage (capacity 0), out_of_memory.
  [[nodiscard]] static Result<KvCache> make(const ModelConfig& config, std::size_t capacity);

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// Tokens seen; the next one's position.
  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  /// Forgets all tokens and keeps the memory.
  void clear() noexcept { length_ = 0; }
  /// Whether it was made for a model of this shape.
  [[nodiscard]] bool fits(const ModelConfig& config) const noexcept;

  // For the forward pass: store() every layer of some positions, read them through head(), then advance().

  /// Writes the keys and values of one token, [kv_heads * head_dim] each. Distinct positions may be written at once.
  void store(std::size_t layer, std::size_t position, std::span<const float> keys, std::span<const float> values);
  [[nodiscard]] CachedHead head(std::size_t layer, std::size_t kv_head) const;
  void advance(std::size_t tokens);

 private:
  KvCache() = default;
  [[nodiscard]] std::size_t key_offset(std::size_t layer, std::size_t kv_head) const noexcept;
  [[nodiscard]] std::size_t value_offset(std::size_t layer, std::size_t kv_head) const noexcept;

  std::size_t layers_ = 0;
  std::size_t kv_heads_ = 0;
  std::size_t head_dim_ = 0;
  std::size_t capacity_ = 0;
  std::size_t length_ = 0;
  std::vector<float> keys_;    ///< [layers][kv_heads] of CachedHead::keys
  std::vector<float> values_;  ///< [layers][kv_heads] of CachedHead::values
};

}  // namespace kvant::nn
