// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/model.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <tuple>

#include "kvant/io/stored_weight.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/quant/encode.hpp"
#include "reference/executors.hpp"
#include "tiny_model.hpp"

namespace kvant::nn {
namespace {

using test::logits_of;
using test::TinyModel;
using test::values_of;

/// Roundings of float32 that a logit goes through one after the other, each relative to no more than the largest logit.
double tolerance(const TinyModel& m, std::size_t positions, double largest) {
  const std::size_t per_layer = 3 * m.hidden + m.ffn + m.heads * m.head_dim + m.head_dim + positions + 40;
  return static_cast<double>(m.layers * per_layer + 2 * m.hidden) * 0x1p-24 * largest;
}

void expect_near_reference(const Matrix<float>& logits, const TinyModel& source, std::span<const std::int32_t> ids) {
  const auto expected = source.to_reference().logits(ids);
  double largest = 0;
  for (const auto& row : expected)
    for (const double v : row) largest = std::max(largest, std::abs(v));
  ASSERT_GT(largest, 1);
  for (std::size_t t = 0; t < ids.size(); ++t)
    for (std::size_t i = 0; i < source.vocabulary; ++i)
      ASSERT_NEAR(static_cast<double>(logits(t, i)), expected[t][i], tolerance(source, ids.size(), largest))
          << "position " << t << ", token " << i;
}

/// Tied, biases, key and value heads.
class ModelForward : public testing::TestWithParam<std::tuple<bool, bool, std::size_t>> {};

TEST_P(ModelForward, AgreesWithTheDoubleReference) {
  const auto [tied, biases, kv_heads] = GetParam();
  const TinyModel source(tied, biases, kv_heads);
  const auto model = source.write_and_load();
  ASSERT_TRUE(model) << describe(model.error());
  const auto ids = source.random_ids(40);
  expect_near_reference(logits_of(*model, ids), source, ids);
}

INSTANTIATE_TEST_SUITE_P(Parts, ModelForward,
                         testing::Combine(testing::Bool(), testing::Bool(), testing::Values(1u, 2u, 4u)));

class ModelOfTwoLayers : public testing::Test {
 protected:
  TinyModel source_;
  Result<Model> model_ = source_.write_and_load();
  std::vector<std::int32_t> ids_ = source_.random_ids(300);  // more than go through the layers at once
};

TEST_F(ModelOfTwoLayers, GivesTheSameLogitsForAllTokensAtOnceOrOneByOne) {
  ASSERT_TRUE(model_);
  const auto at_once = values_of(logits_of(*model_, ids_));
  EXPECT_EQ(at_once, values_of(logits_of(*model_, ids_, {}, std::vector<std::size_t>(300, 1))));
  EXPECT_EQ(at_once, values_of(logits_of(*model_, ids_, {}, {17, 1, 270, 12})));
}

TEST_F(ModelOfTwoLayers, GivesTheSameLogitsForAnyExecutor) {
  ASSERT_TRUE(model_);
  const auto serial = values_of(logits_of(*model_, ids_));
  reference::ShuffledExecutor shuffled;
  EXPECT_EQ(serial, values_of(logits_of(*model_, ids_, Context(kernels::generic::kTable, shuffled))));
  reference::ThreadedExecutor threads(3);
  EXPECT_EQ(serial, values_of(logits_of(*model_, ids_, Context(kernels::generic::kTable, threads))));
}

TEST_F(ModelOfTwoLayers, GivesTheSameLogitsOnTheFastTier) {
  ASSERT_TRUE(model_);
  EXPECT_EQ(values_of(logits_of(*model_, ids_)), values_of(logits_of(*model_, ids_, runtime())));
}

TEST_F(ModelOfTwoLayers, GivesTheLastLogitsAloneOnRequest) {
  ASSERT_TRUE(model_);
  const auto all = logits_of(*model_, ids_);
  auto cache = KvCache::make(model_->config(), ids_.size());
  Matrix<float> last(1, source_.vocabulary);
  ASSERT_TRUE(model_->forward(ids_, *cache, last.view(), {}));
  EXPECT_TRUE(std::ranges::equal(last.row(0), all.row(ids_.size() - 1)));
}

TEST_F(ModelOfTwoLayers, StartsAfreshInAClearedCache) {
  ASSERT_TRUE(model_);
  const auto expected = values_of(logits_of(*model_, std::span(ids_).first(20)));
  auto cache = KvCache::make(model_->config(), 50);
  Matrix<float> logits(50, source_.vocabulary);
  ASSERT_TRUE(model_->forward(std::span(ids_).last(50), *cache, logits.view(), {}));
  cache->clear();
  ASSERT_TRUE(model_->forward(std::span(ids_).first(20), *cache, logits.view().rows(0, 20), {}));
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), logits.data()));
}

