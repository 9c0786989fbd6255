// SPDX-License-Identifier: Apache-2.0
// Mixtures of experts.
#include <array>
#include <cmath>

#include "decoder.hpp"
#include "kvant/nn/families.hpp"

namespace kvant::nn {
namespace {

/// An error unless so many experts can be chosen of so many.
void check_choice(ConfigReader& c, std::string_view key, std::size_t chosen, std::size_t experts) {
  if (chosen > experts) c.bad(key, "is more than there are experts");
}

void mixtral(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-5);
  const Rotation rope = d.rotation({.theta = 1e6});
  const std::size_t window = c.count("sliding_window", 0);
  ExpertLayers layers{c.parts("num_local_experts", 8), s.ffn, c.activation("hidden_act", "silu"), {}, "w1", "w3", "w2"};
  layers.routing.chosen = c.size("num_experts_per_tok", 2);
  layers.routing.normalized = true;
  check_choice(c, "num_experts_per_tok", layers.routing.chosen, layers.experts);
  const Slice mixed = b.buffer("mixed", s.hidden);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", false);
    d.rotate(qkv, rope);
    d.attend(qkv, {.window = window});
    d.add_linear(d.a, "self_attn.o_proj");
    d.norm(kSecondNorm);
    d.experts(d.h, mixed, "block_sparse_moe.gate", "block_sparse_moe.experts.", layers);
    b.add_to(d.x, mixed);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

/// Layers of Qwen's that are mixtures: every n-th, except those that are named dense.
std::vector<bool> qwen_mixtures(ConfigReader& c, std::size_t layers) {
  const std::size_t step = c.size("decoder_sparse_step", 1);
  std::vector<bool> mixture(layers);
  for (std::size_t i = 0; i < layers; ++i) mixture[i] = (i + 1) % step == 0;
  for (const std::size_t i : c.sizes("mlp_only_layers"))
    if (i < layers) mixture[i] = false;
  return mixture;
}

ExpertLayers qwen_experts(ConfigReader& c, std::size_t experts, std::size_t chosen, std::size_t width) {
  ExpertLayers layers{
      c.parts("num_experts", experts), c.size("moe_intermediate_size", width), c.activation("hidden_act", "silu"), {}};
  layers.routing.chosen = c.size("num_experts_per_tok", chosen);
  layers.routing.normalized = c.flag("norm_topk_prob");
  check_choice(c, "num_experts_per_tok", layers.routing.chosen, layers.experts);
  return layers;
}

void qwen2_moe(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-6);
  const Rotation rope = d.rotation();
  const ExpertLayers layers = qwen_experts(c, 60, 4, 1408);
  const std::size_t shared_width = c.size("shared_expert_intermediate_size", 5632);
  const bool bias = c.flag("qkv_bias", true);
  c.require_flag("use_sliding_window", false);
  const auto mixture = qwen_mixtures(c, s.layers);
  const Slice mixed = b.buffer("mixed", s.hidden);
  const Slice shared = b.buffer("shared", s.hidden);
  const Slice share = b.buffer("share", 1);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.rotate(qkv, rope);
    d.attend(qkv);
    d.add_linear(d.a, "self_attn.o_proj");
    d.norm(kSecondNorm);
    if (!mixture[i]) {
      d.gated_ffn(d.h, "mlp.", layers.act);
      continue;
    }
    d.experts(d.h, mixed, "mlp.gate", "mlp.experts.", layers);
    d.gated_ffn_into(d.h, shared, "mlp.shared_expert.", layers.act, {}, shared_width);
    b.linear(d.h, share, "mlp.shared_expert_gate", {.role = Role::router});
    b.activate(share, Activation::sigmoid);
    b.gate(shared, share);
    b.add_to(mixed, shared);
    b.add_to(d.x, mixed);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

void qwen3_moe(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-6);
  const Rotation rope = d.rotation();
  const ExpertLayers layers = qwen_experts(c, 128, 8, 768);
  const bool bias = c.flag("attention_bias");
  const std::size_t window = c.flag("use_sliding_window") ? c.size("sliding_window", 4096) : 0;
  const auto mixture = qwen_mixtures(c, s.layers);
  const Slice mixed = b.buffer("mixed", s.hidden);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.norm(qkv.q, qkv.q, "self_attn.q_norm");
    d.norm(qkv.k, qkv.k, "self_attn.k_norm");
    d.rotate(qkv, rope);
    d.attend(qkv, {.window = window});
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.norm(kSecondNorm);
    if (!mixture[i]) {
      d.gated_ffn(d.h, "mlp.", layers.act);
      continue;
    }
    d.experts(d.h, mixed, "mlp.gate", "mlp.experts.", layers);
    b.add_to(d.x, mixed);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

void olmoe(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-5);
  const Rotation rope = d.rotation();
  const bool bias = c.flag("attention_bias");
  const float clip = c.has("clip_qkv") ? c.real("clip_qkv") : 0;
  ExpertLayers layers{c.parts("num_experts", 64), s.ffn, c.activation("hidden_act", "silu"), {}};
  layers.routing.chosen = c.size("num_experts_per_tok", 8);
  layers.routing.normalized = c.flag("norm_topk_prob");
  check_choice(c, "num_experts_per_tok", layers.routing.chosen, layers.experts);
  const Slice q = b.buffer("q", s.heads * s.head_dim);
  const Slice k = b.buffer("k", s.kv_heads * s.head_dim);
  const Slice mixed = b.buffer("mixed", s.hidden);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.norm(q, q, "self_attn.q_norm");
    d.norm(k, k, "self_attn.k_norm");
    if (clip != 0)
      for (const Slice& part : {qkv.q, qkv.k, qkv.v}) b.add(Clamp{part, -clip, clip});
    d.rotate(qkv, rope);
    d.attend(qkv);
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.norm(kSecondNorm);
    d.experts(d.h, mixed, "mlp.gate", "mlp.experts.", layers);
    b.add_to(d.x, mixed);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

// ---- gpt-oss: experts in stacks [experts, in, out], gate and up interleaved -----------------------------------------

void stacked_experts(Decoder& d, Slice out, const ExpertLayers& layers, float limit) {
  StepBuilder& b = d.b;
  const std::size_t hidden = d.s.hidden;
  const Slice scores = b.buffer("scores", layers.experts);
  const Slice inner = b.buffer("expert_in", hidden);
  const Slice both = b.buffer("expert_gate_up", 2 * layers.width);
  const Slice gate = b.buffer("expert_gate", layers.width);
  const Slice up{both.buffer, 1, layers.width, 2, 1};
  const Slice outer = b.buffer("expert_out", hidden);
  b.linear(d.h, scores, "mlp.router", {.bias = true, .role = Role::router});
  const auto first = static_cast<TensorId>(b.config().tensors.size());
  const auto member = [&](std::string_view stem, std::size_t rows, std::size_t cols, std::size_t e) {
    TensorUse bias{b.name(std::string(stem) + "_bias"), {rows}, Role::bias, false, kNoTensor, layers.experts, e};
    const TensorId id = b.tensor(std::move(bias));
    b.tensor({b.name(stem), {rows, cols}, Role::linear, true, id, layers.experts, e});
  };
  for (std::size_t e = 0; e < layers.experts && !b.is_full(); ++e) {
    member("mlp.experts.gate_up_proj", 2 * layers.width, hidden, e);
    member("mlp.experts.down_proj", hidden, layers.width, e);
  }
  Experts step;
  step.in = d.h.buffer;
  step.out = out.buffer;
  step.scores = scores.buffer;
  step.routing = layers.routing;
  step.experts = layers.experts;
  step.stride = 4;
  step.expert_in = inner.buffer;
  step.expert_out = outer.buffer;
  step.steps = b.nested([&] {
    b.add(Multiply{inner, both, first + 1, 1, false});
    b.copy({both.buffer, 0, layers.width, 2, 1}, gate.heads(1));
    if (limit != 0) {
      b.add(Clamp{gate, -INFINITY, limit});
      b.add(Clamp{up, -limit, limit});
    }
    b.activate(gate, layers.act);
    b.add(Scale{up, 1, 1});
    b.gate(gate.heads(1), up);
    b.add(Multiply{gate, outer, first + 3, 1, false});
  });
  b.add(std::move(step));
}

void gpt_oss(ConfigReader& c, StepBuilder& b) {
  Sizes s = usual_sizes(c);
  s.head_dim = c.size("head_dim", 64);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-5);
  const Rotation rope = d.rotation({.theta = 150000});
  const bool bias = c.flag("attention_bias", true);
  c.require_text("hidden_act", "silu");
  ExpertLayers layers{c.parts("num_local_experts", 128), s.ffn, Activation::quick_gelu, {}};
  layers.routing.chosen = c.size(c.has("num_experts_per_tok") ? "num_experts_per_tok" : "experts_per_token", 4);
  layers.routing.softmax_of_chosen = true;
  check_choice(c, "num_experts_per_tok", layers.routing.chosen, layers.experts);
  const float limit = c.real("swiglu_limit", 7.0);
  const std::size_t window = c.size("sliding_window", 128);
  std::vector<bool> sliding(s.layers);
  for (std::size_t i = 0; i < s.layers; ++i) sliding[i] = i % 2 == 0;
  sliding = sliding_layers(c, s.layers, sliding);
  const Slice mixed = b.buffer("mixed", s.hidden);
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    const Qkv qkv = d.qkv(d.h, "self_attn.", bias);
    d.rotate(qkv, rope);
    d.attend(qkv, {.window = sliding[i] ? window : 0, .sinks = b.vector("self_attn.sinks", {s.heads}, Role::other)});
    d.add_linear(d.a, "self_attn.o_proj", bias);
    d.norm(kSecondNorm);
    stacked_experts(d, mixed, layers, limit);
    b.add_to(d.x, mixed);
  }
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

// ---- DeepSeek: latent attention, grouped routing, shared experts ----------------------------------------------------

/// Sizes of multi-head latent attention.
struct Latent {
  explicit Latent(ConfigReader& c)
      : q_rank(c.count("q_lora_rank", 0)),
        kv_rank(c.size("kv_lora_rank", 512)),
        nope(c.size("qk_nope_head_dim", 128)),
        rope(c.size("qk_rope_head_dim", 64)),
        value(c.size("v_head_dim", 128)) {
    if (rope % 2 != 0) c.bad("qk_rope_head_dim", "is odd; positions rotate pairs of elements");
  }
  std::size_t q_rank, kv_rank, nope, rope, value;
};

/// q and k are heads of [without position, rotated]; the rotated part of k is one for all heads. Keys and values are
/// kept as heads, not as the latent vector that they are made of.
void latent_attention(Decoder& d, const Latent& m, std::size_t rope, bool interleaved, bool bias, float scale) {
  StepBuilder& b = d.b;
  NormOptions latent_norms = d.norms;
  latent_norms.epsilon = 1e-6f;  // whatever the configuration says
  const std::size_t heads = d.s.heads;
  const std::size_t width = m.nope + m.rope;
  const Slice q = b.buffer("q", heads * width);
  const Slice k = b.buffer("k", heads * width);
  const Slice latent = b.buffer("kv_latent", m.kv_rank + m.rope);
  const Slice normed = b.buffer("kv_normed", m.kv_rank);
  const Slice kv = b.buffer("kv", heads * (m.nope + m.value));
  if (m.q_rank != 0) {
    const Slice q_latent = b.buffer("q_latent", m.q_rank);
    b.linear(d.h, q_latent, "self_attn.q_a_proj", {.bias = bias});
    b.norm(q_latent, q_latent, "self_attn.q_a_layernorm", latent_norms);
    b.linear(q_latent, q, "self_attn.q_b_proj");
  } else {
    b.linear(d.h, q, "self_attn.q_proj");
  }
  b.linear(d.h, latent, "self_attn.kv_a_proj_with_mqa", {.bias = bias});
  b.norm(latent.part(0, m.kv_rank), normed, "self_attn.kv_a_layernorm", latent_norms);
  b.linear(normed, kv, "self_attn.kv_b_proj");
  const Slice rotated = latent.part(m.kv_rank, m.rope);
  b.rotate(q.heads(width).part(m.nope, m.rope), rope, interleaved);
  b.rotate(rotated, rope, interleaved);
  const Slice parts = kv.heads(m.nope + m.value);
  b.copy(parts.part(0, m.nope), k.heads(width).part(0, m.nope));
  b.copy(rotated, k.heads(width).part(m.nope, m.rope));
  d.attend({q.heads(width), k.heads(width), parts.part(m.nope, m.value)}, {.scale = scale});
  d.add_linear(d.a, "self_attn.o_proj", bias);
}

/// What YaRN of DeepSeek's makes of the scale of scores.
float latent_scale(ConfigReader& c, const Latent& m) {
  const double plain = 1 / std::sqrt(static_cast<double>(m.nope + m.rope));
  const io::Json* rope = c.find("rope_scaling");
  if (rope == nullptr) return static_cast<float>(plain);
  const double strength = c.number(*rope, "mscale_all_dim", 0.0);
  const double factor = c.number(*rope, "factor", 1.0);
  const double magnitude = strength == 0 || factor <= 1 ? 1 : 0.1 * strength * std::log(factor) + 1;
  return static_cast<float>(plain * magnitude * magnitude);
}

Sizes deepseek_sizes(ConfigReader& c) {
  Sizes s;
  s.hidden = c.size("hidden_size");
  s.layers = c.parts("num_hidden_layers");
  s.heads = s.kv_heads = c.parts("num_attention_heads");
  s.vocabulary = c.size("vocab_size");
  s.positions = c.size("max_position_embeddings");
  s.ffn = c.size("intermediate_size");
  s.head_dim = c.size("v_head_dim", 128);
  return s;
}

struct DeepseekChoice {
  ExpertLayers layers;
  std::size_t shared = 0;  ///< experts that every token goes through, as one of their widths together
  std::size_t first_mixture = 0;
  bool correction = false;
};

void deepseek(ConfigReader& c, StepBuilder& b, const DeepseekChoice& choice) {
  const Sizes s = deepseek_sizes(c);
  Decoder d(c, b, s);
  d.norms.epsilon = c.epsilon("rms_norm_eps", 1e-6);
  const Latent m(c);
  const float scale = latent_scale(c, m);
  const std::size_t rope = b.rope(read_rope(c, m.rope + m.rope % 2, s.positions));
  const bool bias = c.flag("attention_bias");
  const bool interleaved = c.flag("rope_interleave", true);
  const Slice mixed = b.buffer("mixed", s.hidden);
  check_choice(c, "num_experts_per_tok", choice.layers.routing.chosen, choice.layers.experts);
  if (choice.layers.experts % choice.layers.routing.groups != 0) c.bad("n_group", "does not divide the experts");
  if (choice.layers.routing.chosen_groups > choice.layers.routing.groups) c.bad("topk_group", "is above \"n_group\"");
  d.embed(kEmbedding);
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block(kLayers, i);
    d.norm(kFirstNorm);
    latent_attention(d, m, rope, interleaved, bias, scale);
    d.norm(kSecondNorm);
    if (i < choice.first_mixture) {
      d.gated_ffn(d.h, "mlp.", choice.layers.act);
      continue;
    }
    ExpertLayers layers = choice.layers;
    if (choice.correction)
      layers.routing.correction = b.vector("mlp.gate.e_score_correction_bias", {layers.experts}, Role::bias);
    d.experts(d.h, mixed, "mlp.gate", "mlp.experts.", layers);
    if (choice.shared != 0)
      d.gated_ffn_into(d.h, d.x, "mlp.shared_experts.", layers.act, {.accumulate = true}, choice.shared * layers.width);
    b.add_to(d.x, mixed);
  }
  // Layers behind the last one guess further tokens.
  for (std::size_t i = 0; i < std::min(c.count("num_nextn_predict_layers", 0), kMostParts); ++i)
    b.config().left_out.push_back(std::string(kLayers) + std::to_string(s.layers + i) + ".");
  d.finish(kLastNorm, kHead, c.flag("tie_word_embeddings"));
}

