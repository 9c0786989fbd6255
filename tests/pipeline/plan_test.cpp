// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/plan.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/stored_weight.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/numeric/runtime_codebook.hpp"
#include "kvant/quant/encode.hpp"

namespace kvant::pipeline {
namespace {

/// Weights of a file with these tensors of zeros, [4, 8] unless a name ends in 1d.
class PlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::vector<io::TensorSpec> specs;
    for (const char* name :
         {"layers.0.q_proj.weight", "layers.0.down_proj.weight", "layers.0.norm.weight", "lm_head.weight",
          "model.embed_tokens.weight", "visual.up.weight", "layers.0.q_proj.bias", "table"})
      specs.push_back({name, DType::f16, {4, 8}});
    specs.push_back({"scale.weight", DType::f32, {8}});
    specs.push_back({"embeddings.position_ids", DType::i32, {4, 8}});
    auto writer = io::SafetensorsWriter::create(folder_ / "m.safetensors", specs, {}, io::OutputMode::refuse);
    ASSERT_TRUE(writer);
    const std::vector<std::byte> zeros(4 * 8 * 4);
    for (const io::TensorSpec& s : specs)
      ASSERT_TRUE(writer->write(s.name, 0,
                                std::span(zeros).first(static_cast<std::size_t>(*io::tensor_bytes(s.dtype, s.shape)))));
    ASSERT_TRUE(writer->commit());
    auto weights = io::Weights::open(folder_ / "m.safetensors");
    ASSERT_TRUE(weights);
    weights_.emplace(std::move(*weights));
  }

  Result<Plan> plan(const char* scheme, const std::vector<Rule>& rules = {}) {
    return make_plan(*weights_, {*parse_scheme(scheme), rules});
  }
  /// What is not copied, as name -> scheme.
  static std::map<std::string, std::string> changed(const Plan& plan) {
    std::map<std::string, std::string> result;
    for (const TensorPlan& t : plan.tensors)
      if (t.action != Action::copy) result[t.name] = to_text(t.scheme);
    return result;
  }

  io::test::TemporaryFolder folder_;
  std::optional<io::Weights> weights_;
};

TEST_F(PlanTest, QuantizesLinearWeightsByDefault) {
  const auto p = plan("int4-g32");
  ASSERT_TRUE(p);
  EXPECT_EQ(changed(*p), (std::map<std::string, std::string>{{"layers.0.down_proj.weight", "int4-g32"},
                                                             {"layers.0.q_proj.weight", "int4-g32"}}));
}

TEST_F(PlanTest, CastsEveryFloatTensorByDefault) { EXPECT_EQ(changed(*plan("bf16")).size(), 9u); }

TEST_F(PlanTest, LetsTheFirstMatchingRuleWinAndOverridesTheDefaultList) {
  const auto p = plan("int4-g32", {*parse_rule("lm_head.*=int8-channel"), skip_rule(".*down_proj.*"),
                                   *parse_rule("layers.*=nf4-g64"), *parse_rule("table=fp16")});
  ASSERT_TRUE(p);
  EXPECT_EQ(changed(*p), (std::map<std::string, std::string>{{"lm_head.weight", "int8-channel"},
                                                             {"layers.0.q_proj.weight", "nf4-g64"},
                                                             {"layers.0.norm.weight", "nf4-g64"},
                                                             {"layers.0.q_proj.bias", "nf4-g64"},
                                                             {"table", "fp16"}}));
  EXPECT_TRUE(p->warnings.empty());
}

TEST_F(PlanTest, AnchorsPatternsToWholeNamesAndKeepsCase) {
  EXPECT_EQ(plan("int4-g32", {skip_rule("q_proj")}).error().code, ErrorCode::rule_matches_nothing);
  EXPECT_EQ(plan("int4-g32", {skip_rule("layers.0.Q_proj.weight")}).error().code, ErrorCode::rule_matches_nothing);
}

