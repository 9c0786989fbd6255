// SPDX-License-Identifier: Apache-2.0
// Encoders of BERT's kind: attention looks both ways, and a head, where the checkpoint has one, guesses masked tokens.
// T5: an encoder whose states a decoder looks at.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "decoder.hpp"
#include "kvant/nn/families.hpp"

namespace kvant::nn {
namespace {

constexpr std::string_view kTied = "tie_word_embeddings";

/// What the layers of a block whose norms stand behind its halves are called.
struct BlockNames {
  std::string_view q, k, v, out, first_norm, up, down, second_norm;
};

void post_norm_block(Decoder& d, const BlockNames& names, Activation act, const AttendOptions& options) {
  const Qkv qkv = d.qkv(d.x, "", true, names.q, names.k, names.v);
  d.attend(qkv, options);
  d.add_linear(d.a, names.out, true);
  d.norm(d.x, d.x, names.first_norm);
  d.plain_ffn(d.x, names.up, names.down, act, true);
  d.norm(d.x, d.x, names.second_norm);
}

/// What the head for masked tokens is made of.
struct MaskedHead {
  std::string_view dense, norm, bias;  ///< of a layer, of its norm, of the embedding as the last layer; none: empty
  bool has_dense_bias = true;
  Activation act = Activation::gelu;
};

/// logits = norm(act(dense(states))) * embedding^T + bias, where the checkpoint has it.
void finish_with(Decoder& d, const MaskedHead& head) {
  ModelConfig& config = d.b.config();
  if (!d.b.is_stored(std::string(head.dense) + ".weight")) return;
  const Slice states = config.states == d.x.buffer ? d.x : d.h;
  const Slice inner = d.b.buffer("t", d.s.hidden);
  d.b.head();
  d.b.linear(states, inner, head.dense, {.bias = head.has_dense_bias, .role = Role::head});
  d.b.activate(inner, head.act);
  d.norm(inner, inner, head.norm);
  d.b.add(Multiply{inner, d.b.buffer("logits", d.s.vocabulary), d.table, 1, false});
  config.tied = true;
  d.c.require_flag(kTied, true);
  if (!head.bias.empty()) config.tensors[d.table].bias = d.b.vector(head.bias, {d.s.vocabulary}, Role::bias);
}

/// pooled = tanh(dense(the first token's state)), where the checkpoint has it.
void add_pooler(Decoder& d, std::string_view dense) {
  if (!d.b.is_stored(std::string(dense) + ".weight")) return;
  const Slice pooled = d.b.buffer("pooled", d.s.hidden);
  d.b.config().pooled = pooled.buffer;
  d.b.pooler();
  d.b.linear(d.x, pooled, dense, {.bias = true, .role = Role::head});
  d.b.activate(pooled, Activation::tanh);
}

/// Learned positions, the first of which is row `offset` of the table.
void add_positions(Decoder& d, std::string_view stem, std::size_t offset) {
  if (d.s.positions <= offset) d.c.bad("max_position_embeddings", "leaves no position beside those of padding");
  d.add_rows(stem, d.s.positions, Embed::Key::position, std::min(offset, d.s.positions - 1));
  d.b.config().max_positions = d.b.config().position_limit;
}

void refuse_decoders(ConfigReader& c) {
  c.require_flag("is_decoder", false);
  c.require_flag("add_cross_attention", false);
  c.require_text("position_embedding_type", "absolute");
}

// ---- BERT, RoBERTa, MPNet -------------------------------------------------------------------------------------------

constexpr BlockNames kBertBlock{
    "attention.self.query",       "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense",         "output.LayerNorm"};

/// Up to the last block; `base` is what names begin with.
void write_bert(Decoder& d, const std::string& base, std::size_t first_position, std::size_t types,
                const BlockNames& names, AttendOptions options) {
  const Activation act = d.c.activation("hidden_act", "gelu");
  d.norms = {.kind = Norm::Kind::layer, .epsilon = d.c.epsilon("layer_norm_eps", 1e-12), .bias = true};
  d.b.config().states = d.x.buffer;
  d.embed(base + "embeddings.word_embeddings");
  if (types != 0) d.add_rows(base + "embeddings.token_type_embeddings", types, Embed::Key::type);
  add_positions(d, base + "embeddings.position_embeddings", first_position);
  d.norm(d.x, d.x, base + "embeddings.LayerNorm");
  options.both_ways = true;
  for (std::size_t i = 0; i < d.s.layers; ++i) {
    d.block(base + "encoder.layer.", i);
    post_norm_block(d, names, act, options);
  }
}

void bert(ConfigReader& c, StepBuilder& b) {
  refuse_decoders(c);
  Decoder d(c, b, usual_sizes(c));
  write_bert(d, "bert.", 0, c.size("type_vocab_size", 2), kBertBlock, {});
  finish_with(d, {"cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias",
                  true, c.activation("hidden_act", "gelu")});
  add_pooler(d, "bert.pooler.dense");
  b.config().left_out = {"cls.predictions.decoder.bias", "cls.seq_relationship."};
}

void roberta(ConfigReader& c, StepBuilder& b) {
  refuse_decoders(c);
  Decoder d(c, b, usual_sizes(c));
  write_bert(d, "roberta.", c.count("pad_token_id", 1) + 1, c.size("type_vocab_size", 2), kBertBlock, {});
  finish_with(d, {"lm_head.dense", "lm_head.layer_norm", "lm_head.bias"});
  add_pooler(d, "roberta.pooler.dense");
  b.config().left_out = {"lm_head.decoder.bias"};
}

void mpnet(ConfigReader& c, StepBuilder& b) {
  constexpr BlockNames kNames{"attention.attn.q",    "attention.attn.k",   "attention.attn.v", "attention.attn.o",
                              "attention.LayerNorm", "intermediate.dense", "output.dense",     "output.LayerNorm"};
  Decoder d(c, b, usual_sizes(c));
  const std::size_t buckets = c.parts("relative_attention_num_buckets", 32);
  if (buckets < 4 || buckets / 4 >= 128) c.bad("relative_attention_num_buckets", "is not from 4 to 511");
  const TensorId table = b.vector("mpnet.encoder.relative_attention_bias.weight", {buckets, d.s.heads}, Role::other);
  write_bert(d, "mpnet.", 2, 0, kNames, {.distances = {table, buckets, 128}});
  finish_with(d, {"lm_head.dense", "lm_head.layer_norm", "lm_head.bias"});
  add_pooler(d, "mpnet.pooler.dense");
  b.config().left_out = {"lm_head.decoder.bias"};
}

// ---- DistilBERT -----------------------------------------------------------------------------------------------------

void distilbert(ConfigReader& c, StepBuilder& b) {
  constexpr BlockNames kNames{"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
                              "sa_layer_norm",   "ffn.lin1",        "ffn.lin2",        "output_layer_norm"};
  Sizes s;
  s.hidden = c.size("dim", 768);
  s.layers = c.parts("n_layers", 6);
  s.heads = s.kv_heads = c.parts("n_heads", 12);
  s.ffn = c.size("hidden_dim", 3072);
  s.positions = c.size("max_position_embeddings", 512);
  s.vocabulary = c.size("vocab_size");
  if (s.hidden % s.heads != 0) c.bad("dim", "is no multiple of \"n_heads\"");
  s.head_dim = std::max<std::size_t>(1, s.hidden / s.heads);
  Decoder d(c, b, s);
  const Activation act = c.activation("activation", "gelu");
  d.norms = {.kind = Norm::Kind::layer, .epsilon = 1e-12f, .bias = true};
  b.config().states = d.x.buffer;
  d.embed("distilbert.embeddings.word_embeddings");
  add_positions(d, "distilbert.embeddings.position_embeddings", 0);
  d.norm(d.x, d.x, "distilbert.embeddings.LayerNorm");
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block("distilbert.transformer.layer.", i);
    post_norm_block(d, kNames, act, {.both_ways = true});
  }
  finish_with(d, {"vocab_transform", "vocab_layer_norm", "vocab_projector.bias", true, act});
}

// ---- ModernBERT -----------------------------------------------------------------------------------------------------

/// Rotations of layers with and without a window.
struct ModernRopes {
  Rotation global, local;
};

ModernRopes modern_ropes(ConfigReader& c, StepBuilder& b, std::size_t dims) {
  if (c.has("rope_parameters")) c.unsupported("rope_parameters", "global_rope_theta and local_rope_theta");
  if (dims % 2 != 0) c.bad("hidden_size", "gives odd heads; positions rotate pairs of elements");
  Rope rope;
  rope.dims = dims;
  rope.theta = c.number("global_rope_theta", 160000.0);
  ModernRopes ropes;
  ropes.global = {b.rope(rope), dims};
  // Absent is not null here: null is the other layers' theta.
  const io::Json* local = c.json().find("local_rope_theta");
  if (local == nullptr || !local->is_null()) rope.theta = c.number("local_rope_theta", 10000.0);
  ropes.local = {b.rope(rope), dims};
  for (const Rope& r : b.config().ropes)
    if (!(r.theta > 0)) c.bad("global_rope_theta", "or \"local_rope_theta\" is not above 0");
  return ropes;
}

void modernbert(ConfigReader& c, StepBuilder& b) {
  const Sizes s = usual_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("norm_eps", 1e-5), .bias = c.flag("norm_bias")};
  const Activation act = c.activation("hidden_activation", "gelu");
  const bool bias = c.flag("attention_bias");
  const bool ffn_bias = c.flag("mlp_bias");
  const ModernRopes ropes = modern_ropes(c, b, s.head_dim);
  const std::size_t every = c.parts("global_attn_every_n_layers", 3);
  const std::size_t window = c.size("local_attention", 128) / 2 + 1;
  d.embed("model.embeddings.tok_embeddings");
  d.norm(d.x, d.x, "model.embeddings.norm");
  for (std::size_t i = 0; i < s.layers; ++i) {
    const bool is_global = i % every == 0;
    d.block("model.layers.", i);
    if (i != 0) d.norm("attn_norm");
    const Qkv qkv = d.fused_qkv(i != 0 ? d.h : d.x, "attn.Wqkv", bias);
    d.rotate(qkv, is_global ? ropes.global : ropes.local);
    d.attend(qkv, {.window = is_global ? 0 : window, .both_ways = true});
    d.add_linear(d.a, "attn.Wo", bias);
    d.norm("mlp_norm");
    d.fused_ffn(d.h, "mlp.Wi", "mlp.Wo", act, ffn_bias);
  }
  b.tail();
  d.norm("model.final_norm");
  finish_with(d, {"head.dense", "head.norm", c.flag("decoder_bias", true) ? "decoder.bias" : "",
                  c.flag("classifier_bias"), c.activation("classifier_activation", "gelu")});
}