DeepseekChoice deepseek_choice(ConfigReader& c) {
  DeepseekChoice choice;
  choice.layers = {
      c.parts("n_routed_experts", 64), c.size("moe_intermediate_size", 1407), c.activation("hidden_act", "silu"), {}};
  choice.layers.routing.chosen = c.size("num_experts_per_tok", 8);
  choice.layers.routing.scale = c.real("routed_scaling_factor", 1.0);
  choice.shared = c.count("n_shared_experts", 0);
  choice.first_mixture = c.count("first_k_dense_replace", 0);
  if (c.size("moe_layer_freq", 1) != 1) c.unsupported("moe_layer_freq", "1");
  return choice;
}

void deepseek_v2(ConfigReader& c, StepBuilder& b) {
  DeepseekChoice choice = deepseek_choice(c);
  const std::string method = c.text("topk_method", "greedy");
  c.require_text("scoring_func", "softmax");
  if (method == "group_limited_greedy") {
    choice.layers.routing.groups = c.size("n_group", 1);
    choice.layers.routing.chosen_groups = c.size("topk_group", 1);
  } else if (method != "greedy") {
    c.unsupported("topk_method", "greedy or group_limited_greedy");
  }
  c.require_flag("norm_topk_prob", false);
  deepseek(c, b, choice);
}

