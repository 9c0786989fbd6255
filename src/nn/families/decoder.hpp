// SPDX-License-Identifier: Apache-2.0
// What decoders of Llama's kind share: sizes under the usual keys, and the parts that their blocks are made of. A
// family writes its blocks out of these, in its own order.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/config_reader.hpp"
#include "nn/step_builder.hpp"

namespace kvant::nn {

/// Names that most decoders have; norms stand before attention and before the feed-forward layers.
inline constexpr std::string_view kLayers = "model.layers.";
inline constexpr std::string_view kEmbedding = "model.embed_tokens";
inline constexpr std::string_view kFirstNorm = "input_layernorm";
inline constexpr std::string_view kSecondNorm = "post_attention_layernorm";
inline constexpr std::string_view kLastNorm = "model.norm";
inline constexpr std::string_view kHead = "lm_head";

/// Sizes that most families have under these keys.
struct Sizes {
  std::size_t hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocabulary = 0, positions = 0;
};
[[nodiscard]] Sizes usual_sizes(ConfigReader& c);

/// The rotation that `rope_theta` and `rope_scaling` (or `rope_parameters`) ask for, of `dims` elements of a head.
/// `positions` is the model's context.
[[nodiscard]] Rope read_rope(ConfigReader& c, std::size_t dims, std::size_t positions, double default_theta = 10000);
/// Elements of a head that are rotated: `partial_rotary_factor` (or another key) of them.
[[nodiscard]] std::size_t rotated_dims(ConfigReader& c, std::size_t head_dim, double otherwise = 1,
                                       std::string_view key = "partial_rotary_factor");
/// For each layer, whether `layer_types` calls it sliding_attention; `otherwise` where there is no such key.
[[nodiscard]] std::vector<bool> sliding_layers(ConfigReader& c, std::size_t layers, const std::vector<bool>& otherwise);

/// A rotation of the model's, and how many elements of a head it turns.
struct Rotation {
  std::size_t rope = 0;  ///< of ModelConfig::ropes
  std::size_t dims = 0;
};

/// What a family takes where its config.json does not say it, and where it says which part of a head is rotated.
struct RotationDefaults {
  double theta = 10000;
  double part = 1;
  std::string_view part_key = "partial_rotary_factor";
};

/// q, k and v, in heads.
struct Qkv {
  Slice q, k, v;
};

struct AttendOptions {
  float scale = 0;  ///< 0: 1 / sqrt(width of a head)
  float softcap = 0;
  std::size_t window = 0;
  std::vector<float> slopes{};
  TensorId sinks = kNoTensor;
  bool both_ways = false;
  bool of_source = false;
  Distances distances{};
};

/// Experts that are stored one by one.
struct ExpertLayers {
  std::size_t experts = 0;
  std::size_t width = 0;
  Activation act = Activation::silu;
  Routing routing{};
  std::string_view gate = "gate_proj", up = "up_proj", down = "down_proj";
};

/// A decoder that is being written: buffers x (what blocks add to), h (its normalized form) and those of their parts.
struct Decoder {
  Decoder(ConfigReader& reader, StepBuilder& builder, const Sizes& sizes);

  /// Tokens' rows of a table.
  void embed(std::string_view stem, float scale = 1);
  /// x += rows of another table of `rows`, those of positions + offset or of types; positions are limited to them.
  void add_rows(std::string_view stem, std::size_t rows, Embed::Key key, std::size_t offset = 0);
  void block(std::string_view prefix, std::size_t i) { b.block(std::string(prefix) + std::to_string(i) + "."); }
  /// h = norm(x), or any other slices.
  void norm(std::string_view stem) { b.norm(x, h, stem, norms); }
  void norm(Slice in, Slice out, std::string_view stem) { b.norm(in, out, stem, norms); }
  /// Three layers of `in`, named "q_proj", "k_proj" and "v_proj" behind `stem`.
  Qkv qkv(Slice in, std::string_view stem, bool bias, std::string_view q = "q_proj", std::string_view k = "k_proj",
          std::string_view v = "v_proj");
  /// One layer of `in` whose rows are all of q, then k, then v.
  Qkv fused_qkv(Slice in, std::string_view stem, bool bias, bool transposed = false);
  /// That of rotated_dims() and read_rope().
  Rotation rotation(const RotationDefaults& otherwise = {});
  void rotate(const Qkv& qkv, const Rotation& rotation, bool interleaved = false);
  /// a = attention.
  void attend(const Qkv& qkv, const AttendOptions& options = {});
  /// x += scale * (in * W^T + bias).
  void add_linear(Slice in, std::string_view stem, bool bias = false, float scale = 1);
  /// gate = act(gate_proj(in)) * up_proj(in), then down_proj into `out`, or added to x.
  void gated_ffn(Slice in, std::string_view stem, Activation act, bool bias = false, float scale = 1);
  void gated_ffn_into(Slice in, Slice out, std::string_view stem, Activation act, const LinearOptions& down,
                      std::size_t width);
  /// The same with gate and up as one layer `up`, gate's rows first.
  void fused_ffn(Slice in, std::string_view up, std::string_view down, Activation act, bool bias = false);
  /// up = act(up(in)), x += down(up).
  void plain_ffn(Slice in, std::string_view up, std::string_view down, Activation act, bool bias);
  /// out = what the experts chosen by the layer `router` make of `in`. Experts are stored one by one, numbered behind
  /// `stem`, with gated feed-forward layers of `width`.
  void experts(Slice in, Slice out, std::string_view router, std::string_view stem, const ExpertLayers& layers);
  /// The last norm, and the head: `stem` or, where the configuration ties it, the embedding, times `tied_scale`.
  void finish(std::string_view norm_stem, std::string_view head_stem, bool tied, bool head_bias = false,
              float tied_scale = 1);

  ConfigReader& c;
  StepBuilder& b;
  Sizes s;
  Slice x, h, a;
  NormOptions norms{};
  TensorId table = kNoTensor;
};

/// The lists of families, by kind; families.cpp joins them.
struct Family;
[[nodiscard]] std::span<const Family> dense_families() noexcept;
[[nodiscard]] std::span<const Family> early_families() noexcept;
[[nodiscard]] std::span<const Family> expert_families() noexcept;
[[nodiscard]] std::span<const Family> encoder_families() noexcept;

}  // namespace kvant::nn