// ---- Nomic's BERT ---------------------------------------------------------------------------------------------------

Sizes nomic_sizes(ConfigReader& c) {
  Sizes s;
  s.hidden = c.size("n_embd");
  s.layers = c.parts("n_layer");
  s.heads = s.kv_heads = c.parts("n_head");
  s.ffn = c.size("n_inner");
  s.positions = c.size("n_positions");
  s.vocabulary = c.size("vocab_size");
  if (s.hidden % s.heads != 0) c.bad("n_embd", "is no multiple of \"n_head\"");
  s.head_dim = std::max<std::size_t>(1, s.hidden / s.heads);
  return s;
}

Rope nomic_rope(ConfigReader& c, std::size_t dims, std::size_t positions) {
  Rope rope;
  rope.dims = dims;
  rope.theta = c.number("rotary_emb_base", 1000.0);
  if (!(rope.theta > 0)) c.bad("rotary_emb_base", "is not above 0");
  if (!c.has("rotary_scaling_factor")) return rope;
  rope.scaling = RopeScaling::dynamic;
  rope.factor = c.number("rotary_scaling_factor");
  if (!(rope.factor > 0)) c.bad("rotary_scaling_factor", "is not above 0");
  rope.original = c.size("max_trained_positions", positions);
  return rope;
}

