// SPDX-License-Identifier: Apache-2.0
// Keys and values of the tokens that one sequence has seen, for every attention and head, in float32.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/nn/ops.hpp"
#include "kvant/nn/steps.hpp"

namespace kvant::nn {

class KvCache {
 public:
  /// Room for `capacity` tokens, all of it allocated, and where the model reads one, for a source of `source` tokens.
  /// Rotations that depend on the context are those of `context`, or of the capacity where that is 0.
  /// Errors: usage (capacity 0, a model that reads a source without room for it), out_of_memory.
  [[nodiscard]] static Result<KvCache> make(const ModelConfig& config, std::size_t capacity, std::size_t source = 0,
                                            std::size_t context = 0);

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// Tokens seen; the next one's position.
  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  [[nodiscard]] std::size_t source_capacity() const noexcept { return source_capacity_; }
  /// Tokens of the source; 0 before encode().
  [[nodiscard]] std::size_t source_length() const noexcept { return source_length_; }
  /// Forgets all tokens, the source's too, and keeps the memory.
  void clear() noexcept { length_ = source_length_ = 0; }
  /// Whether it was made for a model of this shape.
  [[nodiscard]] bool fits(const ModelConfig& config) const noexcept;

  // For the forward pass: store() every attention of some positions, read them through head(), then advance().

  /// Heads of one token, `stride` apart.
  struct Heads {
    const float* data = nullptr;
    std::size_t stride = 0;
  };
  /// Writes the keys and values of one token. Distinct positions may be written at once.
  void store(std::size_t attention, std::size_t position, Heads keys, Heads values);
  [[nodiscard]] CachedHead head(std::size_t attention, std::size_t kv_head) const;
  void advance(std::size_t tokens);
  void set_source(std::size_t tokens);
  /// Rotations that depend on the sequence's length are those of this one, no longer of the capacity.
  void set_context(const ModelConfig& config, std::size_t tokens);
  /// Of the rotation with this number, for its context.
  [[nodiscard]] std::span<const double> frequencies(std::size_t rope) const { return frequencies_[rope]; }

 private:
  /// One attention's part: keys [heads] of CachedHead::keys from `keys`, values likewise.
  struct Part {
    CacheShape shape;
    std::size_t keys = 0, values = 0;
    std::size_t capacity = 0;
  };

  KvCache() = default;
  [[nodiscard]] std::size_t key_offset(const Part& part, std::size_t kv_head) const noexcept;
  [[nodiscard]] std::size_t value_offset(const Part& part, std::size_t kv_head) const noexcept;

  std::vector<Part> parts_;
  std::vector<std::vector<double>> frequencies_;
  std::size_t capacity_ = 0, source_capacity_ = 0;
  std::size_t length_ = 0, source_length_ = 0;
  std::vector<float> keys_, values_;
};

}  // namespace kvant::nn
