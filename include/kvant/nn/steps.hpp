// SPDX-License-Identifier: Apache-2.0
// A model's computation as data: lists of steps over named buffers.
//
// A family writes these lists for a configuration; the loader, the forward pass, calibration's taps, the sets of layers
// that read one input, the places where a factor per channel can be folded, and the default plan follow from them.
//
//   x = embed(tokens; model.embed_tokens)
//   h = rms_norm(x; input_layernorm)            q = h * self_attn.q_proj^T            …            x += a * o_proj^T
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kvant/nn/ops.hpp"
#include "kvant/nn/rope.hpp"

namespace kvant::nn {

// ---- what steps name ------------------------------------------------------------------------------------------------

using BufferId = std::uint32_t;  ///< of ModelConfig::buffers
using TensorId = std::uint32_t;  ///< of ModelConfig::tensors
inline constexpr TensorId kNoTensor = UINT32_MAX;

/// Rows of float32 numbers, one for each token. Buffers that are never alive at once share memory.
struct Buffer {
  std::string name;
  std::size_t width = 0;
};

/// Columns of a buffer: `count` heads of `width` columns, the first at `first`, `stride` apart.
struct Slice {
  BufferId buffer = 0;
  std::size_t first = 0;
  std::size_t count = 1;
  std::size_t stride = 0;
  std::size_t width = 0;

  [[nodiscard]] std::size_t columns() const noexcept { return count * width; }
  /// Whether its columns stand side by side.
  [[nodiscard]] bool is_dense() const noexcept { return count == 1 || stride == width; }
  /// Columns [from, from + columns) of every head.
  [[nodiscard]] Slice part(std::size_t from, std::size_t columns) const noexcept {
    return {buffer, first + from, count, stride, columns};
  }
  /// A dense slice as heads of `columns`. Contract: they divide it.
  [[nodiscard]] Slice heads(std::size_t columns_of_one) const noexcept {
    return {buffer, first, columns() / columns_of_one, columns_of_one, columns_of_one};
  }
  friend bool operator==(const Slice&, const Slice&) = default;
};

/// What a tensor is for, which decides what is quantized by default.
enum class Role : std::uint8_t { linear, embedding, head, router, norm, bias, other };
inline constexpr std::string_view kRoleNames[]{"linear", "embedding", "head", "router", "norm", "bias", "other"};

/// A stored tensor, or one expert's part of a stack of them.
struct TensorUse {
  std::string name;                  ///< as stored
  std::vector<std::uint64_t> shape;  ///< as used: [out, in] of a matrix
  Role role = Role::linear;
  bool transposed = false;    ///< a matrix that is stored [in, out]
  TensorId bias = kNoTensor;  ///< of a matrix
  std::uint64_t members = 0;  ///< matrices in a stack [members, …]; 0: it is none
  std::uint64_t member = 0;   ///< which of them

