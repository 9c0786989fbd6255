// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/sites.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "golden_families.hpp"
#include "io/test_files.hpp"
#include "kvant/io/safetensors.hpp"

namespace kvant::nn {
namespace {

using test::GoldenCase;
using test::GoldenModel;

struct Stored {
  std::vector<std::uint64_t> shape;
  std::vector<float> values;
};

/// A checkpoint as floats, changed tensor by tensor.
class Floats {
 public:
  explicit Floats(const GoldenModel& source) : config_(*source.weights.config()), model_(source.model.config()) {
    for (const io::WeightInfo& w : source.weights.list()) {
      const auto values = source.weights.read_float(w);
      if (values) tensors_[w.name] = {w.shape, {values->data(), values->data() + values->size()}};
    }
    is_bare_ = tensors_.find(model_.tensors.front().name) == tensors_.end();
  }

  /// Element (row, column) of a matrix, or element `row` of a vector, as the model uses them.
  float& at(TensorId id, std::size_t row, std::size_t column = 0) {
    const TensorUse& use = model_.tensors[id];
    const std::size_t base = is_bare_ && use.name.starts_with(model_.family->base) ? model_.family->base.size() : 0;
    Stored& stored = tensors_.at(use.name.substr(base));
    const std::size_t rows = use.shape[0];
    const std::size_t cols = use.shape.size() > 1 ? use.shape[1] : 1;
    const std::size_t index = use.transposed ? column * rows + row : row * cols + column;
    return stored.values[use.member * rows * cols + index];
  }

  /// Logits, or hidden states of a model without a head.
  [[nodiscard]] Matrix<float> output(const GoldenCase& recorded) const {
    const io::test::TemporaryFolder folder;
    std::vector<io::TensorSpec> specs;
    for (const auto& [name, t] : tensors_) specs.push_back({name, DType::f32, t.shape});
    auto writer = io::SafetensorsWriter::create(folder / "model.safetensors", specs, {}, io::OutputMode::replace);
    for (const auto& [name, t] : tensors_) EXPECT_TRUE(writer->write(name, 0, std::as_bytes(std::span(t.values))));
    EXPECT_TRUE(writer->commit());
    folder.write("config.json", io::to_text(config_));
    const auto weights = io::Weights::open(folder.path());
    const auto model = Model::load(*weights, {});
    EXPECT_TRUE(model) << describe(model.error());
    KvCache cache = recorded.cache(*model);
    const std::size_t count = recorded.ids.size();
    const bool has_head = !model->config().head.empty();
    Matrix<float> result(count, has_head ? model->config().vocabulary : model->config().hidden);
    EXPECT_TRUE(has_head ? model->forward(recorded.ids, cache, result.view(), {})
                         : model->hidden_states(recorded.ids, cache, result.view(), {}));
    return result;
  }

 private:
  io::Json config_;
  const ModelConfig& model_;
  std::map<std::string, Stored> tensors_;
  bool is_bare_ = false;
};

/// Powers of two, so that nothing is rounded: 1, 2, 4 or 1/2 by the number of what takes it.
float factor(std::uint32_t source) { return std::exp2(static_cast<float>((source * 7 + 3) % 4) - 1); }

class GoldenSites : public testing::TestWithParam<std::string> {};

/// Every site of the model at once: columns of readers times s, what makes them divided by s.
TEST_P(GoldenSites, TakeFactorsWithoutChangingOutputs) {
  const GoldenModel golden(GetParam());
  const ModelConfig& config = golden.model.config();
  Floats floats(golden);
  const Matrix<float> before = floats.output(golden.recorded);
  bool is_exact = true;
  std::size_t folded = 0;
  for (const InputSite& site : input_sites(config)) {
    if (site.kind == InputSite::Producer::none) continue;
    ++folded;
    ASSERT_EQ(site.sources.size(), site.columns);
    for (const TensorId reader : site.readers)
      for (std::size_t c = 0; c < site.columns; ++c)
        for (std::size_t r = 0; r < config.tensors[reader].shape[0]; ++r)
          floats.at(reader, r, c) *= factor(site.sources[c]);
    auto sources = site.sources;
    std::ranges::sort(sources);
    sources.erase(std::ranges::unique(sources).begin(), sources.end());
    for (const std::uint32_t s : sources) {
      if (site.bias != kNoTensor) floats.at(site.bias, s) /= factor(s);
      const float one = site.plus_one ? 1.0f : 0.0f;
      is_exact = is_exact && !site.plus_one;
      const std::size_t columns = site.kind == InputSite::Producer::norm ? 1 : config.tensors[site.producer].shape[1];
      for (std::size_t c = 0; c < columns; ++c) {
        float& w = floats.at(site.producer, s, c);
        w = (w + one) / factor(s) - one;
      }
    }
  }
  EXPECT_GT(folded, 0u);
  const Matrix<float> after = floats.output(golden.recorded);
  float largest = 0;
  float worst = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    largest = std::max(largest, std::abs(before.data()[i]));
    worst = std::max(worst, std::abs(before.data()[i] - after.data()[i]));
  }
  if (is_exact)
    EXPECT_EQ(worst, 0.0f);
  else
    EXPECT_LE(worst, 2e-5f * largest);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenSites, testing::ValuesIn(test::golden_models()), test::golden_name);

std::vector<std::string> names(const ModelConfig& config, const std::vector<TensorId>& ids) {
  std::vector<std::string> all;
  for (const TensorId id : ids) all.push_back(config.tensors[id].name);
  return all;
}

TEST(InputSites, OfLlamaAreNormValuesAndGate) {
  const GoldenModel golden("llama");
  const ModelConfig& config = golden.model.config();
  const auto sites = input_sites(config);
  ASSERT_EQ(sites.size(), 4 * config.blocks.size() + 1);
  const std::string p = "model.layers.0.";
  EXPECT_EQ(names(config, sites[0].readers),
            (std::vector{p + "self_attn.q_proj.weight", p + "self_attn.k_proj.weight", p + "self_attn.v_proj.weight"}));
  EXPECT_EQ(config.tensors[sites[0].producer].name, p + "input_layernorm.weight");
  EXPECT_EQ(sites[0].kind, InputSite::Producer::norm);
  EXPECT_EQ(names(config, sites[1].readers), (std::vector{p + "self_attn.o_proj.weight"}));
  EXPECT_EQ(config.tensors[sites[1].producer].name, p + "self_attn.v_proj.weight");
  EXPECT_EQ(sites[1].kind, InputSite::Producer::rows);
  EXPECT_EQ(sites[1].sources[8], sites[1].sources[0]) << "two query heads read one head of values";
  EXPECT_EQ(names(config, sites[2].readers), (std::vector{p + "mlp.gate_proj.weight", p + "mlp.up_proj.weight"}));
  EXPECT_EQ(names(config, sites[3].readers), (std::vector{p + "mlp.down_proj.weight"}));
  EXPECT_EQ(config.tensors[sites[3].producer].name, p + "mlp.up_proj.weight");
}

TEST(InputSites, LeaveATiedHeadAlone) {
  const GoldenModel golden("llama-tied");
  EXPECT_EQ(input_sites(golden.model.config()).back().kind, InputSite::Producer::none);
}

}  // namespace
}  // namespace kvant::nn
