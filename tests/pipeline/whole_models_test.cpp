// SPDX-License-Identifier: Apache-2.0
// What a model's other tensors and its config.json make of a weight: weights that lie transposed, tied heads, matrices
// that engines join, what is left out.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/core/rng.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/stored_weight.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/pipeline/compare.hpp"
#include "kvant/pipeline/run.hpp"
#include "silent.hpp"

namespace kvant::pipeline {
namespace {

class WholeModels : public ::testing::Test {
 protected:
  /// Adds a tensor of random numbers.
  void add(const std::string& name, std::vector<std::uint64_t> shape) {
    std::size_t n = 1;
    for (const std::uint64_t d : shape) n *= static_cast<std::size_t>(d);
    std::vector<float> values(n);
    Rng random(seed_from_name(name, 0));
    for (float& v : values) v = random.uniform() - random.uniform();
    set(name, std::move(shape), std::move(values));
  }
  void set(const std::string& name, std::vector<std::uint64_t> shape, std::vector<float> values) {
    specs_.push_back({name, DType::f32, std::move(shape)});
    values_.push_back(std::move(values));
  }
  void write(const std::string& folder, const std::string& config = "{}") const {
    std::filesystem::create_directory(folder_ / folder);
    folder_.write(folder + "/config.json", config);
    auto writer =
        io::SafetensorsWriter::create(folder_ / folder / "model.safetensors", specs_, {}, io::OutputMode::replace);
    ASSERT_TRUE(writer);
    for (std::size_t i = 0; i < specs_.size(); ++i)
      ASSERT_TRUE(writer->write(specs_[i].name, 0, std::as_bytes(std::span(values_[i]))));
    ASSERT_TRUE(writer->commit());
  }
  /// One GPT-2 block: Conv1D layers, [in, out], and norms.
  void add_gpt2() {
    add("h.0.attn.c_attn.weight", {64, 192});
    add("h.0.attn.c_attn.bias", {192});
    add("h.0.attn.c_proj.weight", {64, 64});
    add("h.0.attn.c_proj.bias", {64});
    add("h.0.ln_1.weight", {64});
    add("wte.weight", {100, 64});
  }

  Result<QuantizeReport> quantize(PlanOptions plan, Join join = Join::warn) {
    QuantizeJob job;
    job.input = folder_ / "in";
    job.output = folder_ / "out";
    job.plan = std::move(plan);
    job.mode = io::OutputMode::replace;
    job.join = join;
    job.method = Rtn{{.search = false}};
    Silent quiet;
    return quantize_checkpoint(job, {}, quiet);
  }
  [[nodiscard]] static std::string said(const QuantizeReport& report) {
    std::string all;
    for (const std::string& w : report.warnings) all += w + "\n";
    return all;
  }