TEST_F(ModelOfTwoLayers, RefusesCallsThatDoNotFitAndLeavesTheCacheAlone) {
  ASSERT_TRUE(model_);
  auto cache = KvCache::make(model_->config(), 4);
  Matrix<float> logits(5, source_.vocabulary);
  const std::vector<std::int32_t> ids{1, 2, 3, 4, 5};
  const auto code = [&](std::span<const std::int32_t> some, KvCache& c, MatrixView<float> out) {
    return io::test::code_of(model_->forward(some, c, out, {}));
  };
  EXPECT_EQ(code({}, *cache, logits.view()), "usage");
  EXPECT_EQ(code(std::vector<std::int32_t>{0, -1}, *cache, logits.view().rows(0, 2)), "usage");
  EXPECT_EQ(code(std::vector<std::int32_t>{37, 0}, *cache, logits.view().rows(0, 2)), "usage");
  EXPECT_EQ(code(std::span(ids).first(3), *cache, logits.view().rows(0, 2)), "bad_shape");
  EXPECT_EQ(code(std::span(ids).first(3), *cache, {logits.data(), 3, 36}), "bad_shape");
  EXPECT_EQ(code(ids, *cache, logits.view()), "limit");
  ModelConfig other = model_->config();
  for (CacheShape& shape : other.caches) shape.heads = 4;
  auto foreign = KvCache::make(other, 4);
  EXPECT_EQ(code(std::span(ids).first(1), *foreign, logits.view().rows(0, 1)), "usage");
  EXPECT_EQ(cache->length(), 0u);
  EXPECT_EQ(code(std::span(ids).first(3), *cache, logits.view().rows(0, 3)), "success");
  EXPECT_EQ(code(std::span(ids).first(2), *cache, logits.view().rows(0, 2)), "limit");
  EXPECT_EQ(cache->length(), 3u);
}

TEST(Model, KeepsBfloat16WeightsAndAgreesWithTheReference) {
  TinyModel source(false, true, 2);
  source.dtype = DType::bf16;
  for (auto& [name, tensor] : source.tensors)
    for (float& v : tensor.values) v = bf16::decode(bf16::encode(v));
  const auto model = source.write_and_load();
  ASSERT_TRUE(model) << describe(model.error());
  const auto ids = source.random_ids(40);
  expect_near_reference(logits_of(*model, ids), source, ids);
  std::size_t elements = 0;
  for (const auto& [name, tensor] : source.tensors) elements += tensor.values.size();
  EXPECT_EQ(model->weight_bytes(), 2 * elements);
  for (const LayerInfo& layer : model->layers()) EXPECT_EQ(to_text(layer.scheme), "bf16") << layer.name;
}

TEST(Model, ListsItsMatricesOnce) {
  const auto names = [](const Result<Model>& model) {
    std::vector<std::string> all;
    for (const LayerInfo& layer : model->layers()) all.push_back(layer.name);
    return all;
  };
  const auto tied = TinyModel(true, false, 2).write_and_load();
  const auto untied = TinyModel(false, false, 2).write_and_load();
  ASSERT_TRUE(tied && untied);
  auto expected = names(tied);
  EXPECT_EQ(expected.size(), 1u + 2u * 7u);
  EXPECT_EQ(expected.front(), "model.embed_tokens.weight");
  EXPECT_EQ(expected[7], "model.layers.0.mlp.down_proj.weight");
  EXPECT_EQ(tied->layers()[2].rows, 12u);
  EXPECT_EQ(tied->layers()[2].cols, 24u);
  expected.push_back("lm_head.weight");
  EXPECT_EQ(names(untied), expected);
  EXPECT_EQ(untied->weight_bytes() - tied->weight_bytes(), 4u * 37u * 24u);
}

