// SPDX-License-Identifier: Apache-2.0
#include "kvant/quant/scheme.hpp"
#include "kvant/quant/layer_scheme.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

using kvant::format_id;
using kvant::Granularity;
using kvant::parse_layer_scheme;
using kvant::Scheme;
using kvant::Symmetry;
using kvant::to_text;

/// Every scheme that the documented grammar allows, over a grid of formats, granularities and scale types, written
/// down without defaults.
std::vector<std::string> canonical_texts() {
  const std::set<std::string> signed_integers{"int2", "int3", "int4", "int5", "int6", "int7", "int8"};
  const std::set<std::string> unsigned_integers{"uint1", "uint2", "uint3", "uint4", "uint5", "uint6", "uint7", "uint8"};
  std::vector<std::string> texts{"fp32", "fp16", "bf16"};
  for (const std::string format :
       {"int8",  "int7",  "int6",  "int5",  "int4",  "int3",    "int2", "int1",       "uint8",    "uint7",   "uint6",
        "uint5", "uint4", "uint3", "uint2", "uint1", "ternary", "nf4",  "fp8_e4m3fn", "fp8_e5m2", "fp4_e2m1"})
    for (const std::string granularity :
         {"tensor", "channel", "g1", "g32", "g128", "g1000003", "b1x1", "b128x128", "b3x40"})
      for (const std::string symmetry : {"", "-asym", "-full"}) {
        if (symmetry == "-asym" && signed_integers.count(format) + unsigned_integers.count(format) == 0) continue;
        if (symmetry == "-full" && signed_integers.count(format) == 0) continue;
        for (const std::string scale : {"", "-scale:fp32", "-scale:bf16", "-scale:fp8_e4m3fn", "-scale:fp8_e5m2"})
          for (const std::string activation : {"", "/int8-token", "/fp8_e4m3fn-token", "/int4-g32-asym"})
            texts.push_back(format + "-" + granularity + symmetry + scale + activation);
      }
  return texts;
}

TEST(Scheme, PrintsWhatItParsed) {
  const auto texts = canonical_texts();
  ASSERT_GT(texts.size(), 2000u);
  for (const std::string& text : texts) {
    const auto scheme = parse_layer_scheme(text);
    ASSERT_TRUE(scheme.has_value()) << text << ": " << kvant::describe(scheme.error());
    EXPECT_EQ(to_text(*scheme), text);
    EXPECT_EQ(*parse_layer_scheme(to_text(*scheme)), *scheme);
  }
}

TEST(Scheme, HasTheActivationsThatCheckpointsHave) {
  for (const std::string activation :
       {"int8-token", "int8-token-asym", "int4-token", "int8-g128", "int8-g32-asym", "int8-tensor-static",
        "int8-tensor-asym-static", "fp8_e4m3fn-token", "fp8_e4m3fn-g128", "fp8_e4m3fn-tensor-static", "mxfp4",
        "mxfp8_e4m3fn", "nvfp4"}) {
    const auto scheme = parse_layer_scheme("int4-g128/" + activation);
    ASSERT_TRUE(scheme) << activation << ": " << kvant::describe(scheme.error());
    EXPECT_EQ(to_text(*scheme), "int4-g128/" + activation);
    EXPECT_EQ(scheme->activation->is_static, activation == "nvfp4" || activation.ends_with("-static")) << activation;
  }
  for (const std::string activation :
       {"int8", "int8-tensor", "int8-channel", "int8-token-static", "int8-g32-static", "int8-g0", "int8-token-full",
        "int8-static-tensor", "uint8-token", "int16-token", "fp8_e5m2-token", "fp8_e4m3fn-token-asym", "mxfp4-token",
        "mxfp6_e3m2", "nvfp4-static", "int8-b16x16"})
    EXPECT_FALSE(parse_layer_scheme("int4-g128/" + activation)) << activation;
}

TEST(Scheme, SuggestsTheGroupThatANumberMeant) {
  const auto said = [](const char* text) { return parse_layer_scheme(text).error().message; };
  EXPECT_NE(said("int4-128").find("did you mean int4-g128?"), std::string::npos) << said("int4-128");
  EXPECT_NE(said("nf4-64").find("did you mean nf4-g64?"), std::string::npos) << said("nf4-64");
}