void nomic_bert(ConfigReader& c, StepBuilder& b) {
  for (const std::string_view key :
       {"prenorm", "causal", "parallel_block", "use_rms_norm", "scale_attn_by_inverse_layer_idx"})
    c.require_flag(key, false);
  c.require_text("activation_function", "swiglu");
  if (c.count("moe_every_n_layers", 0) != 0) c.unsupported("moe_every_n_layers", "0");
  const Sizes s = nomic_sizes(c);
  Decoder d(c, b, s);
  d.norms = {.kind = Norm::Kind::layer, .epsilon = c.epsilon("layer_norm_epsilon", 1e-12), .bias = true};
  const std::size_t dims = rotated_dims(c, s.head_dim, 1, "rotary_emb_fraction");
  const Rotation rope{b.rope(nomic_rope(c, dims, s.positions)), dims};
  const bool interleaved = c.flag("rotary_emb_interleaved");
  const bool bias = c.flag("qkv_proj_bias");
  const bool up_bias = c.flag("mlp_fc1_bias");
  const Slice gate = b.buffer("gate", s.ffn);
  const Slice up = b.buffer("up", s.ffn);
  b.config().states = d.x.buffer;
  d.embed("embeddings.word_embeddings");
  if (const std::size_t types = c.count("type_vocab_size", 2); types != 0)
    d.add_rows("embeddings.token_type_embeddings", types, Embed::Key::type);
  d.norm(d.x, d.x, "emb_ln");
  for (std::size_t i = 0; i < s.layers; ++i) {
    d.block("encoder.layers.", i);
    const Qkv qkv = d.fused_qkv(d.x, "attn.Wqkv", bias);
    d.rotate(qkv, rope, interleaved);
    d.attend(qkv, {.both_ways = true});
    d.add_linear(d.a, "attn.out_proj", bias);
    d.norm(d.x, d.x, "norm1");
    b.linear(d.x, up, "mlp.fc11", {.bias = up_bias});
    b.linear(d.x, gate, "mlp.fc12", {.bias = up_bias});
    b.activate(gate, Activation::silu);
    b.gate(gate, up);
    d.add_linear(gate, "mlp.fc2", c.flag("mlp_fc2_bias"));
    d.norm(d.x, d.x, "norm2");
  }
}

