// SPDX-License-Identifier: Apache-2.0
// A language model on float or packed weights: the engine for calibration, evaluation and examples.
//
//   auto weights = kvant::io::Weights::open("models/tiny");
//   auto model = kvant::nn::Model::load(*weights, kvant::runtime());
//   auto cache = kvant::nn::KvCache::make(model->config(), 256);
//   kvant::Matrix<float> logits(ids.size(), model->config().vocabulary);
//   kvant::Status ok = model->forward(ids, *cache, logits.view(), kvant::runtime());
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/nn/families.hpp"
#include "kvant/nn/kv_cache.hpp"
#include "kvant/nn/steps.hpp"
#include "kvant/nn/workspace.hpp"
#include "kvant/numeric/runtime_codebook.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant::nn {

/// A matrix of the model, as it is stored.
struct LayerInfo {
  std::string name;    ///< of the tensor
  LayerScheme scheme;  ///< fp32, fp16 or bf16 where it is not quantized
  std::size_t rows = 0;
  std::size_t cols = 0;
};

/// What one sequence goes on with. Ids hold no padding.
struct SequenceRows {
  std::span<const std::int32_t> ids;
  KvCache* cache = nullptr;
  std::span<const std::int32_t> types{};  ///< of which part of the input each id is; none: all 0
};

/// Sees the inputs of layers while a model runs.
class LayerTap {
 public:
  virtual ~LayerTap() = default;
  /// Rows that the layer `weight` is about to multiply. Called from the thread that runs the model.
  virtual void input(TensorId weight, MatrixView<const float> rows) = 0;
};

/// A loaded model. Its members are thread-safe; each sequence of tokens has its own KvCache.
class Model {
 public:
  struct Plan;  ///< of memory: the library's own

  /// Reads every tensor and packs the matrices, one per task of `context`. Weights stored as bfloat16 stay bfloat16,
  /// quantized ones stay quantized, other floats become float32.
  /// Errors: those of read_model_config() and of reading tensors; bad_config (no config.json, or biases that it
  /// denies), missing_tensor, bad_shape, unsupported (a tensor that the family does not know), out_of_memory.
  [[nodiscard]] static Result<Model> load(const io::Weights& weights, const Context& context);

  [[nodiscard]] const ModelConfig& config() const noexcept { return config_; }

  /// Appends the ids of every sequence to its cache and computes logits, [vocabulary] each: of all tokens, one sequence
  /// after the other, or of each sequence's last one where `logits` has as many rows as there are sequences. Positions
  /// go on from cache.length(). A sequence's logits are exactly the same in any context, beside any other sequences,
  /// and whether its ids come in one call or in several. On an error the caches are as they were.
  /// Where attention looks both ways, ids are whole sequences and caches are empty.
  /// Errors: usage (no ids, an id or type out of range, a cache of another model or given twice, a part of a sequence
  /// where it has to be whole), bad_shape (of `logits`), limit (more tokens than a cache has room for, or than there
  /// are positions), unsupported (the model has no head), out_of_memory.
  [[nodiscard]] Status forward(std::span<const SequenceRows> batch, MatrixView<float> logits, Workspace& work,
                               const Context& context, LayerTap* tap = nullptr) const;
  /// The same of one sequence, with memory of its own for the call.
  [[nodiscard]] Status forward(std::span<const std::int32_t> ids, KvCache& cache, MatrixView<float> logits,
                               const Context& context) const;

  /// Of a model that reads a source (a text to translate): computes its encoder's states of each sequence's whole
  /// source `ids` and keeps in the cache what the decoder looks at. forward() then begins with the decoder's start
  /// token. Errors: as forward(); usage (a cache that is not empty), limit (more ids than the cache has room for),
  /// unsupported (the model reads no source).
  [[nodiscard]] Status encode(std::span<const SequenceRows> batch, Workspace& work, const Context& context,
                              LayerTap* tap = nullptr) const;
  [[nodiscard]] Status encode(std::span<const std::int32_t> ids, KvCache& cache, const Context& context) const;

  /// The first half of forward(): appends the ids and computes their `states` [ids, hidden] behind the last norm. For
  /// many ids these take far less room than logits, which logits_of() makes of as many rows at a time as there is room
  /// for. Errors: as forward().
  [[nodiscard]] Status hidden_states(std::span<const SequenceRows> batch, MatrixView<float> states, Workspace& work,
                                     const Context& context, LayerTap* tap = nullptr) const;
  [[nodiscard]] Status hidden_states(std::span<const std::int32_t> ids, KvCache& cache, MatrixView<float> states,
                                     const Context& context) const;
  /// The second half: logits [rows, vocabulary] of states [rows, hidden], the same for a row whatever rows are beside
  /// it. Errors: bad_shape, out_of_memory.
  [[nodiscard]] Status logits_of(MatrixView<const float> states, MatrixView<float> logits, Workspace& work,
                                 const Context& context) const;
  [[nodiscard]] Status logits_of(MatrixView<const float> states, MatrixView<float> logits,
                                 const Context& context) const;
  /// What the model's pooler makes [rows, hidden] of the states [rows, hidden] of sequences' first tokens.
  /// Errors: bad_shape, unsupported (there is no pooler), out_of_memory.
  [[nodiscard]] Status pooled_of(MatrixView<const float> states, MatrixView<float> pooled,
                                 const Context& context) const;

  /// Every matrix, the embedding and the head among them, in the order of computation. A tied head appears once.
  [[nodiscard]] const std::vector<LayerInfo>& layers() const noexcept { return layers_; }
  /// Bytes of all weights as they are stored: codes, scales and zero points, norms and biases, without padding.
  [[nodiscard]] std::uint64_t weight_bytes() const noexcept { return stored_bits_ / 8; }

  /// The layer of a matrix, by its number in config().tensors.
  [[nodiscard]] const Linear& layer(TensorId weight) const { return tensors_[weight].linear; }
  [[nodiscard]] const Plan& plan() const noexcept { return *plan_; }
  /// Puts another layer of the same shape in its place, as one of quantized weights. Contract: nobody runs the model.
  /// Errors: bad_shape.
  [[nodiscard]] Status replace(TensorId weight, Linear layer);

 private:
  friend class ModelLoader;
  friend class StepRunner;
  friend class Workspace;
  struct Tensor {
    Linear linear;
    std::vector<float> values;
  };

  Model() = default;
  [[nodiscard]] Status check_batch(std::span<const SequenceRows> batch) const;
  [[nodiscard]] Status check_sources(std::span<const SequenceRows> batch) const;
  [[nodiscard]] Status check_head() const;
  /// Runs a list over rows of states, as many at a time as go together.
  [[nodiscard]] Status run_rows(const std::vector<Step>& steps, BufferId target, MatrixView<const float> states,
                                MatrixView<float> out, Workspace& work, const Context& context) const;

  ModelConfig config_;
  std::vector<Tensor> tensors_;
  std::shared_ptr<const Plan> plan_;
  std::vector<LayerInfo> layers_;
  std::uint64_t stored_bits_ = 0;
  std::vector<std::shared_ptr<const RuntimeCodebook>> codebooks_;  ///< that schemes of layers refer to
};

/// `unsupported` unless the model gives logits of the next token from those before it, as texts are evaluated and
/// generated by.
[[nodiscard]] Status check_predicts_next(const ModelConfig& config);

}  // namespace kvant::nn
