// SPDX-License-Identifier: Apache-2.0
// Decoders after Llama: rotary positions, mostly gated feed-forward layers, mostly norms by root mean square.
#include <array>
#include <cmath>

#include "decoder.hpp"
#include "kvant/nn/families.hpp"

namespace kvant::nn {
namespace {

/// A window under `key`: an explicit null is none, a missing key what transformers takes then.
std::size_t window_of(ConfigReader& c, std::size_t otherwise) {
  const io::Json* value = c.json().find("sliding_window");
  return value != nullptr && value->is_null() ? 0 : c.size("sliding_window", otherwise);
}

void llama(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps");
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const bool bias = c.flag("attention_bias");
  const bool ffn_bias = c.flag("mlp_bias");
  if (c.size("sliding_window", s.positions) < s.positions)
    c.unsupported("sliding_window", "null, or at least \"max_position_embeddings\"");
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.rotate(qkv, rope);
    d.attend(qkv);
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.norm(kSecondNorm);
    d.gated_ffn(d.h, "mlp.", act, ffn_bias);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

void mistral(ConfigReader& c, StepBuilder& b) {
  Sizes s = usual_sizes(c);
  if (c.json().find("num_key_value_heads") == nullptr) s.kv_heads = 8;
  if (s.heads % s.kv_heads != 0) c.bad("num_key_value_heads", "is missing, and 8 does not divide the heads");
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-6);
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const std::size_t window = window_of(c, 4096);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", false);
    d.rotate(qkv, rope);
    d.attend(qkv, {.window = window});
    d.add_linear(d.a, "self_attn.o_proj");
    d.norm(kSecondNorm);
    d.gated_ffn(d.h, "mlp.", act);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

void smollm3(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-6);
  const Rotation rope = d.rotation({.theta = 2e6});
  const Activation act = c.activation("hidden_act", "silu");
  const bool bias = c.flag("attention_bias");
  const bool ffn_bias = c.flag("mlp_bias");
  // Despite its name, 1 stands for a layer that is rotated.
  std::vector<std::size_t> rotated = c.sizes("no_rope_layers");
  const std::size_t interval = c.size("no_rope_layer_interval", 4);
  if (rotated.empty())
    for (std::size_t i = 0; i < s.layers; ++i) rotated.push_back((i + 1) % interval != 0 ? 1 : 0);
  if (rotated.size() != s.layers) c.bad("no_rope_layers", "has not one entry for each layer");
  rotated.resize(s.layers);
  const bool slides = c.flag("use_sliding_window");
  const std::size_t window = slides ? c.size("sliding_window") : 0;
  std::vector<bool> sliding(s.layers);
  for (std::size_t i = 0; i < s.layers; ++i) sliding[i] = slides && rotated[i] == 0;
  sliding = sliding_layers(c, s.layers, sliding);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    if (rotated[i] != 0) d.rotate(qkv, rope);
    d.attend(qkv, {.window = sliding[i] ? window : 0});
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.norm(kSecondNorm);
    d.gated_ffn(d.h, "mlp.", act, ffn_bias);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings", true));
}

/// Layers of Qwen's that slide: none, or those behind the first `max_window_layers`.
std::vector<std::size_t> qwen_windows(ConfigReader& c, std::size_t layers) {
  std::vector<bool> sliding(layers);
  const bool slides = c.flag("use_sliding_window");
  const std::size_t window = slides ? window_of(c, 4096) : 0;
  const std::size_t first = c.count("max_window_layers", 28);
  for (std::size_t i = 0; i < layers; ++i) sliding[i] = window != 0 && i >= first;
  sliding = sliding_layers(c, layers, sliding);
  std::vector<std::size_t> windows;
  for (std::size_t i = 0; i < layers; ++i) windows.push_back(sliding[i] ? window : 0);
  return windows;
}

void qwen2(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-6);
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const auto windows = qwen_windows(c, s.layers);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", true);
    d.rotate(qkv, rope);
    d.attend(qkv, {.window = windows[i]});
    d.add_linear(d.a, "self_attn.o_proj");
    d.norm(kSecondNorm);
    d.gated_ffn(d.h, "mlp.", act);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

void qwen3(ConfigReader& c, StepBuilder& b) {
  Sizes s = usual_sizes(c);
  s.head_dim = c.size("head_dim", 128);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-6);
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const bool bias = c.flag("attention_bias");
  const auto windows = qwen_windows(c, s.layers);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.norm(qkv.q, qkv.q, "self_attn.q_norm");
    d.norm(qkv.k, qkv.k, "self_attn.k_norm");
    d.rotate(qkv, rope);
    d.attend(qkv, {.window = windows[i]});
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.norm(kSecondNorm);
    d.gated_ffn(d.h, "mlp.", act);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

// ---- Gemma: embeddings times the root of their width, norms with 1 + weight -----------------------------------------

Decoder gemma_decoder(ConfigReader& c, StepBuilder& b, Sizes& s) {
  s.head_dim = c.size("head_dim", 256);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-6);
  d.norms.plus_one = true;
  d.embed(kEmbedding, std::sqrt(static_cast<float>(s.hidden)));
  return d;
}

void gemma(ConfigReader& c, StepBuilder& b) {
  Sizes s = usual_sizes(c);
  Decoder d = gemma_decoder(c, b, s);
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_activation", "gelu_pytorch_tanh");  // "hidden_act" is not looked at
  const bool bias = c.flag("attention_bias");
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.rotate(qkv, rope);
    d.attend(qkv);
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.norm(kSecondNorm);
    d.gated_ffn(d.h, "mlp.", act);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings", true));
}

/// Norms around both halves of a block; what they give is added to x.
void sandwich(Decoder& d, const Qkv& qkv, const AttendOptions& attention, Activation act, bool bias) {
  d.attend(qkv, attention);
  d.b.linear(d.a, d.h, "self_attn.o_proj", {.bias = bias});
  d.norm(d.h, d.h, kSecondNorm);
  d.b.add_to(d.x, d.h);
  d.norm("pre_feedforward_layernorm");
  d.gated_ffn_into(d.h, d.h, "mlp.", act, {}, d.s.ffn);
  d.norm(d.h, d.h, "post_feedforward_layernorm");
  d.b.add_to(d.x, d.h);
}

float root_of_query_scalar(ConfigReader& c) {
  const double scalar = c.number("query_pre_attn_scalar", 256.0);
  if (!(scalar > 0)) c.bad("query_pre_attn_scalar", "is no number above 0");
  return static_cast<float>(1 / std::sqrt(scalar));
}

/// A cap under `key`; an explicit null is none.
float cap_of(ConfigReader& c, std::string_view key, double otherwise) {
  const io::Json* value = c.json().find(key);
  return value != nullptr && value->is_null() ? 0.0f : c.real(key, otherwise);
}

void cap_logits(Decoder& d, float cap) {
  if (cap != 0) d.b.add(Softcap{d.b.buffer("logits", d.s.vocabulary), cap});
}

void gemma2(ConfigReader& c, StepBuilder& b) {
  Sizes s = usual_sizes(c);
  Decoder d = gemma_decoder(c, b, s);
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_activation", "gelu_pytorch_tanh");
  const bool bias = c.flag("attention_bias");
  const std::size_t window = window_of(c, 4096);
  const float scale = root_of_query_scalar(c);
  const float softcap = cap_of(c, "attn_logit_softcapping", 50);
  std::vector<bool> sliding(s.layers);
  for (std::size_t i = 0; i < s.layers; ++i) sliding[i] = i % 2 == 0;
  sliding = sliding_layers(c, s.layers, sliding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.rotate(qkv, rope);
    sandwich(d, qkv, {.scale = scale, .softcap = softcap, .window = sliding[i] ? window : 0}, act, bias);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings", true));
  cap_logits(d, cap_of(c, "final_logit_softcapping", 30));
}

void gemma3(ConfigReader& c, StepBuilder& b) {
  Sizes s = usual_sizes(c);
  Decoder d = gemma_decoder(c, b, s);
  const Rotation global = d.rotation({.theta = 1e6});
  Rope plain;
  plain.dims = global.dims;
  plain.theta = c.number("rope_local_base_freq", 10000.0);
  const Rotation local{b.rope(plain), plain.dims};
  const Activation act = c.activation("hidden_activation", "gelu_pytorch_tanh");
  const bool bias = c.flag("attention_bias");
  const std::size_t window = window_of(c, 4096);
  const float scale = root_of_query_scalar(c);
  const float softcap = cap_of(c, "attn_logit_softcapping", 0);
  const std::size_t pattern = c.size("sliding_window_pattern", 6);
  std::vector<bool> sliding(s.layers);
  for (std::size_t i = 0; i < s.layers; ++i) sliding[i] = (i + 1) % pattern != 0;
  sliding = sliding_layers(c, s.layers, sliding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.norm(qkv.q, qkv.q, "self_attn.q_norm");
    d.norm(qkv.k, qkv.k, "self_attn.k_norm");
    d.rotate(qkv, sliding[i] ? local : global);
    sandwich(d, qkv, {.scale = scale, .softcap = softcap, .window = sliding[i] ? window : 0}, act, bias);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings", true));
  cap_logits(d, cap_of(c, "final_logit_softcapping", 0));
}

void phi3(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-5);
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const std::size_t window = window_of(c, 0);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.fused_qkv(d.h, "self_attn.qkv_proj", false);
    d.rotate(qkv, rope);
    d.attend(qkv, {.window = window});
    d.add_linear(d.a, "self_attn.o_proj");
    d.norm(kSecondNorm);
    d.fused_ffn(d.h, "mlp.gate_up_proj", "mlp.down_proj", act);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

// ---- OLMo -----------------------------------------------------------------------------------------------------------

void olmo(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = 1e-5f, .weight = false};
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const bool bias = c.flag("attention_bias");
  const float clip = cap_of(c, "clip_qkv", 0);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    if (clip != 0)
      for (const Slice& part : {qkv.q, qkv.k, qkv.v}) b.add(Clamp{part, -clip, clip});
    d.rotate(qkv, rope);
    d.attend(qkv);
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.norm(kSecondNorm);
    d.gated_ffn(d.h, "mlp.", act);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

void olmo2(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-5);
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const bool bias = c.flag("attention_bias");
  const Slice q = b.buffer("q", s.heads * s.head_dim);
  const Slice k = b.buffer("k", s.kv_heads * s.head_dim);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    const Qkv qkv = d.qkv(d.x, "self_attn.", bias);
    d.norm(q, q, "self_attn.q_norm");
    d.norm(k, k, "self_attn.k_norm");
    d.rotate(qkv, rope);
    d.attend(qkv);
    b.linear(d.a, d.h, "self_attn.o_proj", {.bias = bias});
    d.norm(d.h, d.h, kSecondNorm);
    b.add_to(d.x, d.h);
    d.gated_ffn_into(d.x, d.h, "mlp.", act, {}, s.ffn);
    d.norm(d.h, d.h, "post_feedforward_layernorm");
    b.add_to(d.x, d.h);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

void granite(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-6);
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const bool bias = c.flag("attention_bias");
  const bool ffn_bias = c.flag("mlp_bias");
  const float scale = c.real("attention_multiplier", 1.0);
  const float residual = c.real("residual_multiplier", 1.0);
  const float divisor = c.real("logits_scaling", 1.0);
  if (divisor == 0) c.bad("logits_scaling", "is 0");
  d.embed(kEmbedding, c.real("embedding_multiplier", 1.0));
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.rotate(qkv, rope);
    d.attend(qkv, {.scale = scale});
    d.add_linear(d.a, "self_attn.o_proj", bias, residual);
    d.norm(kSecondNorm);
    d.gated_ffn(d.h, "mlp.", act, ffn_bias, residual);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
  b.add(Scale{b.buffer("logits", s.vocabulary), 1 / divisor, 0});
}

// ---- one norm for both halves of a block, which run beside each other
// ------------------------------------------------

void cohere(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_eps", 1e-5)};
  NormOptions heads = d.norms;
  heads.per_head = true;
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const bool bias = c.flag("attention_bias");
  const bool head_norms = c.flag("use_qk_norm");
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    if (head_norms) {
      b.norm(qkv.q, qkv.q, "self_attn.q_norm", heads);
      b.norm(qkv.k, qkv.k, "self_attn.k_norm", heads);
    }
    d.rotate(qkv, rope, true);
    d.attend(qkv);
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.gated_ffn(d.h, "mlp.", act);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings", true));
  b.add(Scale{b.buffer("logits", s.vocabulary), c.real("logit_scale", 0.0625), 0});
}

void cohere2(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_eps", 1e-5)};
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "silu");
  const bool bias = c.flag("attention_bias");
  const std::size_t window = window_of(c, 4096);
  const std::size_t pattern = c.size("sliding_window_pattern", 4);
  std::vector<bool> sliding(s.layers);
  for (std::size_t i = 0; i < s.layers; ++i) sliding[i] = (i + 1) % pattern != 0;
  sliding = sliding_layers(c, s.layers, sliding);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    if (sliding[i]) d.rotate(qkv, rope, true);
    d.attend(qkv, {.window = sliding[i] ? window : 0});
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.gated_ffn(d.h, "mlp.", act);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings", true));
  b.add(Scale{b.buffer("logits", s.vocabulary), c.real("logit_scale", 0.0625), 0});
}

/// Heads with a norm each, which are stored one by one.
void norm_heads(Decoder& d, Slice heads, const std::string& stem) {
  NormOptions options = d.norms;
  options.bias = false;
  for (std::size_t i = 0; i < heads.count; ++i) {
    const Slice one{heads.buffer, heads.first + i * heads.stride, 1, heads.width, heads.width};
    d.b.norm(one, one, stem + std::to_string(i), options);
  }
}

void stablelm(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_eps", 1e-5), .bias = true};
  const Rotation rope = d.rotation({.part = 0.25});
  const Activation act = c.activation("hidden_act", "silu");
  const bool bias = c.flag("use_qkv_bias");
  const bool head_norms = c.flag("qk_layernorm");
  const bool parallel = c.flag("use_parallel_residual");
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    if (head_norms) {
      norm_heads(d, qkv.q, "self_attn.q_layernorm.norms.");
      norm_heads(d, qkv.k, "self_attn.k_layernorm.norms.");
    }
    d.rotate(qkv, rope);
    d.attend(qkv);
    d.add_linear(d.a, "self_attn.o_proj");
    if (!parallel) d.norm(kSecondNorm);
    d.gated_ffn(d.h, "mlp.", act);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

void phi(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_eps", 1e-5), .bias = true};
  const Rotation rope = d.rotation({.part = 0.5});
  const Activation act = c.activation("hidden_act", "gelu_new");
  const bool head_norms = c.flag("qk_layernorm");
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", true);
    if (head_norms) {
      d.norm(qkv.q, qkv.q, "self_attn.q_layernorm");
      d.norm(qkv.k, qkv.k, "self_attn.k_layernorm");
    }
    d.rotate(qkv, rope);
    d.attend(qkv);
    d.add_linear(d.a, "self_attn.dense", true);
    d.plain_ffn(d.h, "mlp.fc1", "mlp.fc2", act, true);
  }
  d.finish("model.final_layernorm", kHead, c.flag("tie_word_embeddings"), true);
}

void starcoder2(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("norm_epsilon", 1e-5), .bias = true};
  const Rotation rope = d.rotation();
  const Activation act = c.activation("hidden_act", "gelu_pytorch_tanh");
  const bool bias = c.flag("use_bias", true);
  const std::size_t window = window_of(c, 0);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.rotate(qkv, rope);
    d.attend(qkv, {.window = window});
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.norm(kSecondNorm);
    d.plain_ffn(d.h, "mlp.c_fc", "mlp.c_proj", act, bias);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings", true));
}