TEST(Scheme, OmitsDefaultsInPrint) {
  EXPECT_EQ(to_text(*parse_layer_scheme("int4-g128-sym")), "int4-g128");
  EXPECT_EQ(to_text(*parse_layer_scheme("int4-g128-scale:fp16")), "int4-g128");
  EXPECT_EQ(to_text(*parse_layer_scheme("int4-g128-sym-scale:fp16/int8-token")), "int4-g128/int8-token");
}

TEST(Scheme, ReadsEachPart) {
  const kvant::LayerScheme layer = *parse_layer_scheme("int3-b16x40-asym-scale:bf16/int8-token");
  const Scheme& s = layer.weight;
  EXPECT_EQ(s.format, format_id<kvant::int3>);
  EXPECT_EQ(s.granularity, Granularity(kvant::PerBlock{16, 40}));
  EXPECT_EQ(s.symmetry, Symmetry::asymmetric);
  EXPECT_EQ(s.scales.inner, format_id<kvant::bf16>);
  ASSERT_TRUE(layer.activation.has_value());
  EXPECT_EQ(layer.activation->format, format_id<kvant::int8>);
  EXPECT_EQ(layer.activation->granularity, Granularity(kvant::PerToken{}));
  EXPECT_FALSE(s.is_cast());
  EXPECT_EQ(parse_layer_scheme("int4-tensor")->weight.granularity, Granularity(kvant::PerTensor{}));
  EXPECT_EQ(parse_layer_scheme("int4-channel")->weight.granularity, Granularity(kvant::PerChannel{}));
  EXPECT_EQ(parse_layer_scheme("int4-g7")->weight.granularity, Granularity(kvant::PerGroup{7}));
  EXPECT_EQ(parse_layer_scheme("int4-g7-full")->weight.symmetry, Symmetry::full);
  EXPECT_EQ(parse_layer_scheme("int4-g7")->weight.scales.inner, format_id<kvant::fp16>);
  EXPECT_TRUE(parse_layer_scheme("bf16")->is_cast());
}

