// SPDX-License-Identifier: Apache-2.0
// Decoders of GPT-2's kind and its contemporaries': norms with bias, plain feed-forward layers, learned positions,
// rotary ones of a part of the head, or ALiBi.
#include <array>
#include <bit>
#include <cmath>

#include "decoder.hpp"
#include "kvant/nn/families.hpp"
#include "kvant/numeric/formats.hpp"

namespace kvant::nn {
namespace {

constexpr std::string_view kHidden = "transformer.h.";

/// Under GPT-2's own names of sizes.
Sizes gpt2_sizes(ConfigReader& c) {
  Sizes s;
  s.hidden = c.size("n_embd");
  s.layers = c.parts("n_layer");
  s.heads = s.kv_heads = c.parts("n_head");
  s.vocabulary = c.size("vocab_size");
  s.positions = c.size("n_positions");
  s.ffn = c.size("n_inner", 4 * s.hidden);
  if (s.hidden % s.heads != 0) c.bad("n_embd", "is no multiple of \"n_head\"");
  s.head_dim = std::max<std::size_t>(1, s.hidden / s.heads);
  return s;
}

/// Layers whose rows are q, k and v of one head after the other.
Qkv qkv_by_heads(Decoder& d, std::string_view stem, bool bias) {
  const std::size_t width = d.s.head_dim;
  const Slice all = d.b.buffer("qkv", 3 * d.s.heads * width);
  d.b.linear(d.h, all, stem, {.bias = bias});
  const auto part = [&](std::size_t i) { return Slice{all.buffer, i * width, d.s.heads, 3 * width, width}; };
  return {part(0), part(1), part(2)};
}

void gpt2(ConfigReader& c, StepBuilder& b) {
  const Sizes s = gpt2_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_epsilon", 1e-5), .bias = true};
  const Activation act = c.activation("activation_function", "gelu_new");
  const bool scaled = c.flag("scale_attn_weights", true);
  const bool by_layer = c.flag("scale_attn_by_inverse_layer_idx");
  c.require_flag("add_cross_attention", false);
  const Slice inner = b.buffer("up", s.ffn);
  d.embed("transformer.wte");
  d.add_rows("transformer.wpe", s.positions, Embed::Key::position, 0);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kHidden, i);
    d.norm("ln_1");
    const Qkv qkv = d.fused_qkv(d.h, "attn.c_attn", true, true);
    const float scale = scaled ? 1 / std::sqrt(static_cast<float>(s.head_dim)) : 1;
    d.attend(qkv, {.scale = by_layer ? scale / static_cast<float>(i + 1) : scale});
    b.linear(d.a, d.x, "attn.c_proj", {.bias = true, .accumulate = true, .transposed = true});
    d.norm("ln_2");
    b.linear(d.h, inner, "mlp.c_fc", {.bias = true, .transposed = true});
    b.activate(inner, act);
    b.linear(inner, d.x, "mlp.c_proj", {.bias = true, .accumulate = true, .transposed = true});
  }
  d.finish("transformer.ln_f", "lm_head", c.flag("tie_word_embeddings", true));
}

void gptj(ConfigReader& c, StepBuilder& b) {
  const Sizes s = gpt2_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_epsilon", 1e-5), .bias = true};
  const Activation act = c.activation("activation_function", "gelu_new");
  Rope rotation;
  rotation.dims = c.size("rotary_dim", s.head_dim);
  if (rotation.dims % 2 != 0 || rotation.dims > s.head_dim) c.bad("rotary_dim", "is no even part of a head");
  const Rotation rope{b.rope(rotation), std::min(rotation.dims, s.head_dim)};
  d.embed("transformer.wte");
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kHidden, i);
    d.norm("ln_1");
    const Qkv qkv = d.qkv(d.h, "attn.", false);
    d.rotate(qkv, rope, true);
    d.attend(qkv);
    d.add_linear(d.a, "attn.out_proj");
    d.plain_ffn(d.h, "mlp.fc_in", "mlp.fc_out", act, true);
  }
  const bool tied = c.flag("tie_word_embeddings");
  d.finish("transformer.ln_f", "lm_head", tied, true);
  if (tied) c.unsupported("tie_word_embeddings", "false");
}

