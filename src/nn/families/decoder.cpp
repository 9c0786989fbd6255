// SPDX-License-Identifier: Apache-2.0
#include "decoder.hpp"

#include <cmath>

namespace kvant::nn {
namespace {

using io::Json;

const Json* member(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<RopeScaling> scaling_named(std::string_view name) {
  if (name == "su") return RopeScaling::longrope;  // its first name
  for (std::size_t i = 0; i < std::size(kRopeScalingNames); ++i)
    if (kRopeScalingNames[i] == name) return static_cast<RopeScaling>(i);
  return std::nullopt;
}

/// YaRN's factor of cosines and sines.
double yarn_magnitude(double factor, double strength) {
  return factor <= 1 ? 1 : 0.1 * strength * std::log(factor) + 1;
}

class RopeReader {
 public:
  RopeReader(ConfigReader& c, std::string_view key, const Json& json) : c_(c), key_(key), json_(json) {}

  void read(Rope& rope, std::size_t positions) {
    const Json* type = member(json_, "rope_type");
    if (type == nullptr) type = member(json_, "type");
    const std::string* name = type != nullptr ? type->as_string() : nullptr;
    const auto scaling = name != nullptr ? scaling_named(*name) : std::nullopt;
    if (!scaling) {
      c_.unsupported(key_, "null, or a rope_type of: default, linear, dynamic, llama3, yarn, longrope");
      return;
    }
    rope.scaling = *scaling;
    rope.original = size("original_max_position_embeddings", c_.size("original_max_position_embeddings", positions));
    rope.factor = *scaling == RopeScaling::none ? 1 : c_.number(json_, "factor", 1.0);
    switch (*scaling) {
      case RopeScaling::none:
      case RopeScaling::linear:
        break;
      case RopeScaling::dynamic:
        rope.original = positions;
        break;
      case RopeScaling::llama3:
        rope.low_frequency = c_.number(json_, "low_freq_factor");
        rope.high_frequency = c_.number(json_, "high_freq_factor");
        if (!(rope.high_frequency > rope.low_frequency)) c_.bad(key_, "has no high_freq_factor above low_freq_factor");
        break;
      case RopeScaling::yarn:
        read_yarn(rope);
        break;
      case RopeScaling::longrope:
        read_longrope(rope, positions);
        break;
    }
    if (!(rope.factor > 0)) c_.bad(key_, "has a factor that is not above 0");
  }

 private:
  std::size_t size(std::string_view key, std::size_t otherwise) {
    const Json* value = member(json_, key);
    if (value == nullptr) return otherwise;
    const auto n = value->as_uint64();
    if (n && *n >= 1 && *n <= INT32_MAX) return static_cast<std::size_t>(*n);
    c_.bad(key_, "has an " + std::string(key) + " that is no integer from 1 to 2^31 - 1");
    return otherwise;
  }

  void read_yarn(Rope& rope) {
    rope.fast = c_.number(json_, "beta_fast", 32.0);
    rope.slow = c_.number(json_, "beta_slow", 1.0);
    if (const Json* truncate = member(json_, "truncate")) rope.whole_dims = truncate->as_bool().value_or(true);
    const double strength = c_.number(json_, "mscale", 0.0);
    const double all = c_.number(json_, "mscale_all_dim", 0.0);
    const double usual = strength != 0 && all != 0
                             ? yarn_magnitude(rope.factor, strength) / yarn_magnitude(rope.factor, all)
                             : yarn_magnitude(rope.factor, 1);
    rope.magnitude = c_.number(json_, "attention_factor", usual);
  }

  void read_longrope(Rope& rope, std::size_t positions) {
    rope.short_factors = c_.numbers(json_, "short_factor");
    rope.long_factors = c_.numbers(json_, "long_factor");
    for (const auto* factors : {&rope.short_factors, &rope.long_factors})
      if (factors->size() != rope.dims / 2) c_.bad(key_, "has not one factor for each pair of rotated elements");
    if (c_.has("original_max_position_embeddings"))
      rope.factor = static_cast<double>(positions) / static_cast<double>(rope.original);
    const double usual =
        rope.factor <= 1 ? 1 : std::sqrt(1 + std::log(rope.factor) / std::log(static_cast<double>(rope.original)));
    rope.magnitude = c_.number(json_, "attention_factor", usual);
  }

  ConfigReader& c_;
  std::string_view key_;
  const Json& json_;
};

}  // namespace

Sizes usual_sizes(ConfigReader& c) {
  Sizes s;
  s.hidden = c.size("hidden_size");
  s.layers = c.parts("num_hidden_layers");
  s.heads = c.parts("num_attention_heads");
  s.kv_heads = c.parts("num_key_value_heads", s.heads);
  s.vocabulary = c.size("vocab_size");
  s.positions = c.size("max_position_embeddings");
  s.ffn = c.size("intermediate_size");
  if (!c.has("head_dim") && s.hidden % s.heads != 0)
    c.bad("hidden_size", "is no multiple of \"num_attention_heads\", and \"head_dim\" is missing");
  s.head_dim = c.size("head_dim", std::max<std::size_t>(1, s.hidden / s.heads));
  if (s.heads % s.kv_heads != 0) c.bad("num_key_value_heads", "does not divide \"num_attention_heads\"");
  return s;
}

std::size_t rotated_dims(ConfigReader& c, std::size_t head_dim, double otherwise, std::string_view key) {
  double factor = otherwise;
  for (const std::string_view place : {std::string_view("rope_parameters"), std::string_view("rope_scaling")})
    if (const Json* rope = c.find(place); rope != nullptr) factor = c.number(*rope, key, factor);
  factor = c.number(key, factor);
  const auto dims = static_cast<std::size_t>(std::max(0.0, static_cast<double>(head_dim) * factor));
  if (!(factor > 0 && factor <= 1) || dims == 0) {
    c.bad(key, "is no number above 0 and up to 1");
    return 2;
  }
  if (dims % 2 != 0)
    c.bad(factor < 1 ? key : std::string_view("head_dim"), "is odd; positions rotate pairs of elements");
  return dims + dims % 2;
}

Rope read_rope(ConfigReader& c, std::size_t dims, std::size_t positions, double default_theta) {
  Rope rope;
  rope.dims = dims;
  rope.theta = c.number("rope_theta", default_theta);
  for (const std::string_view key : {std::string_view("rope_scaling"), std::string_view("rope_parameters")}) {
    const Json* json = c.find(key);
    if (json == nullptr) continue;
    RopeReader(c, key, *json).read(rope, positions);
    if (member(*json, "rope_theta") == nullptr) continue;
    const double theta = c.number(*json, "rope_theta");
    if (c.has("rope_theta") && theta != rope.theta) c.bad("rope_theta", "differs from the one in " + in_quotes(key));
    rope.theta = theta;
  }
  if (!(rope.theta > 0)) c.bad("rope_theta", "is no finite number above 0");
  return rope;
}

std::vector<bool> sliding_layers(ConfigReader& c, std::size_t layers, const std::vector<bool>& otherwise) {
  const auto types = c.texts("layer_types");
  if (types.empty()) return otherwise;
  std::vector<bool> sliding;
  for (const std::string& type : types) {
    if (type != "sliding_attention" && type != "full_attention")
      c.unsupported("layer_types", "sliding_attention and full_attention");
    sliding.push_back(type == "sliding_attention");
  }
  if (sliding.size() != layers) c.bad("layer_types", "has not one entry for each layer");
  sliding.resize(layers);
  return sliding;
}

Decoder::Decoder(ConfigReader& reader, StepBuilder& builder, const Sizes& sizes)
    : c(reader),
      b(builder),
      s(sizes),
      x(b.buffer("x", s.hidden)),
      h(b.buffer("h", s.hidden)),
      a(b.buffer("a", s.heads * s.head_dim)) {
  ModelConfig& config = b.config();
  config.hidden = s.hidden;
  config.vocabulary = s.vocabulary;
  config.max_positions = s.positions;
  config.carried = x.buffer;
  config.states = h.buffer;
  config.logits = b.buffer("logits", s.vocabulary).buffer;
}

void Decoder::embed(std::string_view stem, float scale) { table = b.embed(stem, s.vocabulary, x, scale); }

void Decoder::add_rows(std::string_view stem, std::size_t rows, Embed::Key key, std::size_t offset) {
  const TensorId other = b.matrix(stem, rows, x.width, {.role = Role::embedding});
  b.add(Embed{other, h.buffer, key, offset, 1});
  b.add_to(x, h);
  if (key == Embed::Key::position)
    b.config().position_limit = rows - offset;
  else
    b.config().types = rows;
}

Qkv Decoder::qkv(Slice in, std::string_view stem, bool bias, std::string_view q, std::string_view k,
                 std::string_view v) {
  const std::size_t q_width = s.heads * s.head_dim;
  const std::size_t kv_width = s.kv_heads * s.head_dim;
  const Qkv all{b.buffer("q", q_width), b.buffer("k", kv_width), b.buffer("v", kv_width)};
  const std::string base(stem);
  b.linear(in, all.q, base + std::string(q), {.bias = bias});
  b.linear(in, all.k, base + std::string(k), {.bias = bias});
  b.linear(in, all.v, base + std::string(v), {.bias = bias});
  return {all.q.heads(s.head_dim), all.k.heads(s.head_dim), all.v.heads(s.head_dim)};
}

Qkv Decoder::fused_qkv(Slice in, std::string_view stem, bool bias, bool transposed) {
  const std::size_t q_width = s.heads * s.head_dim;
  const std::size_t kv_width = s.kv_heads * s.head_dim;
  const Slice all = b.buffer("qkv", q_width + 2 * kv_width);
  b.linear(in, all, stem, {.bias = bias, .transposed = transposed});
  return {all.part(0, q_width).heads(s.head_dim), all.part(q_width, kv_width).heads(s.head_dim),
          all.part(q_width + kv_width, kv_width).heads(s.head_dim)};
}

Rotation Decoder::rotation(const RotationDefaults& otherwise) {
  const std::size_t dims = rotated_dims(c, s.head_dim, otherwise.part, otherwise.part_key);
  return {b.rope(read_rope(c, dims, s.positions, otherwise.theta)), dims};
}

void Decoder::rotate(const Qkv& qkv, const Rotation& rotation, bool interleaved) {
  b.rotate(qkv.q.part(0, rotation.dims), rotation.rope, interleaved);
  b.rotate(qkv.k.part(0, rotation.dims), rotation.rope, interleaved);
}

void Decoder::attend(const Qkv& qkv, const AttendOptions& options) {
  Attend step;
  step.q = qkv.q;
  step.k = qkv.k;
  step.v = qkv.v;
  step.out = b.buffer("a", qkv.q.count * qkv.v.width).heads(qkv.v.width);
  a = b.buffer("a", qkv.q.count * qkv.v.width);
  const CacheShape shape{qkv.k.count, qkv.k.width, qkv.v.width, options.of_source};
  const auto& caches = b.config().caches;
  // Whole sequences leave nothing for later calls, so that one place serves all blocks.
  const bool is_shared = options.both_ways && !caches.empty() && caches.back() == shape;
  step.cache = is_shared ? caches.size() - 1 : b.cache(shape);
  step.scale = options.scale != 0 ? options.scale : 1.0f / std::sqrt(static_cast<float>(qkv.q.width));
  step.softcap = options.softcap;
  step.window = options.window;
  step.slopes = options.slopes;
  step.sinks = options.sinks;
  step.both_ways = options.both_ways;
  step.distances = options.distances;
  b.add(std::move(step));
}

void Decoder::add_linear(Slice in, std::string_view stem, bool bias, float scale) {
  b.linear(in, x, stem, {.bias = bias, .accumulate = true, .scale = scale});
}

void Decoder::gated_ffn_into(Slice in, Slice out, std::string_view stem, Activation act, const LinearOptions& down,
                             std::size_t width) {
  const Slice gate = b.buffer("gate", width);
  const Slice up = b.buffer("up", width);
  const std::string base(stem);
  b.linear(in, gate, base + "gate_proj", {.bias = down.bias});
  b.linear(in, up, base + "up_proj", {.bias = down.bias});
  b.activate(gate, act);
  b.gate(gate, up);
  b.linear(gate, out, base + "down_proj", down);
}

void Decoder::gated_ffn(Slice in, std::string_view stem, Activation act, bool bias, float scale) {
  gated_ffn_into(in, x, stem, act, {.bias = bias, .accumulate = true, .scale = scale}, s.ffn);
}

void Decoder::fused_ffn(Slice in, std::string_view up, std::string_view down, Activation act, bool bias) {
  const Slice both = b.buffer("gate_up", 2 * s.ffn);
  const Slice gate = both.part(0, s.ffn);
  b.linear(in, both, up, {.bias = bias});
  b.activate(gate, act);
  b.gate(gate, both.part(s.ffn, s.ffn));
  add_linear(gate, down, bias);
}

void Decoder::plain_ffn(Slice in, std::string_view up, std::string_view down, Activation act, bool bias) {
  const Slice inner = b.buffer("up", s.ffn);
  b.linear(in, inner, up, {.bias = bias});
  b.activate(inner, act);
  add_linear(inner, down, bias);
}

void Decoder::experts(Slice in, Slice out, std::string_view router, std::string_view stem, const ExpertLayers& layers) {
  const Slice scores = b.buffer("scores", layers.experts);
  const Slice inner = b.buffer("expert_in", in.width);
  const Slice gate = b.buffer("expert_gate", layers.width);
  const Slice up = b.buffer("expert_up", layers.width);
  const Slice outer = b.buffer("expert_out", out.width);
  b.linear(in, scores, router, {.role = Role::router});
  const auto first = static_cast<TensorId>(b.config().tensors.size());
  for (std::size_t e = 0; e < layers.experts && !b.is_full(); ++e) {
    const std::string base = std::string(stem) + std::to_string(e) + ".";
    b.matrix(base + std::string(layers.gate), layers.width, in.width, {});
    b.matrix(base + std::string(layers.up), layers.width, in.width, {});
    b.matrix(base + std::string(layers.down), out.width, layers.width, {});
  }
  Experts step;
  step.in = in.buffer;
  step.out = out.buffer;
  step.scores = scores.buffer;
  step.routing = layers.routing;
  step.experts = layers.experts;
  step.stride = 3;
  step.expert_in = inner.buffer;
  step.expert_out = outer.buffer;
  step.steps = b.nested([&] {
    b.add(Multiply{inner, gate, first, 1, false});
    b.add(Multiply{inner, up, first + 1, 1, false});
    b.activate(gate, layers.act);
    b.gate(gate, up);
    b.add(Multiply{gate, outer, first + 2, 1, false});
  });
  b.add(std::move(step));
}

void Decoder::finish(std::string_view norm_stem, std::string_view head_stem, bool tied, bool head_bias,
                     float tied_scale) {
  const Slice logits = b.buffer("logits", s.vocabulary);
  b.tail();
  norm(norm_stem);
  b.head();
  b.config().tied = tied;
  if (tied)
    b.add(Multiply{h, logits, table, tied_scale, false});
  else
    b.linear(h, logits, head_stem, {.bias = head_bias, .role = Role::head});
}

}  // namespace kvant::nn
