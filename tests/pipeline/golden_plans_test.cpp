// SPDX-License-Identifier: Apache-2.0
// Plans of models whose family is known: the steps say which tensors are linear layers, also where these lie [in, out]
// or in stacks, and a model that was quantized so runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/pipeline/compare.hpp"
#include "kvant/pipeline/plan.hpp"
#include "kvant/pipeline/run.hpp"
#include "kvant/quant/encode.hpp"
#include "nn/golden_families.hpp"
#include "silent.hpp"

namespace kvant::pipeline {
namespace {

using nn::test::GoldenCase;
using nn::test::kGolden;

/// Recorded models that hold floats and whose family kvant knows, by the configuration.
std::map<std::string, nn::ModelConfig> known_models() {
  std::map<std::string, nn::ModelConfig> models;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden)) {
    if (!entry.is_directory()) continue;
    const auto weights = io::Weights::open(entry.path());
    if (!weights || !weights->config() || !weights->info().convention.empty()) continue;
    auto config = nn::read_model_config(*weights->config());
    if (config) models.emplace(entry.path().filename().string(), std::move(*config));
  }
  return models;
}

std::string bare(const nn::ModelConfig& config, const std::string& name) {
  const std::string_view base = config.family->base;
  return name.starts_with(base) ? name.substr(base.size()) : name;
}

TEST(GoldenPlans, QuantizeTheLinearLayersOfTheSteps) {
  std::size_t tensors = 0;
  const auto models = known_models();
  EXPECT_GE(models.size(), 50u);
  for (const auto& [name, config] : models) {
    std::map<std::string, const nn::TensorUse*> uses;
    for (const nn::TensorUse& use : config.tensors) uses.emplace(bare(config, use.name), &use);
    const auto weights = io::Weights::open(kGolden / name);
    const auto plan = make_plan(*weights, {*parse_scheme("int8-channel"), {}, {}});
    ASSERT_TRUE(plan) << name << ": " << describe(plan.error());
    for (const TensorPlan& t : plan->tensors) {
      const auto use = uses.find(bare(config, t.name));
      if (use == uses.end()) continue;  // what the steps do not read goes by its name
      ++tensors;
      EXPECT_EQ(t.action == Action::quantize, use->second->role == nn::Role::linear) << name << ": " << t.name;
      EXPECT_EQ(t.transposed, t.action == Action::quantize && use->second->transposed) << name << ": " << t.name;
    }
  }
  EXPECT_GE(tensors, 1000u);
}

/// What the default list, which knows names alone, would do differently: nothing but these.
TEST(GoldenPlans, AreThoseOfTheNamesAlone) {
  const io::test::TemporaryFolder folder;
  std::map<std::string, std::string> different;
  for (const auto& [name, config] : known_models()) {
    const auto known = make_plan(*io::Weights::open(kGolden / name), {*parse_scheme("int8-channel"), {}, {}});
    PlanOptions options{*parse_scheme("int8-channel"), {}, {}};
    for (const TensorPlan& t : known->tensors)
      if (t.transposed && t.name.ends_with(".weight")) options.transposed.push_back("\\Q" + t.name + "\\E");
    const auto plain = make_plan(*io::Weights::open(kGolden / name / "model.safetensors"), options);
    ASSERT_TRUE(plain) << name << ": " << describe(plain.error());
    for (std::size_t i = 0; i < known->tensors.size(); ++i) {
      const TensorPlan& a = known->tensors[i];
      const auto b = std::ranges::find(plain->tensors, a.name, &TensorPlan::name);
      if (a.action == Action::drop || a.action == b->action) continue;
      different[name + " " + a.name] =
          std::string(action_name(a.action)) + ", not " + std::string(action_name(b->action));
    }
  }
  for (const auto& [tensor, what] : different)
    EXPECT_TRUE(tensor.starts_with("gpt-oss ") && what == "quantize, not copy") << tensor << ": " << what;
}

Matrix<float> logits_of(const io::Weights& weights, const GoldenCase& recorded) {
  const auto model = nn::Model::load(weights, {});
  EXPECT_TRUE(model) << describe(model.error());
  Matrix<float> logits(recorded.ids.size(), recorded.logits.cols());
  if (!model) return logits;
  auto cache = nn::KvCache::make(model->config(), recorded.ids.size());
  EXPECT_TRUE(model->forward(recorded.ids, *cache, logits.view(), {}));
  return logits;
}