TEST_F(PlanTest, RefusesARuleThatAppliesToNothing) {
  EXPECT_EQ(plan("int4-g32", {*parse_rule("nothing.*=int8-channel")}).error().code, ErrorCode::rule_matches_nothing);
  EXPECT_EQ(plan("int4-g32", {*parse_rule("scale.weight=int8-channel")}).error().code, ErrorCode::rule_matches_nothing);
  EXPECT_EQ(plan("int4-g32", {*parse_rule("embeddings.position_ids=bf16")}).error().code,
            ErrorCode::rule_matches_nothing);
}

TEST_F(PlanTest, WarnsOfAShadowedRule) {
  const auto p = plan("int4-g32", {*parse_rule("layers.*=int8-channel"), *parse_rule(".*q_proj.weight=int2-g32")});
  ASSERT_TRUE(p);
  ASSERT_EQ(p->warnings.size(), 1u);
  EXPECT_NE(p->warnings[0].find(".*q_proj.weight=int2-g32"), std::string::npos);
}

TEST_F(PlanTest, RefusesPatternsThatDoNotCompileOrTakeForever) {
  EXPECT_EQ(plan("int4-g32", {skip_rule("layers.(")}).error().code, ErrorCode::bad_pattern);
  EXPECT_EQ(plan("int4-g32", {skip_rule("(([a-z0-9._])+)+[^a-z0-9._]")}).error().code, ErrorCode::bad_pattern);
}

/// A format of four bits that is no codebook.
struct shifted : Integer<4, -3, 12> {
  static constexpr std::string_view kName = "shifted";
};

TEST_F(PlanTest, RefusesFormatsThatNoFileHolds) {
  std::vector<float> levels;
  for (int i = 0; i < 16; ++i) levels.push_back(static_cast<float>(i) - 8);
  const auto named = RuntimeCodebook::make("int4", levels), same = RuntimeCodebook::make("int4", levels);
  const auto nameless = RuntimeCodebook::make("My Book", levels);
  ASSERT_TRUE(named && same && nameless);
  const auto with = [](FormatId format) {
    Scheme scheme = *parse_scheme("nf4-g8");
    scheme.format = format;
    return scheme;
  };
  EXPECT_TRUE(make_plan(*weights_, {with(named->id()), {}}));
  for (const FormatId format : {nameless->id(), format_id<shifted>}) {
    EXPECT_EQ(make_plan(*weights_, {with(format), {}}).error().code, ErrorCode::unsupported);
    EXPECT_EQ(
        make_plan(*weights_, {*parse_scheme("int4-g8"), {{".*q_proj.weight", with(format), "a rule"}}}).error().code,
        ErrorCode::unsupported);
    // Nor does the writer below take them.
    const auto q = quantize(Matrix<float>(4, 8, 1.0f).view(), with(format));
    ASSERT_TRUE(q);
    const io::QuantizedWeight weight{"a.weight", with(format), 4, 8};
    auto writer = io::SafetensorsWriter::create(
        folder_ / "o.safetensors", io::stored_tensors(weight, io::Convention::kvant), {}, io::OutputMode::replace);
    ASSERT_TRUE(writer);
    const Status written = io::write_band(*writer, weight, io::Convention::kvant, 0, *q);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, ErrorCode::unsupported);
  }
  // Two under one name would be one when they are read.
  EXPECT_EQ(make_plan(*weights_, {with(named->id()), {{".*q_proj.weight", with(same->id()), "a rule"}}}).error().code,
            ErrorCode::usage);
}

TEST(ParseRule, SplitsAtTheLastEqualsSign) {
  const auto rule = parse_rule("a=b.*=int8-channel");
  ASSERT_TRUE(rule);
  EXPECT_EQ(rule->pattern, "a=b.*");
  EXPECT_EQ(to_text(*rule->scheme), "int8-channel");
  EXPECT_EQ(parse_rule("nothing").error().code, ErrorCode::bad_recipe);
  EXPECT_EQ(parse_rule("=int8-channel").error().code, ErrorCode::bad_recipe);
  EXPECT_EQ(parse_rule("a=int9").error().code, ErrorCode::bad_scheme);
}

}  // namespace
}  // namespace kvant::pipeline
