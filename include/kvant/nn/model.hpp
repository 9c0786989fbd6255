// SPDX-License-Identifier: Apache-2.0
// A decoder-only language model on float or packed weights: the engine for calibration, evaluation and examples.
//
//   auto weights = kvant::io::Weights::open("models/tiny");
//   auto model = kvant::nn::Model::load(*weights, kvant::runtime());
//   auto cache = kvant::nn::KvCache::make(model->config(), 256);
//   kvant::Matrix<float> logits(ids.size(), model->config().vocabulary);
//   kvant::Status ok = model->forward(ids, *cache, logits.view(), kvant::runtime());
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/nn/architectures.hpp"
#include "kvant/nn/kv_cache.hpp"
#include "kvant/numeric/runtime_codebook.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant::nn {

/// A matrix of the model, as it is stored.
struct LayerInfo {
  std::string name;    ///< of the tensor, with ".weight"
  LayerScheme scheme;  ///< fp32, fp16 or bf16 where it is not quantized
  std::size_t rows = 0;
  std::size_t cols = 0;
};

/// A loaded model. Its members are thread-safe; each stream of tokens has its own KvCache.
class Model {
 public:
  /// Reads every tensor and packs the matrices, one per task of `context`. Weights stored as bfloat16 stay bfloat16,
  /// quantized ones stay quantized, other floats become float32.
  /// Errors: those of read_model_config() and of reading tensors; bad_config (no config.json, or biases that it
  /// denies), missing_tensor, bad_shape, unsupported (a tensor that the architecture does not know), out_of_memory.
  [[nodiscard]] static Result<Model> load(const io::Weights& weights, const Context& context);

  [[nodiscard]] const ModelConfig& config() const noexcept { return config_; }

  /// Appends `ids` to the cache and computes the logits, [vocabulary] each, of all of them, or of the last one where
  /// `logits` has one row. Positions go on from cache.length(). Exactly the same logits come from any context, and
  /// from handing over the ids in one call or in several. On an error the cache is as it was.
  /// Errors: usage (no ids, an id out of range, another model's cache), bad_shape (of `logits`), limit (more tokens
  /// than the cache has room for), out_of_memory.
  [[nodiscard]] Status forward(std::span<const std::int32_t> ids, KvCache& cache, MatrixView<float> logits,
                               const Context& context) const;

  /// The first half of forward(): appends `ids` to the cache and computes their `states` [ids, hidden] behind the last
  /// norm. For many ids these take far less room than logits, which logits_of() makes of as many rows at a time as
  /// there is room for. Errors: as forward().
  [[nodiscard]] Status hidden_states(std::span<const std::int32_t> ids, KvCache& cache, MatrixView<float> states,
                                     const Context& context) const;
  /// The second half: logits [rows, vocabulary] of states [rows, hidden], the same for a row whatever rows are beside
  /// it. Errors: bad_shape, out_of_memory.
  [[nodiscard]] Status logits_of(MatrixView<const float> states, MatrixView<float> logits,
                                 const Context& context) const;

  /// Every matrix, the embedding and the head among them, in the order of computation. A tied head appears once.
  [[nodiscard]] const std::vector<LayerInfo>& layers() const noexcept { return layers_; }
  /// Bytes of all weights as they are stored: codes, scales and zero points, norms and biases, without padding.
  [[nodiscard]] std::uint64_t weight_bytes() const noexcept { return stored_bits_ / 8; }

 private:
  friend class ModelLoader;
  struct Block {
    std::vector<float> attention_norm, ffn_norm;
    Linear q, k, v, o, gate, up, down;
  };
  struct Workspace;

  Model() = default;
  [[nodiscard]] Status check_call(std::span<const std::int32_t> ids, const KvCache& cache) const;
  [[nodiscard]] const Linear& head() const noexcept { return head_ ? *head_ : embedding_; }
  /// Runs `ids` through the blocks, some at a time; `take(first, work)` has each time what comes out.
  template <class Take>
  [[nodiscard]] Status run_chunks(std::span<const std::int32_t> ids, KvCache& cache, const Context& context,
                                  const Take& take) const;
  [[nodiscard]] Status run_blocks(std::span<const std::int32_t> ids, std::size_t position, KvCache& cache,
                                  Workspace& work, const Context& context) const;
  [[nodiscard]] Status run_attention(std::size_t layer, std::size_t position, KvCache& cache, Workspace& work,
                                     const Context& context) const;
  [[nodiscard]] Status run_ffn(const Block& block, Workspace& work, const Context& context) const;
  void normalize(MatrixView<const float> x, std::span<const float> weight, MatrixView<float> out,
                 const Context& context) const;

  ModelConfig config_;
  Linear embedding_;
  std::vector<double> frequencies_;  ///< of positions
  std::deque<Block> blocks_;         ///< whose addresses stay while it grows
  std::vector<float> final_norm_;
  std::optional<Linear> head_;  ///< none where the embedding is the head
  std::vector<LayerInfo> layers_;
  std::uint64_t stored_bits_ = 0;
  std::vector<std::shared_ptr<const RuntimeCodebook>> codebooks_;  ///< that schemes of layers refer to
};

}  // namespace kvant::nn