  [[nodiscard]] bool is_matrix() const noexcept { return role <= Role::router; }
};

// ---- steps ----------------------------------------------------------------------------------------------------------

/// out = scale * rows of a table: those of the tokens, of their positions + offset, or of their types (of which part of
/// an input they are).
struct Embed {
  enum class Key : std::uint8_t { token, position, type };
  TensorId table = kNoTensor;
  BufferId out = 0;
  Key key = Key::token;
  std::size_t offset = 0;
  float scale = 1;
};

/// How a row, or each head of it, is normalized: by its root mean square or, `layer`, by mean and variance.
struct Norm {
  enum class Kind : std::uint8_t { rms, layer };
  Slice in, out;
  Kind kind = Kind::rms;
  float epsilon = 0;
  TensorId weight = kNoTensor;  ///< none: 1
  TensorId bias = kNoTensor;
  bool plus_one = false;  ///< the factor is 1 + weight
  bool per_head = false;  ///< a weight for every head, not one for all of them
};

/// out = scale * (in * W^T + bias), or out += that.
struct Multiply {
  Slice in;   ///< dense
  Slice out;  ///< dense
  TensorId weight = kNoTensor;
  float scale = 1;
  bool accumulate = false;
};

/// Rotates pairs of each head by the token's position.
struct Rotate {
  Slice heads;               ///< the rotated columns of each head
  std::size_t rope = 0;      ///< of ModelConfig::ropes
  bool interleaved = false;  ///< pairs are neighbours; otherwise half a head apart
};

/// A bias for each head and each bucket of distances, table [buckets, heads]. Half of the buckets are for keys behind
/// the token where attention looks both ways; of each direction's n buckets, the first n / 2 hold one distance each,
/// and bucket n / 2 * (1 + log(distance / (n / 2)) / log(farthest / (n / 2))), rounded down, all others up to the last
/// one. Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
/// Transformer".
struct Distances {
  TensorId table = kNoTensor;  ///< none: no bias
  std::size_t buckets = 0;
  std::size_t farthest = 0;
};

/// Stores k and v in the sequence's cache, then out = softmax(scale * q * K^T …) * V for each head of q.
struct Attend {
  Slice q, k, v, out;
  std::size_t cache = 0;  ///< of ModelConfig::caches
  float scale = 1;
  float softcap = 0;            ///< scores become c * tanh(score / c); 0: they do not
  bool both_ways = false;       ///< a token sees those behind it like those before it: sequences come whole
  std::size_t window = 0;       ///< a token sees itself and window - 1 tokens before it; 0: all before it
  std::vector<float> slopes{};  ///< of ALiBi, one for each head: score += slope * (key's position - own position)
  TensorId sinks = kNoTensor;   ///< one more score for each head, whose value is 0
  Distances distances{};        ///< score += bias of the distance
};

/// Stores k and v of the source's tokens in the sequence's cache, for an attention that looks at them.
struct StoreSource {
  Slice k, v;
  std::size_t cache = 0;  ///< of ModelConfig::caches
};

/// out = softmax(scale * q * K^T) * V for each head of q, over all that StoreSource left.
struct AttendSource {
  Slice q, out;
  std::size_t cache = 0;
  float scale = 1;
};

/// Each element in place: x = f(x).
struct Activate {
  Slice x;
  Activation function = Activation::silu;
};

/// x *= by, element by element; a `by` of one column is a factor for the row.
struct Gate {
  Slice x, by;
};

/// x += scale * by, element by element.
struct Add {
  Slice x, by;
  float scale = 1;
};

/// out = in; an `in` of one head goes to every head of `out`.
struct Copy {
  Slice in, out;
};

/// x = factor * x + offset.
struct Scale {
  Slice x;
  float factor = 1;
  float offset = 0;
};

/// x = c * tanh(x / c).
struct Softcap {
  Slice x;
  float c = 1;
};

/// x = min(max(x, low), high).
struct Clamp {
  Slice x;
  float low = 0, high = 0;
};

/// How experts are chosen and weighted.
struct Routing {
  enum class Scores : std::uint8_t { softmax, sigmoid };
  Scores scores = Scores::softmax;
  bool softmax_of_chosen = false;  ///< over the logits of the chosen ones only
  std::size_t chosen = 1;          ///< experts per token
  std::size_t groups = 1;          ///< of experts; only those of the best groups can be chosen
  std::size_t chosen_groups = 1;
  std::size_t best_of_group = 1;    ///< a group's score is the sum of that many best ones of its experts
  TensorId correction = kNoTensor;  ///< added to scores for the choice, not for the weights
  bool normalized = false;          ///< weights are divided by their sum
  float scale = 1;                  ///< of the weights, at last
};

/// out = the sum over the chosen experts of weight * what `steps` make of the token's `in`. Experts run in ascending
/// order, each over the rows that chose it; their steps have buffers of their own, and tensors `stride` apart.
struct Experts {
  BufferId in = 0, out = 0;
  BufferId scores = 0;  ///< what the router gives, one column for each expert
  Routing routing{};
  std::size_t experts = 0;
  TensorId stride = 0;  ///< tensors of one expert; steps name those of the first
  BufferId expert_in = 0, expert_out = 0;
  std::size_t steps = 0;  ///< of ModelConfig::expert_steps
};

using Step = std::variant<Embed, Norm, Multiply, Rotate, Attend, StoreSource, AttendSource, Activate, Gate, Add, Copy,
                          Scale, Softcap, Clamp, Experts>;

/// One block, and what its tensors' names begin with.
struct Block {
  std::string prefix;
  std::vector<Step> steps;
};

// ---- a model --------------------------------------------------------------------------------------------------------

/// What a sequence keeps of every token for one attention.
struct CacheShape {
  std::size_t heads = 0;  ///< divides the number of query heads, which share them in order
  std::size_t key_dim = 0;
  std::size_t value_dim = 0;
  bool of_source = false;  ///< of every token of its source, not of its own

  friend bool operator==(const CacheShape&, const CacheShape&) = default;
};

struct Family;

/// One model: its sizes, its tensors and its steps.
struct ModelConfig {
  const Family* family = nullptr;
  std::size_t hidden = 0;  ///< columns of what hidden_states() gives
  std::size_t vocabulary = 0;
  std::size_t max_positions = 0;   ///< what the model was trained for; a limit of quality, not of forward()
  std::size_t position_limit = 0;  ///< rows of a table of positions; 0: there is none
  std::size_t types = 0;           ///< rows of a table of tokens' types; 0: there is none
  bool tied = false;               ///< the head is the embedding

  std::vector<Buffer> buffers{};
  std::vector<TensorUse> tensors{};
  std::vector<Rope> ropes{};
  std::vector<CacheShape> caches{};
  std::vector<std::vector<Step>> expert_steps{};

  std::vector<Block> encoder{};  ///< from a source's tokens to what AttendSource reads; empty: there is no source
  std::vector<Step> stem{};      ///< from tokens to `carried`
  std::vector<Block> blocks{};
  std::vector<Step> tail{};    ///< from `carried` to `states`
  std::vector<Step> head{};    ///< from `states` to `logits`; empty: the model has no head
  std::vector<Step> pooler{};  ///< from the `states` of a sequence's first token to `pooled`; empty: there is none
  BufferId carried = 0, states = 0, logits = 0, pooled = 0;

  std::vector<std::string> left_out{};  ///< what names of stored tensors begin with that no step reads
};

/// Whether its attention looks both ways, so that a sequence comes in one call.
[[nodiscard]] bool is_bidirectional(const ModelConfig& config) noexcept;

}  // namespace kvant::nn
