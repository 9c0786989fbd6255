// SPDX-License-Identifier: Apache-2.0
// A random little Llama, as a folder and as the double-precision reference of the same weights.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/numeric/formats.hpp"
#include "reference/llama_reference.hpp"

namespace kvant::nn::test {

struct Tensor {
  std::vector<std::uint64_t> shape;
  std::vector<float> values;
};

/// What a checkpoint folder is written from. Tests change it before they write it.
struct TinyModel {
  std::size_t hidden = 24, ffn = 20, layers = 2, heads = 4, kv_heads = 2, head_dim = 6, vocabulary = 37;
  bool tied = true;
  bool biases = false;
  io::Json config;
  std::map<std::string, Tensor> tensors;
  DType dtype = DType::f32;

  TinyModel() { build(); }
  TinyModel(bool is_tied, bool has_biases, std::size_t kv, std::size_t words = 37)
      : kv_heads(kv), vocabulary(words), tied(is_tied), biases(has_biases) {
    build();
  }

  /// Writes model.safetensors and config.json. With DType::bf16 the values must be bfloat16 already.
  void write(const io::test::TemporaryFolder& folder) const {
    std::vector<io::TensorSpec> specs;
    for (const auto& [name, tensor] : tensors) specs.push_back({name, dtype, tensor.shape});
    auto writer = io::SafetensorsWriter::create(folder / "model.safetensors", specs, {}, io::OutputMode::replace);
    ASSERT_TRUE(writer) << describe(writer.error());
    for (const auto& [name, tensor] : tensors) {
      std::vector<std::uint16_t> halves;
      for (const float v : tensor.values) halves.push_back(bf16::encode(v));
      const auto bytes =
          dtype == DType::bf16 ? std::as_bytes(std::span(halves)) : std::as_bytes(std::span(tensor.values));
      ASSERT_TRUE(writer->write(name, 0, bytes));
    }
    ASSERT_TRUE(writer->commit());
    folder.write("config.json", io::to_text(config));
  }

  /// The model that the folder holds now.
  static Result<Model> load(const io::test::TemporaryFolder& folder, const Context& context = {}) {
    const auto weights = io::Weights::open(folder.path());
    if (!weights) return propagate(weights);
    return Model::load(*weights, context);
  }
  [[nodiscard]] Result<Model> write_and_load() const {
    const io::test::TemporaryFolder folder;
    write(folder);
    return load(folder);
  }

  [[nodiscard]] reference::Llama to_reference() const {
    reference::Llama llama{hidden, ffn, layers, heads, kv_heads, head_dim, vocabulary, 1e-5, 10000, {}};
    for (const auto& [name, tensor] : tensors)
      llama.tensors[name] = reference::Vector(tensor.values.begin(), tensor.values.end());
    return llama;
  }

  [[nodiscard]] std::vector<std::int32_t> random_ids(std::size_t count) const {
    std::mt19937 engine(7);
    std::vector<std::int32_t> ids(count);
    for (std::int32_t& id : ids) id = static_cast<std::int32_t>(engine() % vocabulary);
    return ids;
  }

 private:
  void build() {
    config.set("model_type", "llama")
        .set("hidden_size", hidden)
        .set("intermediate_size", ffn)
        .set("num_hidden_layers", layers)
        .set("num_attention_heads", heads)
        .set("num_key_value_heads", kv_heads)
        .set("head_dim", head_dim)
        .set("vocab_size", vocabulary)
        .set("max_position_embeddings", 512)
        .set("rms_norm_eps", 1e-5)
        .set("tie_word_embeddings", tied)
        .set("attention_bias", biases)
        .set("mlp_bias", biases);
    matrix("model.embed_tokens", vocabulary, hidden, false);
    for (std::size_t i = 0; i < layers; ++i) {
      const std::string block = "model.layers." + std::to_string(i) + ".";
      vector(block + "input_layernorm.weight", hidden, 1);
      matrix(block + "self_attn.q_proj", heads * head_dim, hidden, biases);
      matrix(block + "self_attn.k_proj", kv_heads * head_dim, hidden, biases);
      matrix(block + "self_attn.v_proj", kv_heads * head_dim, hidden, biases);
      matrix(block + "self_attn.o_proj", hidden, heads * head_dim, biases);
      vector(block + "post_attention_layernorm.weight", hidden, 1);
      matrix(block + "mlp.gate_proj", ffn, hidden, biases);
      matrix(block + "mlp.up_proj", ffn, hidden, biases);
      matrix(block + "mlp.down_proj", hidden, ffn, biases);
    }
    vector("model.norm.weight", hidden, 1);
    if (!tied) matrix("lm_head", vocabulary, hidden, false);
  }

  float random(float center, float spread) {
    return center + spread * (static_cast<float>(engine_() >> 8) * 0x1p-23f - 1);
  }
  void vector(const std::string& name, std::size_t size, float center) {
    Tensor& t = tensors[name];
    t.shape = {size};
    for (std::size_t i = 0; i < size; ++i) t.values.push_back(random(center, 0.5f));
  }
  void matrix(const std::string& stem, std::size_t rows, std::size_t cols, bool bias) {
    Tensor& t = tensors[stem + ".weight"];
    t.shape = {rows, cols};
    const float spread = 2 / std::sqrt(static_cast<float>(cols));
    for (std::size_t i = 0; i < rows * cols; ++i) t.values.push_back(random(0, spread));
    if (bias) vector(stem + ".bias", rows, 0);
  }

  std::mt19937 engine_{1};
};

/// The logits of all ids, handed over in pieces of these sizes (all at once where there are none).
inline Matrix<float> logits_of(const Model& model, std::span<const std::int32_t> ids, const Context& context = {},
                               const std::vector<std::size_t>& pieces = {}) {
  Matrix<float> logits(ids.size(), model.config().vocabulary);
  auto cache = KvCache::make(model.config(), ids.size());
  EXPECT_TRUE(cache);
  std::size_t first = 0;
  for (const std::size_t piece : pieces.empty() ? std::vector{ids.size()} : pieces) {
    const Status s = model.forward(ids.subspan(first, piece), *cache, logits.view().rows(first, piece), context);
    EXPECT_TRUE(s) << describe(s.error());
    first += piece;
  }
  EXPECT_EQ(first, ids.size());
  EXPECT_EQ(cache->length(), ids.size());
  return logits;
}

inline std::vector<float> values_of(const Matrix<float>& m) { return {m.data(), m.data() + m.size()}; }

}  // namespace kvant::nn::test