TEST(Model, HasTheHeadThatItsConfigurationAsksFor) {
  const TinyModel tied(true, false, 2);
  const auto ids = tied.random_ids(10);
  const auto expected = values_of(logits_of(*tied.write_and_load(), ids));
  TinyModel none = tied;
  none.config.set("tie_word_embeddings", false);
  const auto missing = none.write_and_load();
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::missing_tensor);
  EXPECT_EQ(missing.error().where.tensor, "lm_head.weight");
  TinyModel copy = tied;
  copy.tensors["lm_head.weight"] = copy.tensors["model.embed_tokens.weight"];
  EXPECT_EQ(values_of(logits_of(*copy.write_and_load(), ids)), expected);
  TinyModel other = copy;
  other.tensors["lm_head.weight"].values.back() += 1;
  const auto differs = other.write_and_load();
  ASSERT_FALSE(differs);
  EXPECT_EQ(differs.error().code, ErrorCode::bad_config);
  EXPECT_NE(differs.error().message.find("differs from model.embed_tokens.weight"), std::string::npos);
}

/// A folder with every matrix of `source` quantized to `scheme`, and the same model with the dequantized values.
void write_quantized(const TinyModel& source, const Scheme& scheme, const io::test::TemporaryFolder& folder,
                     TinyModel& dequantized) {
  constexpr auto kConvention = io::Convention::kvant;
  std::vector<io::QuantizedWeight> quantized;
  std::vector<io::TensorSpec> specs;
  for (const auto& [name, tensor] : source.tensors) {
    if (tensor.shape.size() == 2) {
      quantized.push_back({name, scheme, tensor.shape[0], tensor.shape[1]});
      for (auto& spec : io::stored_tensors(quantized.back(), kConvention)) specs.push_back(spec);
    } else {
      specs.push_back({name, DType::f32, tensor.shape});
    }
  }
  auto writer = io::SafetensorsWriter::create(folder / "model.safetensors", specs, {}, io::OutputMode::refuse);
  ASSERT_TRUE(writer) << describe(writer.error());
  dequantized = source;
  for (const auto& [name, tensor] : source.tensors)
    if (tensor.shape.size() == 1) {
      ASSERT_TRUE(writer->write(name, 0, std::as_bytes(std::span(tensor.values))));
    }
  for (const io::QuantizedWeight& w : quantized) {
    std::vector<float>& values = dequantized.tensors[w.name].values;
    const auto q = quantize(MatrixView<const float>(values.data(), w.rows, w.cols), scheme);
    ASSERT_TRUE(q) << describe(q.error());
    const Status written = io::write_band(*writer, w, kConvention, 0, *q);
    ASSERT_TRUE(written) << describe(written.error());
    values = values_of(dequantize(*q));
  }
  ASSERT_TRUE(writer->commit());
  io::Json config = source.config;
  config.set("quantization_config", io::quantization_config(quantized, {}, kConvention));
  folder.write("config.json", io::to_text(config));
}

TEST(Model, OnPackedWeightsAgreesWithTheReferenceOnDequantizedOnes) {
  for (const std::string text : {"int8-channel", "int4-g8-asym", "nf4-g24", "int3-tensor", "fp8_e4m3fn-channel"}) {
    const TinyModel source(false, true, 2);
    TinyModel dequantized;
    const io::test::TemporaryFolder folder;
    write_quantized(source, *parse_scheme(text), folder, dequantized);
    const auto model = TinyModel::load(folder);
    ASSERT_TRUE(model) << text << ": " << describe(model.error());
    const auto ids = source.random_ids(20);
    expect_near_reference(logits_of(*model, ids), dequantized, ids);
    std::uint64_t bits = 0;
    for (const LayerInfo& layer : model->layers()) {
      EXPECT_EQ(to_text(layer.scheme), text) << layer.name;
      bits += stored_bits(layer.scheme.weight, layer.rows, layer.cols);
    }
    for (const auto& [name, tensor] : source.tensors)
      if (tensor.shape.size() == 1) bits += 32 * tensor.values.size();
    EXPECT_EQ(model->weight_bytes(), bits / 8) << text;
  }
}