void gpt_neox(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_eps", 1e-5), .bias = true};
  const Activation act = c.activation("hidden_act", "gelu");
  const Rotation rope = d.rotation({c.number("rotary_emb_base", 10000.0), 0.25, "rotary_pct"});
  const bool bias = c.flag("attention_bias", true);
  const bool parallel = c.flag("use_parallel_residual", true);
  const Slice sum = b.buffer("sum", s.hidden);
  d.embed("gpt_neox.embed_in");
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block("gpt_neox.layers.", i);
    d.norm("input_layernorm");
    const Qkv qkv = qkv_by_heads(d, "attention.query_key_value", bias);
    d.rotate(qkv, rope);
    d.attend(qkv);
    if (parallel) {
      // Both halves read x as it was: what attention gives waits.
      b.linear(d.a, sum, "attention.dense", {.bias = bias});
      d.norm("post_attention_layernorm");
      d.plain_ffn(d.h, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", act, true);
      b.add_to(d.x, sum);
    } else {
      d.add_linear(d.a, "attention.dense", bias);
      d.norm("post_attention_layernorm");
      d.plain_ffn(d.h, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", act, true);
    }
  }
  d.finish("gpt_neox.final_layer_norm", "embed_out", c.flag("tie_word_embeddings"));
}

void opt(ConfigReader& c, StepBuilder& b) {
  Sizes s;
  s.hidden = c.size("hidden_size");
  s.layers = c.parts("num_hidden_layers");
  s.heads = s.kv_heads = c.parts("num_attention_heads");
  s.vocabulary = c.size("vocab_size");
  s.positions = c.size("max_position_embeddings");
  s.ffn = c.size("ffn_dim");
  if (s.hidden % s.heads != 0) c.bad("hidden_size", "is no multiple of \"num_attention_heads\"");
  s.head_dim = std::max<std::size_t>(1, s.hidden / s.heads);
  Decoder d(c, b, s);
  const bool affine = c.flag("layer_norm_elementwise_affine", true);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = 1e-5f, .weight = affine, .bias = affine};
  const Activation act = c.activation("activation_function", "relu");
  const bool bias = c.flag("enable_bias", true);
  const bool norm_first = c.flag("do_layer_norm_before", true);
  const bool last_norm = norm_first && !c.flag("_remove_final_layer_norm");
  constexpr std::size_t kOffset = 2;  // rows of the table that no position has
  const std::size_t width = c.size("word_embed_proj_dim", s.hidden);
  const bool projected = width != s.hidden;
  const Slice words = projected ? b.buffer("words", width) : d.x;
  d.table = b.embed("model.decoder.embed_tokens", s.vocabulary, words);
  if (projected) b.linear(words, d.x, "model.decoder.project_in");
  d.add_rows("model.decoder.embed_positions", s.positions + kOffset, Embed::Key::position, kOffset);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block("model.decoder.layers.", i);
    if (norm_first) d.norm("self_attn_layer_norm");
    const Qkv qkv = d.qkv(norm_first ? d.h : d.x, "self_attn.", bias);
    d.attend(qkv);
    d.add_linear(d.a, "self_attn.out_proj", bias);
    if (!norm_first) d.norm(d.x, d.x, "self_attn_layer_norm");
    if (norm_first) d.norm("final_layer_norm");
    d.plain_ffn(norm_first ? d.h : d.x, "fc1", "fc2", act, bias);
    if (!norm_first) d.norm(d.x, d.x, "final_layer_norm");
  }
  b.tail();
  Slice states = d.x;
  if (last_norm) {
    d.norm("model.decoder.final_layer_norm");
    states = d.h;
  }
  if (projected) {
    const Slice projected_states = b.buffer("states", width);
    b.linear(states, projected_states, "model.decoder.project_out");
    states = projected_states;
  } else if (!last_norm) {
    b.copy(d.x, d.h);
    states = d.h;
  }
  b.config().states = states.buffer;
  b.config().hidden = width;
  b.head();
  const Slice logits = b.buffer("logits", s.vocabulary);
  b.config().tied = c.flag("tie_word_embeddings", true);
  if (b.config().tied)
    b.add(Multiply{states, logits, d.table, 1, false});
  else
    b.linear(states, logits, "lm_head", {.role = Role::head});
}

// ---- ALiBi ----------------------------------------------------------------------------------------------------------

/// Slopes of Press et al. 2022 for the largest power of two up to `heads`, then every second one of twice as many.
std::vector<float> alibi_slopes(std::size_t heads) {
  const std::size_t whole = std::bit_floor(heads);
  std::vector<float> slopes;
  for (std::size_t i = 1; i <= whole; ++i)
    slopes.push_back(static_cast<float>(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(whole))));
  for (std::size_t i = 1; slopes.size() < heads; i += 2)
    slopes.push_back(static_cast<float>(std::exp2(-4.0 * static_cast<double>(i) / static_cast<double>(whole))));
  return slopes;
}