/// How far rows of logits are from others, by their length: the middle one of all rows, since where a router chooses
/// another expert a row is of another model.
double distance(const Matrix<float>& a, const Matrix<float>& b) {
  std::vector<double> rows(a.rows());
  for (std::size_t r = 0; r < a.rows(); ++r) {
    double difference = 0, length = 0;
    for (std::size_t c = 0; c < a.cols(); ++c) {
      difference += std::pow(static_cast<double>(a(r, c)) - b(r, c), 2);
      length += std::pow(static_cast<double>(b(r, c)), 2);
    }
    rows[r] = std::sqrt(difference / length);
  }
  std::ranges::nth_element(rows, rows.begin() + static_cast<std::ptrdiff_t>(rows.size() / 2));
  return rows[rows.size() / 2];
}

class Stacks : public ::testing::Test {
 protected:
  Result<QuantizeReport> quantize(const std::string& model, const char* scheme, std::vector<Rule> rules = {}) {
    QuantizeJob job;
    job.input = kGolden / model;
    job.output = folder_ / "out";
    job.plan = {*parse_layer_scheme(scheme), std::move(rules), {}};
    job.mode = io::OutputMode::replace;
    job.method = Rtn{{.search = false}};
    Silent quiet;
    return quantize_checkpoint(job, {}, quiet);
  }
  Result<DequantizeReport> dequantize(const std::filesystem::path& input, FormatId dtype) {
    DequantizeJob job;
    job.input = input;
    job.output = folder_ / "floats";
    job.dtype = dtype;
    job.mode = io::OutputMode::replace;
    Silent quiet;
    return dequantize_checkpoint(job, {}, quiet);
  }
  io::test::TemporaryFolder folder_;
};

TEST_F(Stacks, OfExpertsAreQuantizedOneByOneAndRun) {
  const GoldenCase recorded("gpt-oss");
  for (const char* scheme :
       {"int8-channel", "int8-g8-asym", "int8-tensor", "fp8_e4m3fn-b4x8", "int8-channel-scale:fp32"}) {
    const auto report = quantize("gpt-oss", scheme);
    ASSERT_TRUE(report) << scheme << ": " << describe(report.error());
    for (const std::string& warning : report->warnings)
      EXPECT_EQ(warning, "not copied: case.safetensors, other weights");
    const auto out = io::Weights::open(folder_ / "out");
    ASSERT_TRUE(out) << describe(out.error());
    const auto in = io::Weights::open(kGolden / "gpt-oss");
    const io::WeightInfo* w = out->find("model.layers.0.mlp.experts.gate_up_proj");
    ASSERT_NE(w, nullptr);
    EXPECT_EQ(w->shape, (std::vector<std::uint64_t>{5, 24, 40}));
    EXPECT_TRUE(w->transposed);
    const auto q = out->read_quantized(*w);
    ASSERT_TRUE(q);
    EXPECT_EQ(q->rows, 200u);
    EXPECT_EQ(q->cols, 24u);
    if (std::string_view(scheme) != "int8-tensor") {  // one scale for all
      const auto floats = in->read_rows(*in->find(w->name), 3, 1);
      const auto expert =
          kvant::quantize(transpose(MatrixView<const float>(floats->data(), 24, 40)).view(), *parse_scheme(scheme));
      ASSERT_TRUE(expert);
      EXPECT_TRUE(std::equal(expert->codes.begin(), expert->codes.end(), q->codes.begin() + 3 * 40 * 24)) << scheme;
    }
    // Rounding moves logits by about as much as the weights' own error.
    const double error = distance(logits_of(*out, recorded), recorded.logits);
    EXPECT_LT(error, scheme[0] == 'f' ? 0.2 : 0.1) << scheme;
    RecordProperty(scheme, std::to_string(error));
    // As floats it is what it was: the same model to the last bits, in the source's shapes.
    ASSERT_TRUE(dequantize(folder_ / "out", format_id<fp32>));
    const auto floats = io::Weights::open(folder_ / "floats");
    ASSERT_TRUE(floats);
    EXPECT_EQ(floats->find(w->name)->shape, w->shape);
    EXPECT_LT(distance(logits_of(*out, recorded), logits_of(*floats, recorded)), 1e-5) << scheme;
    Silent quiet;
    const auto exact = compare_weights(*out, *floats, {}, quiet);
    ASSERT_TRUE(exact);
    for (const TensorComparison& t : exact->tensors) EXPECT_EQ(t.distortion.max_abs_error, 0) << t.name;
    const auto compared = compare_weights(*in, *out, {}, quiet);
    ASSERT_TRUE(compared);
    EXPECT_TRUE(compared->shape_mismatch.empty());
  }
}