// ---- T5 -------------------------------------------------------------------------------------------------------------

struct T5FeedForward {
  Activation act = Activation::relu;
  bool is_gated = false;
};

T5FeedForward t5_feed_forward(ConfigReader& c) {
  std::string name = c.text("feed_forward_proj", "relu");
  T5FeedForward result;
  result.is_gated = name.starts_with("gated-");
  if (result.is_gated) name.erase(0, std::string_view("gated-").size());
  if (result.is_gated && name == "gelu") name = "gelu_new";
  const auto act = activation_named(name);
  if (!act) c.unsupported("feed_forward_proj", "an activation, or \"gated-\" and one");
  result.act = act.value_or(Activation::relu);
  return result;
}

Sizes t5_sizes(ConfigReader& c) {
  Sizes s;
  s.hidden = c.size("d_model", 512);
  s.layers = c.parts("num_layers", 6);
  s.heads = s.kv_heads = c.parts("num_heads", 8);
  s.head_dim = c.size("d_kv", 64);
  s.ffn = c.size("d_ff", 2048);
  s.vocabulary = c.size("vocab_size");
  s.positions = c.size("n_positions", 512);
  return s;
}

/// x += attention to the side's own tokens, whose scores are not scaled.
void t5_attend(Decoder& d, AttendOptions options) {
  options.scale = 1;
  d.norm("layer.0.layer_norm");
  d.attend(d.qkv(d.h, "layer.0.SelfAttention.", false, "q", "k", "v"), options);
  d.add_linear(d.a, "layer.0.SelfAttention.o");
}

void t5_feed(Decoder& d, const std::string& stem, const T5FeedForward& feed) {
  const std::string dense = stem + "DenseReluDense.";
  d.norm(stem + "layer_norm");
  if (!feed.is_gated) return d.plain_ffn(d.h, dense + "wi", dense + "wo", feed.act, false);
  const Slice gate = d.b.buffer("gate", d.s.ffn);
  const Slice up = d.b.buffer("up", d.s.ffn);
  d.b.linear(d.h, gate, dense + "wi_0");
  d.b.linear(d.h, up, dense + "wi_1");
  d.b.activate(gate, feed.act);
  d.b.gate(gate, up);
  d.add_linear(gate, dense + "wo");
}