void bloom(ConfigReader& c, StepBuilder& b) {
  Sizes s;
  s.hidden = c.size(c.has("n_embed") ? "n_embed" : "hidden_size");
  s.layers = c.parts(c.has("n_layer") ? "n_layer" : "num_hidden_layers");
  s.heads = s.kv_heads = c.parts(c.has("n_head") ? "n_head" : "num_attention_heads");
  s.vocabulary = c.size("vocab_size");
  s.positions = c.size("seq_length", 2048);
  s.ffn = 4 * s.hidden;
  if (s.hidden % s.heads != 0) c.bad("n_head", "does not divide the hidden size");
  s.head_dim = std::max<std::size_t>(1, s.hidden / s.heads);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_epsilon", 1e-5), .bias = true};
  const bool normed_residual = c.flag("apply_residual_connection_post_layernorm");
  const auto slopes = alibi_slopes(s.heads);
  d.embed("transformer.word_embeddings");
  d.norm(d.x, d.x, "transformer.word_embeddings_layernorm");
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kHidden, i);
    d.norm("input_layernorm");
    if (normed_residual) b.copy(d.h, d.x);
    const Qkv qkv = qkv_by_heads(d, "self_attention.query_key_value", true);
    d.attend(qkv, {.slopes = slopes});
    d.add_linear(d.a, "self_attention.dense", true);
    d.norm("post_attention_layernorm");
    if (normed_residual) b.copy(d.h, d.x);
    d.plain_ffn(d.h, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", Activation::gelu_tanh, true);
  }
  d.finish("transformer.ln_f", "lm_head", c.flag("tie_word_embeddings", true));
}

/// Groups of query heads with their key and their value behind them.
Qkv qkv_by_groups(Decoder& d, std::string_view stem, bool bias) {
  const std::size_t width = d.s.head_dim;
  const std::size_t queries = d.s.heads / d.s.kv_heads;
  const std::size_t group = (queries + 2) * width;
  const Slice all = d.b.buffer("qkv", d.s.kv_heads * group);
  d.b.linear(d.h, all, stem, {.bias = bias});
  const Slice k{all.buffer, queries * width, d.s.kv_heads, group, width};
  const Slice v{all.buffer, (queries + 1) * width, d.s.kv_heads, group, width};
  if (d.s.kv_heads == 1) return {Slice{all.buffer, 0, queries, width, width}, k, v};
  const Slice q = d.b.buffer("q", d.s.heads * width);
  for (std::size_t g = 0; g < d.s.kv_heads; ++g)
    d.b.copy({all.buffer, g * group, queries, width, width},
             Slice{q.buffer, g * queries * width, queries, width, width});
  return {q.heads(width), k, v};
}

void falcon(ConfigReader& c, StepBuilder& b) {
  Sizes s;
  s.hidden = c.size("hidden_size");
  s.layers = c.parts(c.has("n_layer") ? "n_layer" : "num_hidden_layers");
  s.heads = c.parts(c.has("n_head") ? "n_head" : "num_attention_heads");
  s.vocabulary = c.size("vocab_size");
  s.positions = c.size("max_position_embeddings", 2048);
  s.ffn = c.size("ffn_hidden_size", 4 * s.hidden);
  if (s.hidden % s.heads != 0) c.bad("hidden_size", "is no multiple of the number of heads");
  s.head_dim = std::max<std::size_t>(1, s.hidden / s.heads);
  const bool grouped = c.flag("new_decoder_architecture");
  const bool single = c.flag("multi_query", true);
  s.kv_heads = grouped ? c.parts(c.has("n_head_kv") ? "n_head_kv" : "num_kv_heads", s.heads) : single ? 1 : s.heads;
  if (s.heads % s.kv_heads != 0) c.bad("num_kv_heads", "does not divide the number of heads");
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_epsilon", 1e-5), .bias = true};
  const bool bias = c.flag("bias");
  const bool parallel = c.flag("parallel_attn", true) || grouped;
  const bool two_norms = grouped && c.count("num_ln_in_parallel_attn", 2) == 2;
  const bool alibi = c.flag("alibi");
  const Activation act = c.activation("activation", "gelu");
  const float scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
  AttendOptions attention{.scale = scale};
  if (alibi)  // added before the scores are scaled
    for (const float slope : alibi_slopes(s.heads))
      attention.slopes.push_back(bf16::decode(bf16::encode(slope)) * scale);
  const Rotation rope = alibi ? Rotation{} : d.rotation();
  const Slice sum = b.buffer("sum", s.hidden);
  d.embed("transformer.word_embeddings");
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kHidden, i);
    d.norm(two_norms ? "ln_attn" : "input_layernorm");
    const std::string_view stem = "self_attention.query_key_value";
    const Qkv qkv = grouped || single ? qkv_by_groups(d, stem, bias) : qkv_by_heads(d, stem, bias);
    if (!alibi) d.rotate(qkv, rope);
    d.attend(qkv, attention);
    if (two_norms) {
      b.linear(d.a, sum, "self_attention.dense", {.bias = bias});
      d.norm("ln_mlp");
      d.plain_ffn(d.h, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", act, bias);
      b.add_to(d.x, sum);
    } else {
      d.add_linear(d.a, "self_attention.dense", bias);
      if (!parallel) d.norm("post_attention_layernorm");
      d.plain_ffn(d.h, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", act, bias);
    }
  }
  d.finish("transformer.ln_f", "lm_head", c.flag("tie_word_embeddings", true));
}