TEST_F(Stacks, WhoseMatricesWouldShareScalesAreRefused) {
  const auto refused = quantize("gpt-oss", "fp8_e4m3fn-b128x128");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_NE(refused.error().where.tensor.find("mlp.experts."), std::string::npos);
  EXPECT_TRUE(quantize("gpt-oss", "fp8_e4m3fn-b128x128", {skip_rule(".*experts.*")}));
}

TEST_F(Stacks, OfAnotherShapeThanTheModelsAreRefused) {
  ASSERT_TRUE(quantize("gpt-oss", "int8-channel"));
  const std::string config = io::test::read_bytes(folder_ / "out/config.json");
  const auto loaded = [&](const std::string& from, const std::string& to) {
    std::string text = config;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    folder_.write("out/config.json", text.replace(at, from.size(), to));
    const auto weights = io::Weights::open(folder_ / "out");
    return weights ? io::test::code_of(nn::Model::load(*weights, {})) : io::test::code_of(weights);
  };
  const std::string first = "\"model.layers.0.mlp.experts.down_proj\"";
  EXPECT_EQ(loaded(first + ": 5", first + ": 5"), "success");
  EXPECT_EQ(loaded(first + ": 5", first + ": 1"), "bad_shape");
  EXPECT_EQ(loaded(first + ": 5", first + ": 10"), "bad_shape");
  EXPECT_EQ(loaded(first + ": 5", first + ": 7"), "bad_metadata");
  EXPECT_EQ(loaded("\"stacks\"", "\"none\""), "bad_shape");
  EXPECT_EQ(loaded("\"transposed\"", "\"none\""), "bad_shape") << "[experts, out, in]";
  EXPECT_EQ(loaded("\"num_local_experts\": 5", "\"num_local_experts\": 4"), "bad_shape");
}

TEST_F(Stacks, OfGptOssInMxfp4AreDequantizedToTheFloatFormOfTheModel) {
  ASSERT_TRUE(dequantize(kGolden / "gpt-oss-mxfp4", format_id<bf16>));
  const auto floats = io::Weights::open(folder_ / "floats");
  ASSERT_TRUE(floats) << describe(floats.error());
  EXPECT_EQ(floats->info().convention, "");
  EXPECT_EQ(floats->config()->find("quantization_config"), nullptr);
  const io::WeightInfo* w = floats->find("model.layers.0.mlp.experts.gate_up_proj");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->shape, (std::vector<std::uint64_t>{4, 32, 128}));
  EXPECT_EQ(w->dtype, DType::bf16);
  const GoldenCase recorded("gpt-oss-mxfp4");
  EXPECT_LT(distance(logits_of(*floats, recorded), recorded.logits), 2e-5) << "bf16 holds FP4 under powers of two";
  EXPECT_FALSE(quantize("gpt-oss-mxfp4", "int8-channel")) << "it is quantized already";
}

TEST_F(Stacks, OfDeepSeeksFp8AreDequantizedToFloats) {
  ASSERT_TRUE(dequantize(kGolden / "deepseek-v3-fp8", format_id<fp32>));
  const auto floats = io::Weights::open(folder_ / "floats");
  ASSERT_TRUE(floats) << describe(floats.error());
  EXPECT_EQ(floats->config()->find("quantization_config"), nullptr);
  const GoldenCase recorded("deepseek-v3-fp8");
  EXPECT_LT(distance(logits_of(*floats, recorded), recorded.logits), 2e-5);
  // As it is served, inputs rounded too, it is not far from that.
  const auto served = io::Weights::open(kGolden / "deepseek-v3-fp8");
  ASSERT_TRUE(served);
  const double error = distance(logits_of(*served, recorded), recorded.logits);
  EXPECT_GT(error, 1e-4);
  EXPECT_LT(error, 0.5);
}

}  // namespace
}  // namespace kvant::pipeline