  io::test::TemporaryFolder folder_;
  std::vector<io::TensorSpec> specs_;
  std::vector<std::vector<float>> values_;
};

TEST_F(WholeModels, RefuseWeightsThatLieTransposedUntilTheyAreNamed) {
  add_gpt2();
  write("in");
  const auto refused = quantize({*parse_scheme("int4-g32"), {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  EXPECT_EQ(refused.error().where.tensor, "h.0.attn.c_attn.weight");
  EXPECT_NE(refused.error().message.find("--transposed"), std::string::npos);
  // The square one has no bias that tells, but the layer's other weight does.
  const auto square = quantize({*parse_scheme("int4-g32"), {}, {".*c_attn.*"}});
  ASSERT_FALSE(square);
  EXPECT_EQ(square.error().where.tensor, "h.0.attn.c_proj.weight");
  EXPECT_TRUE(quantize({*parse_scheme("int4-g32"), {skip_rule("h\\..*")}}));
  EXPECT_TRUE(quantize({*parse_scheme("fp16"), {}}));
  EXPECT_EQ(quantize({*parse_scheme("int4-g32"), {}, {".*c_attn.*", ".*c_proj.*", "wte.*"}}).error().code,
            ErrorCode::rule_matches_nothing);
}

TEST_F(WholeModels, QuantizeNamedWeightsAlongTheirColumns) {
  add_gpt2();
  write("in");
  const auto report = quantize({*parse_scheme("int4-g32"), {}, {".*\\.c_.*"}});
  ASSERT_TRUE(report) << describe(report.error());
  EXPECT_EQ(report->convention, "kvant");
  EXPECT_NE(report->why.find("[in, out]"), std::string::npos);
  const auto out = io::Weights::open(folder_ / "out");
  ASSERT_TRUE(out) << describe(out.error());
  const io::WeightInfo* w = out->find("h.0.attn.c_attn.weight");
  ASSERT_NE(w, nullptr);
  EXPECT_TRUE(w->transposed);
  EXPECT_EQ(w->shape, (std::vector<std::uint64_t>{64, 192}));
  const MatrixView<const float> original(values_[0].data(), 64, 192);
  const auto expected = kvant::quantize(transpose(original).view(), *parse_scheme("int4-g32"));
  const auto got = out->read_quantized(*w);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->codes, expected->codes);
  EXPECT_EQ(got->rows, 192u);
  // As floats it is what it was: in its own shape, with the error that was reported.
  Silent quiet;
  const auto in = io::Weights::open(folder_ / "in");
  const auto compared = compare_weights(*in, *out, {}, quiet);
  ASSERT_TRUE(compared);
  EXPECT_TRUE(compared->shape_mismatch.empty());
  for (const TensorReport& t : report->tensors)
    for (const TensorComparison& c : compared->tensors) {
      if (c.name != t.plan.name || t.plan.action != Action::quantize) continue;
      EXPECT_NEAR(c.distortion.sqnr_db, t.distortion.sqnr_db, 1e-9) << c.name;  // summed in another order
    }
  ASSERT_TRUE(dequantize_checkpoint({folder_ / "out", folder_ / "back", format_id<fp32>}, {}, quiet));
  const auto back = io::Weights::open(folder_ / "back");
  const auto values = back->read_float(*back->find("h.0.attn.c_attn.weight"));
  const auto direct = out->read_float(*w);
  ASSERT_TRUE(values && direct);
  ASSERT_EQ(values->rows(), 64u);
  EXPECT_EQ(0, std::memcmp(values->data(), direct->data(), values->size() * sizeof(float)));
  EXPECT_FALSE(back->find("h.0.attn.c_attn.weight")->transposed);
}

TEST_F(WholeModels, AreNotTurnedWhereABiasShowsThatTheyLieRight) {
  add("h.0.mlp.c_fc.weight", {96, 32});  // a Linear of that name, as StarCoder 2 has
  add("h.0.mlp.c_fc.bias", {96});
  write("in");
  EXPECT_TRUE(quantize({*parse_scheme("int4-g32"), {}}));
  EXPECT_EQ(quantize({*parse_scheme("int4-g32"), {}, {".*c_fc.*"}}).error().code, ErrorCode::bad_recipe);
}

TEST_F(WholeModels, DropAHeadThatIsTheEmbedding) {
  const std::string tied = R"({"tie_word_embeddings": true})";
  add("model.embed_tokens.weight", {40, 32});
  add("model.layers.0.mlp.down_proj.weight", {32, 64});
  set("lm_head.weight", {40, 32}, values_[0]);
  write("in", tied);
  for (const char* scheme : {"int8-channel", "bf16"}) {
    const auto report = quantize({*parse_scheme(scheme), {}});
    ASSERT_TRUE(report) << describe(report.error());
    const auto out = io::Weights::open(folder_ / "out");
    ASSERT_TRUE(out);
    EXPECT_EQ(out->find("lm_head.weight"), nullptr) << scheme;
    EXPECT_EQ(out->list().size(), 2u);
  }
  // A rule cannot keep it, and dequantize drops one that another program wrote.
  ASSERT_TRUE(quantize({*parse_scheme("int8-channel"), {*parse_rule("lm_head.*=int8-channel")}}));
  EXPECT_EQ(io::Weights::open(folder_ / "out")->find("lm_head.weight"), nullptr);
  values_[2].back() += 1;
  write("in", tied);
  const auto differs = quantize({*parse_scheme("int8-channel"), {}});
  ASSERT_FALSE(differs);
  EXPECT_EQ(differs.error().code, ErrorCode::bad_config);
  EXPECT_EQ(differs.error().where.tensor, "lm_head.weight");
  for (const char* untied : {R"({"tie_word_embeddings": false})", "{}"}) {
    write("in", untied);
    ASSERT_TRUE(quantize({*parse_scheme("int8-channel"), {}}));
    EXPECT_NE(io::Weights::open(folder_ / "out")->find("lm_head.weight"), nullptr);
  }
  // Of a model with several parts the language model says it.
  write("in", R"({"text_config": {"tie_word_embeddings": true}})");
  EXPECT_EQ(quantize({*parse_scheme("int8-channel"), {}}).error().code, ErrorCode::bad_config);
}

TEST_F(WholeModels, NeedAHeadThatIsNotTied) {
  add("model.embed_tokens.weight", {40, 32});
  add("model.layers.0.mlp.down_proj.weight", {32, 64});
  write("in", R"({"model_type": "llama", "tie_word_embeddings": false})");
  const auto refused = quantize({*parse_scheme("int8-channel"), {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::missing_tensor);
}

TEST_F(WholeModels, SayWhichJoinedMatricesHaveDifferentSchemes) {
  for (const char* m : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"})
    add(std::string("model.layers.0.") + m + ".weight", {32, 32});
  write("in");
  const auto whole = quantize({*parse_scheme("int4-g32"), {*parse_rule(".*mlp.*=int8-channel")}}, Join::error);
  ASSERT_TRUE(whole) << describe(whole.error());
  EXPECT_EQ(whole->warnings.size(), 0u) << said(*whole);
  for (const Rule& rule : {*parse_rule(".*v_proj.*=int8-channel"), skip_rule(".*k_proj.*"), skip_rule(".*up_proj.*")}) {
    const auto warned = quantize({*parse_scheme("int4-g32"), {rule}});
    ASSERT_TRUE(warned);
    EXPECT_NE(said(*warned).find("engines join"), std::string::npos) << said(*warned);
    const auto refused = quantize({*parse_scheme("int4-g32"), {rule}}, Join::error);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::bad_recipe);
  }
}

TEST_F(WholeModels, SayWhatIsLeftOut) {
  add("model.layers.0.mlp.experts.gate_up_proj", {4, 8, 16});
  add("model.layers.0.mlp.experts.down_proj", {4, 16, 8});
  add("model.layers.0.input_layernorm.weight", {8});
  write("in");
  const auto report = quantize({*parse_scheme("int4-g32"), {}});
  ASSERT_TRUE(report);
  EXPECT_NE(said(*report).find("2 float tensors of more than two dimensions, 4096 bytes"), std::string::npos)
      << said(*report);
  EXPECT_NE(said(*report).find("nothing was quantized"), std::string::npos) << said(*report);
  EXPECT_EQ(said(*quantize({*parse_scheme("bf16"), {}})), "");
}

TEST_F(WholeModels, KeepCompressedTensorsForFloatEmbeddingsOnly) {
  add("model.embed_tokens.weight", {40, 32});
  add("model.layers.0.mlp.down_proj.weight", {32, 64});
  write("in");
  add("model.layers.1.mlp.down_proj.weight", {0, 64});
  add("model.layers.2.mlp.down_proj.weight", {32, 0});
  write("in");
  EXPECT_EQ(quantize({*parse_scheme("int8-channel"), {}})->convention, "compressed-tensors");
  const auto report = quantize({*parse_scheme("int8-channel"), {*parse_rule(".*embed_tokens.*=int8-channel")}});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->convention, "kvant");
  EXPECT_NE(report->why.find("embedding"), std::string::npos) << report->why;
}

}  // namespace
}  // namespace kvant::pipeline