void mpt(ConfigReader& c, StepBuilder& b) {
  Sizes s;
  s.hidden = c.size("d_model");
  s.layers = c.parts("n_layers");
  s.heads = s.kv_heads = c.parts("n_heads");
  s.vocabulary = c.size("vocab_size");
  s.positions = c.size("max_seq_len");
  s.ffn = c.size("expansion_ratio", 4) * s.hidden;
  if (s.hidden % s.heads != 0) c.bad("d_model", "is no multiple of \"n_heads\"");
  s.head_dim = std::max<std::size_t>(1, s.hidden / s.heads);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_epsilon", 1e-5)};
  c.require_flag("no_bias", true);
  const io::Json none = io::Json::object();
  const io::Json* config = c.find("attn_config");
  ConfigReader inner(config != nullptr ? *config : none, c.where());
  inner.require_text("attn_type", "multihead_attention");
  inner.require_flag("alibi", true);
  inner.require_flag("qk_ln", false);
  inner.require_flag("prefix_lm", false);
  const double most = inner.number("alibi_bias_max", 8.0);
  const float clip = inner.has("clip_qkv") ? inner.real("clip_qkv") : 0;
  const float scale = inner.has("softmax_scale") ? inner.real("softmax_scale") : 0;
  if (inner.failed()) {
    Error error = inner.take_error();
    c.set_error(error.code, "in \"attn_config\": " + error.message);
  }
  // As many slopes as the next power of two; of more than there are heads, the odd ones first.
  const std::size_t whole = std::bit_ceil(s.heads);
  std::vector<float> all, slopes;
  for (std::size_t i = 1; i <= whole; ++i)
    all.push_back(static_cast<float>(std::exp2(-most * static_cast<double>(i) / static_cast<double>(whole))));
  if (whole == s.heads) slopes = all;
  for (std::size_t i = 1; slopes.size() < s.heads && i < whole; i += 2) slopes.push_back(all[i]);
  for (std::size_t i = 0; slopes.size() < s.heads && i < whole; i += 2) slopes.push_back(all[i]);
  d.embed("transformer.wte");
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block("transformer.blocks.", i);
    d.norm("norm_1");
    const Qkv qkv = d.fused_qkv(d.h, "attn.Wqkv", false);
    if (clip != 0)
      for (const Slice& part : {qkv.q, qkv.k, qkv.v}) b.add(Clamp{part, -clip, clip});
    d.attend(qkv, {.scale = scale, .slopes = slopes});
    d.add_linear(d.a, "attn.out_proj");
    d.norm("norm_2");
    d.plain_ffn(d.h, "ffn.up_proj", "ffn.down_proj", Activation::gelu, false);
  }
  d.finish("transformer.norm_f", "lm_head", c.flag("tie_word_embeddings", true));
}

constexpr std::array kFamilies{
    Family{"gpt2", "GPT2LMHeadModel", "scores scaled by layer", "transformer.", "lm_head", &gpt2},
    Family{"gptj", "GPTJForCausalLM", "partial rotation", "transformer.", "lm_head", &gptj},
    Family{"gpt_neox", "GPTNeoXForCausalLM", "parallel or sequential halves, partial rotation (Pythia)", "gpt_neox.",
           "embed_out", &gpt_neox},
    Family{"opt", "OPTForCausalLM", "norms before or behind, projected embeddings", "model.", "lm_head", &opt},
    Family{"bloom", "BloomForCausalLM", "ALiBi", "transformer.", "lm_head", &bloom},
    Family{"falcon", "FalconForCausalLM", "multi-query, grouped or plain heads; rotary or ALiBi; parallel halves",
           "transformer.", "lm_head", &falcon},
    Family{"mpt", "MptForCausalLM", "ALiBi, clipped q, k and v", "transformer.", "lm_head", &mpt},
};

}  // namespace

std::span<const Family> early_families() noexcept { return kFamilies; }

}  // namespace kvant::nn