constexpr std::array kFamilies{
    Family{"llama", "LlamaForCausalLM", "biases; rope_scaling linear, dynamic, llama3, yarn, longrope", "model.",
           "lm_head", &llama},
    Family{"mistral", "MistralForCausalLM", "sliding window", "model.", "lm_head", &mistral},
    Family{"smollm3", "SmolLM3ForCausalLM", "layers without positions; biases, sliding window", "model.", "lm_head",
           &smollm3},
    Family{"qwen2", "Qwen2ForCausalLM", "sliding window by layer; rope_scaling", "model.", "lm_head", &qwen2},
    Family{"qwen3", "Qwen3ForCausalLM", "biases, sliding window by layer; rope_scaling", "model.", "lm_head", &qwen3},
    Family{"gemma", "GemmaForCausalLM", "biases", "model.", "lm_head", &gemma},
    Family{"gemma2", "Gemma2ForCausalLM", "soft caps, sliding window by layer", "model.", "lm_head", &gemma2},
    Family{"gemma3_text", "Gemma3ForCausalLM", "sliding window by layer, two thetas; rope_scaling", "model.", "lm_head",
           &gemma3},
    Family{"phi3", "Phi3ForCausalLM", "partial rotation, longrope, sliding window (Phi-3, Phi-3.5, Phi-4)", "model.",
           "lm_head", &phi3},
    Family{"olmo", "OlmoForCausalLM", "clipped q, k and v", "model.", "lm_head", &olmo},
    Family{"olmo2", "Olmo2ForCausalLM", "norms behind both halves", "model.", "lm_head", &olmo2},
    Family{"granite", "GraniteForCausalLM", "four multipliers; biases", "model.", "lm_head", &granite},
    Family{"cohere", "CohereForCausalLM", "norms of heads; biases", "model.", "lm_head", &cohere},
    Family{"cohere2", "Cohere2ForCausalLM", "sliding window by layer, positions only there", "model.", "lm_head",
           &cohere2},
    Family{"stablelm", "StableLmForCausalLM", "partial rotation; biases, norms of heads, parallel halves", "model.",
           "lm_head", &stablelm},
    Family{"phi", "PhiForCausalLM", "partial rotation; norms of heads (Phi-1, Phi-2)", "model.", "lm_head", &phi},
    Family{"starcoder2", "Starcoder2ForCausalLM", "sliding window; with and without biases", "model.", "lm_head",
           &starcoder2},
};

}  // namespace

std::span<const Family> dense_families() noexcept { return kFamilies; }

}  // namespace kvant::nn