void deepseek_v3(ConfigReader& c, StepBuilder& b) {
  DeepseekChoice choice = deepseek_choice(c);
  choice.correction = true;
  choice.layers.routing.scores = Routing::Scores::sigmoid;
  choice.layers.routing.groups = c.size("n_group", 8);
  choice.layers.routing.chosen_groups = c.size("topk_group", 4);
  choice.layers.routing.best_of_group = 2;
  choice.layers.routing.normalized = c.flag("norm_topk_prob", true);
  deepseek(c, b, choice);
}

constexpr std::array kFamilies{
    Family{"mixtral", "MixtralForCausalLM", "sliding window", "model.", "lm_head", &mixtral},
    Family{"qwen2_moe", "Qwen2MoeForCausalLM", "a shared expert, dense layers between", "model.", "lm_head",
           &qwen2_moe},
    Family{"qwen3_moe", "Qwen3MoeForCausalLM", "norms of heads, dense layers between", "model.", "lm_head", &qwen3_moe},
    Family{"olmoe", "OlmoeForCausalLM", "norms of q and k; clipped q, k and v", "model.", "lm_head", &olmoe},
    Family{"gpt_oss", "GptOssForCausalLM", "sinks, sliding window by layer, experts in stacks", "model.", "lm_head",
           &gpt_oss},
    Family{"deepseek_v2", "DeepseekV2ForCausalLM", "latent attention, with and without q's; greedy or by groups",
           "model.", "lm_head", &deepseek_v2},
    Family{"deepseek_v3", "DeepseekV3ForCausalLM", "latent attention, routing by groups with a correction", "model.",
           "lm_head", &deepseek_v3},
};

}  // namespace

std::span<const Family> expert_families() noexcept { return kFamilies; }

}  // namespace kvant::nn