TEST(Scheme, RefusesMalformedText) {
  const std::string nul("int4-g128\0", 10);
  const std::string inner_nul("int4\0-g128", 10);
  const std::string megabyte(1u << 20, 'g');
  for (const std::string& text : std::vector<std::string>{"",
                                                          " ",
                                                          "-",
                                                          "/",
                                                          "--",
                                                          "//",
                                                          "g128",
                                                          "int4",
                                                          "int4-",
                                                          "int4/",
                                                          "-int4-g128",
                                                          "/int8-token",
                                                          "int4--g128",
                                                          "int4-g128-",
                                                          "int4-g128/",
                                                          "int4-g128-/int8-token",
                                                          "int4-g128--sym",
                                                          "int4-g128//int8-token",
                                                          "int4 -g128",
                                                          " int4-g128",
                                                          "int4-g128 ",
                                                          "int4-g128\n",
                                                          "int4\t-g128",
                                                          nul,
                                                          inner_nul,
                                                          "Int4-g128",
                                                          "INT4-G128",
                                                          "int4-G128",
                                                          "int4_g128",
                                                          "int4:g128",
                                                          "int4-128",
                                                          "int4g128",
                                                          "int9-g128",
                                                          "int0-g128",
                                                          "int-g128",
                                                          "int04-g128",
                                                          "fp8-channel",
                                                          "fp17",
                                                          "float32",
                                                          "int4-g",
                                                          "int4-g0",
                                                          "int4-g00",
                                                          "int4-g0128",
                                                          "int4-g-1",
                                                          "int4-g+1",
                                                          "int4-g1.5",
                                                          "int4-g1e3",
                                                          "int4-g0x10",
                                                          "int4-g128x",
                                                          "int4-g128x128",
                                                          "int4-g1 ",
                                                          "int4-g18446744073709551616",
                                                          "int4-g99999999999999999999999999",
                                                          "int4-b",
                                                          "int4-b128",
                                                          "int4-b128x",
                                                          "int4-bx128",
                                                          "int4-b0x128",
                                                          "int4-b128x0",
                                                          "int4-b128x128x128",
                                                          "int4-b128X128",
                                                          "int4-b-1x2",
                                                          "int4-b128x18446744073709551616",
                                                          "int4-b1x1x",
                                                          "int4-tensors",
                                                          "int4-Tensor",
                                                          "int4-tenso",
                                                          "int4-chan",
                                                          "int4-token",
                                                          "int4-row",
                                                          "int4-column",
                                                          "int4-tensor-channel",
                                                          "int4-g128-g128",
                                                          "int4-channel-g128",
                                                          "int4-g128-sym-sym",
                                                          "int4-g128-sym-asym",
                                                          "int4-g128-asym-full",
                                                          "int4-sym-g128",
                                                          "int4-asym",
                                                          "int4-g128-scale:fp32-asym",
                                                          "int4-scale:fp32-g128",
                                                          "int4-g128-scale:fp32-scale:fp32",
                                                          "int4-g128-scale",
                                                          "int4-g128-scale:",
                                                          "int4-g128-scale:fp",
                                                          "int4-g128-scale:FP32",
                                                          "int4-g128-scale:int8",
                                                          "int4-g128-scale:uint8",
                                                          "int4-g128-scale:fp4_e2m1",
                                                          "int4-g128-scale:nf4",
                                                          "int4-g128-scale:ternary",
                                                          "int4-g128-scale :fp32",
                                                          "int4-g128-scale:fp32 ",
                                                          "int4-g128-symm",
                                                          "int4-g128-asymm",
                                                          "int4-g128-fully",
                                                          "int4-g128-full-scale:ue4m3",
                                                          "nf4-g64-asym",
                                                          "nf4-g64-full",
                                                          "fp8_e4m3fn-channel-asym",
                                                          "fp8_e4m3fn-channel-full",
                                                          "fp4_e2m1-g32-asym",
                                                          "int1-g128-asym",
                                                          "int1-g128-full",
                                                          "ternary-tensor-asym",
                                                          "ternary-tensor-full",
                                                          "uint4-g128-full",
                                                          "uint8-channel-full",
                                                          "bf16-g128",
                                                          "fp16-tensor",
                                                          "fp32-channel",
                                                          "fp16-token",
                                                          "bf16-asym",
                                                          "fp32-full",
                                                          "bf16-scale:fp32",
                                                          "fp16/int8-token",
                                                          "bf16-/int8-token",
                                                          "int8-channel/",
                                                          "int8-channel/int8",
                                                          "int8-channel/int8-",
                                                          "int8-channel/-token",
                                                          "int8-channel/token",
                                                          "int8-channel/int8-token-",
                                                          "int8-channel/int8-token/",
                                                          "int8-channel/int8-token/int8-token",
                                                          "int8-channel/int9-token",
                                                          "int8-channel/int8-tokens",
                                                          "int8-channel/int8-token-sym",
                                                          "int8-channel/nf4-token",
                                                          "int8-channel/fp32",
                                                          "int8-channel/ int8-token",
                                                          "int8-channel /int8-token",
                                                          "\xff\xfe",
                                                          "int4-g\xd9\xa3",
                                                          megabyte,
                                                          "int4-" + megabyte}) {
    const auto scheme = parse_layer_scheme(text);
    ASSERT_FALSE(scheme.has_value()) << "'" << text.substr(0, 80) << "' became " << to_text(*scheme);
    EXPECT_EQ(scheme.error().code, kvant::ErrorCode::bad_scheme) << text.substr(0, 80);
    EXPECT_FALSE(scheme.error().message.empty());
    EXPECT_LT(scheme.error().message.size(), 1000u) << "quotes a bounded part of the text";
  }
}

