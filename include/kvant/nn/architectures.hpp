// SPDX-License-Identifier: Apache-2.0
// The list of model families. Adding one is adding a row: what it is called, which keys its config.json has, how its
// tensors are named, and which operations stand in its blocks.
//
// All rows share one block: x += o(attention(norm(x))), then x += down(activation(gate(norm(x))) * up(norm(x))).
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"
#include "kvant/nn/ops.hpp"

namespace kvant::nn {

/// Names of the keys in config.json.
struct ConfigKeys {
  std::string_view hidden, ffn, layers, heads, kv_heads, head_dim, vocabulary, max_positions;
  std::string_view norm_epsilon, rope_theta, activation, attention_bias, ffn_bias, tied;
};

/// Names of the tensors, without ".weight" and ".bias"; those of a block follow `layer` and its number and a dot.
struct TensorNames {
  std::string_view embedding, layer, final_norm, head;
  std::string_view attention_norm, q, k, v, o;
  std::string_view ffn_norm, gate, up, down;
  std::string_view derived;  ///< suffix of stored tensors that are computed here instead
};

struct Architecture {
  std::string_view model_type;       ///< "model_type" of config.json
  std::string_view class_name;       ///< the one of "architectures" that is a language model
  std::string_view activation_name;  ///< how config.json spells `activation`
  decltype(&rms_norm) norm;
  decltype(&rope) positions;
  decltype(&silu_multiply) activation;
  ConfigKeys keys;
  TensorNames names;
};

inline constexpr std::array kArchitectures{
    Architecture{
        .model_type = "llama",
        .class_name = "LlamaForCausalLM",
        .activation_name = "silu",
        .norm = &rms_norm,
        .positions = &rope,
        .activation = &silu_multiply,
        .keys = {.hidden = "hidden_size",
                 .ffn = "intermediate_size",
                 .layers = "num_hidden_layers",
                 .heads = "num_attention_heads",
                 .kv_heads = "num_key_value_heads",
                 .head_dim = "head_dim",
                 .vocabulary = "vocab_size",
                 .max_positions = "max_position_embeddings",
                 .norm_epsilon = "rms_norm_eps",
                 .rope_theta = "rope_theta",
                 .activation = "hidden_act",
                 .attention_bias = "attention_bias",
                 .ffn_bias = "mlp_bias",
                 .tied = "tie_word_embeddings"},
        .names = {.embedding = "model.embed_tokens",
                  .layer = "model.layers.",
                  .final_norm = "model.norm",
                  .head = "lm_head",
                  .attention_norm = "input_layernorm",
                  .q = "self_attn.q_proj",
                  .k = "self_attn.k_proj",
                  .v = "self_attn.v_proj",
                  .o = "self_attn.o_proj",
                  .ffn_norm = "post_attention_layernorm",
                  .gate = "mlp.gate_proj",
                  .up = "mlp.up_proj",
                  .down = "mlp.down_proj",
                  .derived = ".rotary_emb.inv_freq"},
    },
};

/// The family that a config.json names by its "model_type"; null where it is none of the list.
[[nodiscard]] const Architecture* find_architecture(const io::Json& config) noexcept;

/// Matrices that engines join into one, because they read the same input: q, k and v, gate and up. What such a tensor
/// shares with the others of its layer is the same text for all of them; empty for every other tensor.
[[nodiscard]] std::string joined_with(std::string_view tensor);

/// The shape of one model.
struct ModelConfig {
  const Architecture* architecture = &kArchitectures[0];
  std::size_t hidden = 0;
  std::size_t ffn = 0;
  std::size_t layers = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;  ///< divides `heads`; head h reads keys and values of h / (heads / kv_heads)
  std::size_t head_dim = 0;  ///< even
  std::size_t vocabulary = 0;
  std::size_t max_positions = 0;  ///< what the model was trained for; a limit of quality, not of forward()
  float norm_epsilon = 0;
  double rope_theta = 0;
  bool attention_bias = false;  ///< on q, k, v and o
  bool ffn_bias = false;        ///< on gate, up and down
  bool tied = false;            ///< the head is the embedding

  [[nodiscard]] std::size_t q_width() const noexcept { return heads * head_dim; }
  [[nodiscard]] std::size_t kv_width() const noexcept { return kv_heads * head_dim; }
};

/// Reads a config.json. Whatever in it would change results in a way that forward() does not compute is an error.
/// Errors: bad_config (a key is missing, of the wrong type or impossible), unsupported (valid, but another family,
/// activation, position scheme or attention).
[[nodiscard]] Result<ModelConfig> read_model_config(const io::Json& config, const Where& where = {});

}  // namespace kvant::nn