// ---- refusals ------------------------------------------------------------------------------------------------------

Error error_of(const TinyModel& source) {
  const auto model = source.write_and_load();
  EXPECT_FALSE(model);
  return model ? Error{} : model.error();
}

TEST(ModelLoad, NamesTheMissingTensor) {
  TinyModel all(false, true, 2);
  for (const auto& [name, tensor] : all.tensors) {
    if (name == "lm_head.weight") continue;
    TinyModel source = all;
    source.tensors.erase(name);
    const Error error = error_of(source);
    EXPECT_EQ(error.code, ErrorCode::missing_tensor) << name;
    EXPECT_EQ(error.where.tensor, name);
  }
}

TEST(ModelLoad, NamesFoundAndExpectedShape) {
  TinyModel source;
  source.tensors["model.layers.1.self_attn.k_proj.weight"].shape = {24, 12};
  const Error error = error_of(source);
  EXPECT_EQ(error.code, ErrorCode::bad_shape);
  EXPECT_EQ(error.where.tensor, "model.layers.1.self_attn.k_proj.weight");
  EXPECT_EQ(error.message, "found [24, 12], expected [12, 24] by config.json");

  TinyModel flat;
  flat.tensors["model.norm.weight"].shape = {1, 24};
  EXPECT_EQ(error_of(flat).message, "found [1, 24], expected [24] by config.json");
}

TEST(ModelLoad, RefusesBiasesThatTheConfigurationDenies) {
  TinyModel source;
  source.tensors["model.layers.0.self_attn.q_proj.bias"] = {{24}, std::vector<float>(24)};
  const Error error = error_of(source);
  EXPECT_EQ(error.code, ErrorCode::bad_config);
  EXPECT_EQ(error.where.tensor, "model.layers.0.self_attn.q_proj.bias");
}

TEST(ModelLoad, RefusesTensorsThatItWouldIgnore) {
  TinyModel source;
  source.tensors["model.layers.0.self_attn.q_norm.weight"] = {{6}, std::vector<float>(6)};
  EXPECT_EQ(error_of(source).code, ErrorCode::unsupported);
  TinyModel shorter;
  shorter.config.set("num_hidden_layers", 1);
  EXPECT_EQ(error_of(shorter).code, ErrorCode::unsupported);
  TinyModel derived;
  derived.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{3}, std::vector<float>(3)};
  EXPECT_TRUE(derived.write_and_load());
}

TEST(ModelLoad, AsksForMoreLayersThanThereAreOnlyOnce) {
  TinyModel source;
  source.config.set("num_hidden_layers", 2147483647);
  EXPECT_EQ(error_of(source).code, ErrorCode::bad_config);
  source.config.set("num_hidden_layers", 4000);
  const Error error = error_of(source);
  EXPECT_EQ(error.code, ErrorCode::missing_tensor);
  EXPECT_EQ(error.where.tensor, "model.layers.2.input_layernorm.weight");
}

TEST(ModelLoad, NeedsAConfiguration) {
  const io::test::TemporaryFolder folder;
  TinyModel().write(folder);
  const auto weights = io::Weights::open(folder / "model.safetensors");
  ASSERT_TRUE(weights);
  EXPECT_EQ(io::test::code_of(Model::load(*weights, {})), "bad_config");
}

TEST(ModelLoad, ReportsTheUnreadableTensor) {
  TinyModel source;
  const io::test::TemporaryFolder folder;
  source.write(folder);
  const auto weights = io::Weights::open(folder.path());
  ASSERT_TRUE(weights);
  std::filesystem::resize_file(folder / "model.safetensors", 2000);
  const auto model = Model::load(*weights, {});
  EXPECT_EQ(io::test::code_of(model), "truncated");
}

}  // namespace
}  // namespace kvant::nn