/// What is left of a text that leaves nothing out: the defaults may be spelled, anything else must come back.
std::string without_defaults(std::string text) {
  for (const std::string_view part : {"-scale:fp16", "-sym"}) {
    const auto at = text.find(part);
    if (at == std::string::npos) continue;
    const std::size_t end = at + part.size();
    if (end == text.size() || text[end] == '-' || text[end] == '/') text.erase(at, part.size());
  }
  return text;
}

TEST(Scheme, AcceptsNoTextThatItWouldPrintDifferently) {
  const std::string alphabet = "-/:x_abgilmnsty01248 ";
  std::size_t accepted = 0;
  for (const char* base : {"int4-g128-asym-scale:fp32/int8-token", "int8-channel/int8-token", "int2-b16x4-full",
                           "fp8_e4m3fn-b128x128", "bf16", "ternary-tensor-sym", "nf4-g64-scale:bf16"}) {
    std::vector<std::string> mutants;
    const std::string text = base;
    for (std::size_t i = 0; i <= text.size(); ++i) {
      for (const char c : alphabet) {
        mutants.push_back(text.substr(0, i) + c + text.substr(i));
        if (i < text.size()) mutants.push_back(text.substr(0, i) + c + text.substr(i + 1));
      }
      for (std::size_t n = 1; i + n <= text.size(); ++n) mutants.push_back(text.substr(0, i) + text.substr(i + n));
    }
    for (const std::string& mutant : mutants) {
      const auto scheme = parse_layer_scheme(mutant);
      if (!scheme) {
        ASSERT_EQ(scheme.error().code, kvant::ErrorCode::bad_scheme);
        continue;
      }
      ++accepted;
      ASSERT_EQ(to_text(*scheme), without_defaults(mutant)) << mutant;
    }
  }
  EXPECT_GT(accepted, 100u) << "the mutations hit the grammar";
}

TEST(Scheme, HugeGroupsParse) {
  EXPECT_EQ(to_text(*parse_layer_scheme("int4-g18446744073709551615")), "int4-g18446744073709551615");
}

TEST(Scheme, BuiltByHandIsChecked) {
  Scheme s = *kvant::parse_scheme("int4-g128");
  s.granularity = kvant::PerGroup{0};
  EXPECT_FALSE(kvant::check_scheme(s, "g0").has_value());
  s.granularity = kvant::PerBlock{0, 4};
  EXPECT_FALSE(kvant::check_scheme(s, "b0x4").has_value());
  s.granularity = kvant::PerBlock{4, 0};
  EXPECT_FALSE(kvant::check_scheme(s, "b4x0").has_value());
  s.granularity = kvant::PerToken{};
  EXPECT_FALSE(kvant::check_scheme(s, "token").has_value());
  s.granularity = Granularity{};
  EXPECT_FALSE(kvant::check_scheme(s, "").has_value());
  s.granularity = kvant::PerTensor{};
  EXPECT_TRUE(kvant::check_scheme(s, "").has_value());
  s.scales.inner = format_id<kvant::int8>;
  EXPECT_FALSE(kvant::check_scheme(s, "").has_value());
  kvant::LayerScheme layer = *parse_layer_scheme("int8-channel");
  layer.activation = kvant::ActivationScheme{format_id<kvant::fp8_e4m3fn>, kvant::PerTensor{}};
  EXPECT_FALSE(kvant::check_scheme(layer, "").has_value());
  layer.activation = kvant::ActivationScheme{};
  EXPECT_TRUE(kvant::check_scheme(layer, "").has_value());
}

// A weight's scheme by itself says nothing of inputs.
TEST(Scheme, OfAWeightTakesNoActivation) {
  const auto scheme = kvant::parse_scheme("int8-channel/int8-token");
  ASSERT_FALSE(scheme);
  EXPECT_EQ(scheme.error().code, kvant::ErrorCode::bad_scheme);
  EXPECT_EQ(*kvant::parse_scheme("int8-channel"), parse_layer_scheme("int8-channel")->weight);
}

TEST(Scheme, IsFp32WithoutPartsByDefault) {
  EXPECT_TRUE(kvant::check_scheme(Scheme{}, "").has_value());
  EXPECT_EQ(to_text(Scheme{}), "fp32");
}

}  // namespace