/// The table of one side, which all its blocks share.
Distances t5_distances(Decoder& d, const std::string& side) {
  Distances distances;
  distances.buckets = d.c.parts("relative_attention_num_buckets", 32);
  distances.farthest = d.c.parts("relative_attention_max_distance", 128);
  if (distances.buckets < 4) d.c.bad("relative_attention_num_buckets", "is below 4");
  if (distances.farthest <= distances.buckets / 2)
    d.c.bad("relative_attention_max_distance", "is not above half of \"relative_attention_num_buckets\"");
  distances.table = d.b.vector(side + ".block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                               {distances.buckets, d.s.heads}, Role::other);
  return distances;
}

/// What block i of the decoder calls its attention to the source.
constexpr std::string_view kCross = "layer.1.EncDecAttention.";
std::string cross_of(std::size_t i) { return "decoder.block." + std::to_string(i) + "." + std::string(kCross); }

/// The encoder, up to keys and values of each of the decoder's `layers`; where these are stored.
std::vector<std::size_t> write_t5_encoder(Decoder& d, std::size_t layers, const T5FeedForward& feed) {
  d.b.encoder_block("");
  d.embed("shared");
  const AttendOptions options{.both_ways = true, .of_source = true, .distances = t5_distances(d, "encoder")};
  for (std::size_t i = 0; i < d.s.layers; ++i) {
    d.b.encoder_block("encoder.block." + std::to_string(i) + ".");
    t5_attend(d, options);
    t5_feed(d, "layer.1.", feed);
  }
  d.b.encoder_block("");
  d.norm("encoder.final_layer_norm");
  const std::size_t width = d.s.heads * d.s.head_dim;
  const Slice k = d.b.buffer("k", width);
  const Slice v = d.b.buffer("v", width);
  std::vector<std::size_t> caches;
  for (std::size_t i = 0; i < layers; ++i) {
    caches.push_back(d.b.cache({d.s.heads, d.s.head_dim, d.s.head_dim, true}));
    d.b.linear(d.h, k, cross_of(i) + "k");
    d.b.linear(d.h, v, cross_of(i) + "v");
    d.b.add(StoreSource{k.heads(d.s.head_dim), v.heads(d.s.head_dim), caches.back()});
  }
  return caches;
}

/// x += attention to the source.
void t5_attend_source(Decoder& d, std::size_t cache) {
  const Slice q = d.b.buffer("q", d.s.heads * d.s.head_dim);
  const std::string stem(kCross);
  d.norm("layer.1.layer_norm");
  d.b.linear(d.h, q, stem + "q");
  d.b.add(AttendSource{q.heads(d.s.head_dim), d.a.heads(d.s.head_dim), cache, 1});
  d.add_linear(d.a, stem + "o");
}

void t5(ConfigReader& c, StepBuilder& b) {
  Decoder d(c, b, t5_sizes(c));
  d.norms = {.epsilon = c.epsilon("layer_norm_epsilon", 1e-6)};
  const std::size_t layers = c.parts("num_decoder_layers", d.s.layers);
  const T5FeedForward feed = t5_feed_forward(c);
  const std::vector<std::size_t> sources = write_t5_encoder(d, layers, feed);
  b.stem();
  b.add(Embed{d.table, d.x.buffer, Embed::Key::token, 0, 1});
  const AttendOptions options{.distances = t5_distances(d, "decoder")};
  for (std::size_t i = 0; i < layers; ++i) {
    d.block("decoder.block.", i);
    t5_attend(d, options);
    t5_attend_source(d, sources[i]);
    t5_feed(d, "layer.2.", feed);
  }
  d.finish("decoder.final_layer_norm", "lm_head", c.flag(kTied, true), false,
           1 / std::sqrt(static_cast<float>(d.s.hidden)));
  b.config().left_out = {"encoder.embed_tokens.", "decoder.embed_tokens.", cross_of(0) + "relative_attention_bias."};
}

constexpr std::array kFamilies{
    Family{"bert", "BertModel, BertForMaskedLM", "types of tokens; pooler, head for masked tokens", "bert.",
           "cls.predictions.decoder", &bert},
    Family{"roberta", "RobertaModel, RobertaForMaskedLM", "pooler, head for masked tokens", "roberta.",
           "lm_head.decoder", &roberta},
    Family{"distilbert", "DistilBertModel, DistilBertForMaskedLM", "head for masked tokens", "distilbert.",
           "vocab_projector", &distilbert},
    Family{"mpnet", "MPNetModel, MPNetForMaskedLM", "biases by distance; pooler, head for masked tokens", "mpnet.",
           "lm_head.decoder", &mpnet},
    Family{"modernbert", "ModernBertModel, ModernBertForMaskedLM",
           "windows to both sides, two thetas; biases, head for masked tokens", "model.", "decoder", &modernbert},
    Family{"nomic_bert", "NomicBertModel", "types of tokens, rotation stretched to the context", "", "", &nomic_bert},
    Family{"t5", "T5ForConditionalGeneration",
           "plain or gated feed-forward layers; biases by distance (T5 1.0 and 1.1)", "", "lm_head", &t5},
};

}  // namespace

std::span<const Family> encoder_families() noexcept { return kFamilies; }

}  // namespace kvant::nn
