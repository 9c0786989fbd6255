// SPDX-License-Identifier: Apache-2.0
// Scales of two levels and scales that are powers of two: MX, NVFP4, double quantization, integer-scaled formats. Each
// against the published rule, written down again in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/number_formats.hpp"
#include "../reference/weights.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/quant/layer_scheme.hpp"

namespace {

using kvant::Matrix;
using kvant::NonFinite;
using kvant::PowerRule;
using kvant::QMatrix;
using kvant::QuantizeOptions;
using kvant::ScaleConvention;
using kvant::Scheme;

const std::vector<std::string> kMx{"mxfp8_e4m3fn", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4", "mxint8"};
const std::vector<std::string> kIntegerScaled{"is4", "is3", "is2"};

std::vector<std::string> all_block_formats() {
  std::vector<std::string> all;
  for (const kvant::BlockFormat& b : kvant::kBlockFormats) all.emplace_back(b.name);
  all.insert(all.end(), {"nf4-g64-dq", "int4-g32-dq", "int4-g32-asym-dq", "fp4_e2m1-channel-dq", "int4-g32-scale:e8m0",
                         "uint4-g64-fzero", "uint8-channel-fzero-scale:bf16", "uint2-g16-fzero-scale:fp32"});
  return all;
}

Scheme scheme(const std::string& text) { return *kvant::parse_scheme(text); }

/// Normal weights whose rows differ in magnitude, with outliers and zeros.
Matrix<float> weights(std::size_t rows, std::size_t cols, std::uint32_t seed) {
  Matrix<float> w = reference::normal_matrix(rows, cols, seed);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      w(r, c) = std::ldexp(w(r, c), static_cast<int>(r % 5) - 2);
      if ((r * cols + c) % 61 == 7) w(r, c) *= 12.0f;
      if ((r * cols + c) % 29 == 5) w(r, c) = 0.0f;
    }
  return w;
}

float amax_of(const Matrix<float>& w, std::size_t r, std::size_t first, std::size_t n) {
  float most = 0;
  for (std::size_t c = first; c < std::min(first + n, w.cols()); ++c) most = std::max(most, std::fabs(w(r, c)));
  return most;
}

double squared_error(const Matrix<float>& w, const QMatrix& q) {
  const Matrix<float> back = kvant::dequantize(q);
  double sum = 0;
  for (std::size_t i = 0; i < w.size(); ++i)
    sum += std::pow(static_cast<double>(w.data()[i]) - static_cast<double>(back.data()[i]), 2);
  return sum;
}

// ---- text ----------------------------------------------------------------------------------------------------------

TEST(BlockFormats, AreNamesForWholeSchemes) {
  for (const std::string& text : all_block_formats()) EXPECT_EQ(kvant::to_text(scheme(text)), text);
  EXPECT_EQ(kvant::to_text(scheme("fp4_e2m1-g32-scale:e8m0")), "mxfp4");
  EXPECT_EQ(kvant::to_text(scheme("fp8_e4m3fn-g32-scale:e8m0")), "mxfp8_e4m3fn");
  EXPECT_EQ(kvant::to_text(scheme("int8_q6-g32-scale:e8m0")), "mxint8");
  EXPECT_EQ(kvant::to_text(scheme("fp4_e2m1-g16-scale:fp8_e4m3fn")), "fp4_e2m1-g16-scale:fp8_e4m3fn");
  EXPECT_EQ(kvant::to_text(*kvant::parse_layer_scheme("is4/int8-token")), "is4/int8-token");
  EXPECT_EQ(kvant::to_text(scheme("nf4-g64-scale:fp16-dq")), "nf4-g64-dq");
}

TEST(BlockFormats, RefusePartsThatDoNotFit) {
  for (const char* text : {"mxfp4-g32",
                           "nvfp4-sym",
                           "is4-asym",
                           "is4-",
                           "nf4-g64-dq-scale:fp16",
                           "nf4-g64-scale:bf16-dq",
                           "nf4-dq",
                           "int4-g32-asym-scale:e8m0",
                           "int4-g32-full-scale:e8m0",
                           "iq4_nl-g32-scale:e8m0",
                           "int1-g32-scale:e8m0",
                           "e8m0-g32",
                           "ue4m3-tensor",
                           "even2-g32",
                           "int8_q6-g32-asym",
                           "int8_q6-g32-full",
                           "mxfp4/int8-channel",
                           "int4-g32-scale:int8",
                           "bf16-dq",
                           "int4-g32-fzero",
                           "uint4-tensor-fzero",
                           "uint4-g32-asym-fzero",
                           "uint4-g32-fzero-dq",
                           "uint4-g32-fzero-scale:fp8_e5m2",
                           "nf4-g64-fzero",
                           "q4_k-g32",
                           "fp32-fzero"})
    EXPECT_EQ(kvant::parse_layer_scheme(text).error().code, kvant::ErrorCode::bad_scheme) << text;
}

TEST(BlockFormats, SayWhatTheyStorePerWeight) {
  const auto bits = [](const char* text) {
    return static_cast<double>(kvant::stored_bits(scheme(text), 4096, 4096)) / (4096.0 * 4096.0);
  };
  EXPECT_EQ(bits("mxfp4"), 4.25);
  EXPECT_EQ(bits("mxfp6_e3m2"), 6.25);
  EXPECT_EQ(bits("mxint8"), 8.25);
  EXPECT_NEAR(bits("nvfp4"), 4.5, 1e-5);
  EXPECT_EQ(bits("is4"), 4.1875 + 2 * 16.0 / 4096);
  EXPECT_EQ(bits("is3"), 3.25 + 2 * 16.0 / 4096);
  EXPECT_EQ(bits("is2"), 2.25 + 2 * 16.0 / 4096);
  EXPECT_NEAR(bits("nf4-g64-dq"), 4 + 8.0 / 64 + 32.0 / (64 * 256), 1e-5);
  // ggml-common.h's sizes of blocks: 144, 176, 84, 110 and 210 bytes for 256 weights, 20 and 24 for 32.
  EXPECT_EQ(bits("q4_k"), 144 * 8 / 256.0);
  EXPECT_EQ(bits("q5_k"), 176 * 8 / 256.0);
  EXPECT_EQ(bits("q2_k"), 84 * 8 / 256.0);
  EXPECT_EQ(bits("q3_k"), 110 * 8 / 256.0);
  EXPECT_EQ(bits("q6_k"), 210 * 8 / 256.0);
  EXPECT_EQ(bits("q4_1"), 20 * 8 / 32.0);
  EXPECT_EQ(bits("q5_1"), 24 * 8 / 32.0);
  EXPECT_EQ(bits("uint4-g64-fzero-scale:fp32"), 5.0);
}

// ---- MX ------------------------------------------------------------------------------------------------------------

/// floor(log2(largest value)) of each element type, from the OCP MX specification's table 1.
int largest_exponent(const std::string& name) {
  if (name == "mxfp8_e4m3fn") return 8;
  if (name == "mxfp8_e5m2") return 15;
  if (name == "mxfp6_e3m2") return 4;
  if (name == "mxfp6_e2m3" || name == "mxfp4") return 2;
  return 0;
}

double expected_power(const std::string& name, double amax, PowerRule rule, double largest) {
  if (amax == 0) return 0x1p-127;
  const double e = std::floor(std::log2(amax));
  switch (rule) {
    case PowerRule::floor:
      return std::exp2(e - largest_exponent(name));
    case PowerRule::ct:
      return std::exp2(e - largest_exponent(name) + (amax >= 1.75 * std::exp2(e) ? 1 : 0));
    case PowerRule::up: {
      double p = std::exp2(e - largest_exponent(name) - 2);
      while (p * largest < amax) p *= 2;
      return p;
    }
    case PowerRule::nearest:
      break;
  }
  const double ratio = static_cast<double>(static_cast<float>(amax / largest));
  const double low = std::exp2(std::floor(std::log2(ratio)));
  return ratio < 1.5 * low ? low : 2 * low;
}

TEST(Mx, PlainScalesFollowTheRule) {
  for (const std::string& name : kMx) {
    const Matrix<float> w = weights(20, 77, 5);
    for (const PowerRule rule : {PowerRule::floor, PowerRule::up, PowerRule::nearest, PowerRule::ct}) {
      QuantizeOptions options;
      options.power_rule = rule;
      const auto q = kvant::quantize(w.view(), scheme(name), options);
      ASSERT_TRUE(q);
      const reference::NumberFormat& element = *reference::find_format(q->scheme.info().name);
      const reference::Encoder encode(element);
      for (std::size_t r = 0; r < w.rows(); ++r)
        for (std::size_t c = 0; c < w.cols(); ++c) {
          const double scale =
              expected_power(name, static_cast<double>(amax_of(w, r, c / 32 * 32, 32)), rule, element.max);
          ASSERT_EQ(static_cast<double>(q->parameters(r, c / 32).scale), scale)
              << name << " rule " << static_cast<int>(rule);
          const auto ratio = static_cast<float>(static_cast<double>(w(r, c)) / scale);  // exact
          ASSERT_EQ(q->codes[r * w.cols() + c], encode(ratio)) << name;
        }
    }
  }
}

TEST(Mx, RulesDifferAsTheirNamesSay) {
  // 6 is the largest E2M1: 3.6 = 1.8 * 2 saturates under floor, which has scale 2^(1 - 2), and not under the others.
  const auto scale = [](float amax, PowerRule rule) {
    QuantizeOptions options;
    options.power_rule = rule;
    return kvant::quantize(Matrix<float>(1, 32, amax).view(), scheme("mxfp4"), options)->scales[0].values[0];
  };
  EXPECT_EQ(scale(3.6f, PowerRule::floor), 0.5f);
  EXPECT_EQ(scale(3.6f, PowerRule::ct), 1.0f);
  EXPECT_EQ(scale(3.6f, PowerRule::up), 1.0f);
  EXPECT_EQ(scale(3.6f, PowerRule::nearest), 0.5f);  // 3.6 / 6 = 0.6
  EXPECT_EQ(scale(3.4f, PowerRule::ct), 0.5f);
  EXPECT_EQ(scale(3.0f, PowerRule::up), 0.5f);
  EXPECT_EQ(scale(4.5f, PowerRule::nearest), 1.0f);  // 4.5 / 6 is the tie of 1/2 and 1
  EXPECT_EQ(scale(4.4f, PowerRule::nearest), 0.5f);
}

TEST(Mx, SearchTriesThePowersAboutThePlainOne) {
  const Matrix<float> w = weights(16, 96, 9);
  for (const std::string& name : kMx) {
    const auto searched = kvant::quantize(w.view(), scheme(name), {.search = true});
    for (std::size_t r = 0; r < w.rows(); ++r)
      for (std::size_t g = 0; g < 3; ++g) {
        // Every group has the least error of all powers of two that there are.
        const Matrix<float> block(1, 32,
                                  std::vector<float>(w.row(r).begin() + static_cast<std::ptrdiff_t>(g * 32),
                                                     w.row(r).begin() + static_cast<std::ptrdiff_t>(g * 32 + 32)));
        const reference::NumberFormat& element = *reference::find_format(searched->scheme.info().name);
        const reference::Encoder encode(element);
        const auto error = [&](double scale) {
          double sum = 0;
          for (std::size_t i = 0; i < 32; ++i) {
            const double x = static_cast<double>(block.data()[i]);
            sum += std::pow(x - scale * reference::decode(element, encode(static_cast<float>(x / scale))), 2);
          }
          return sum;
        };
        const double chosen = error(static_cast<double>(searched->parameters(r, g).scale));
        for (int e = -40; e < 10; ++e) ASSERT_LE(chosen, error(std::exp2(e)) * (1 + 1e-5) + 1e-12) << name << " " << e;
      }
  }
}

// ---- NVFP4 ---------------------------------------------------------------------------------------------------------

TEST(Nvfp4, PlainScalesAreTheBlocksShareOfTheMatrixWideOne) {
  const reference::NumberFormat& e4m3 = *reference::find_format("fp8_e4m3fn");
  const reference::Encoder to_e4m3(e4m3);
  const reference::Encoder to_e2m1(*reference::find_format("fp4_e2m1"));
  const Matrix<float> w = weights(9, 70, 3);
  float amax = 0;
  for (std::size_t r = 0; r < w.rows(); ++r) amax = std::max(amax, amax_of(w, r, 0, w.cols()));
  for (const ScaleConvention convention : {ScaleConvention::compressed_tensors, ScaleConvention::modelopt}) {
    QuantizeOptions options;
    options.convention = convention;
    const auto q = kvant::quantize(w.view(), scheme("nvfp4"), options);
    ASSERT_TRUE(q);
    const bool divides = convention == ScaleConvention::compressed_tensors;
    EXPECT_EQ(q->reciprocal, divides);
    const float global = divides ? 2688.0f / amax : amax / 2688.0f;
    EXPECT_EQ(q->scales[1].values, std::vector<float>{global});
    for (std::size_t r = 0; r < w.rows(); ++r)
      for (std::size_t c = 0; c < w.cols(); ++c) {
        const float block = amax_of(w, r, c / 16 * 16, 16) / 6.0f;
        const float wanted = divides ? block * global : block / global;
        const auto stored = static_cast<float>(reference::decode(e4m3, to_e4m3(wanted)));
        const kvant::GroupParameters p = q->parameters(r, c / 16);
        ASSERT_EQ(p.stored, stored);
        const float scale = divides ? stored / global : stored * global;
        ASSERT_EQ(p.scale, scale);
        ASSERT_EQ(q->codes[r * w.cols() + c], to_e2m1(scale == 0 ? 0.0f : w(r, c) / scale));
      }
  }
}

TEST(Nvfp4, CoversASharedMagnitude) {
  const Matrix<float> w = weights(3, 32, 3);
  QuantizeOptions options;
  options.shared_amax = 8.0f;
  EXPECT_EQ(kvant::quantize(w.view(), scheme("nvfp4"), options)->scales[1].values[0], 336.0f);
  // Rows quantized on their own under the shared magnitude are the rows of the whole.
  const auto whole = kvant::quantize(w.view(), scheme("nvfp4"), options);
  const auto row = kvant::quantize(w.view().rows(1, 1), scheme("nvfp4"), options);
  EXPECT_TRUE(std::equal(row->codes.begin(), row->codes.end(), whole->row_codes(1).begin()));
}

TEST(Nvfp4, GivesABlockOfZerosTheScaleOfItsConvention) {
  Matrix<float> w = weights(1, 32, 4);
  for (std::size_t c = 16; c < 32; ++c) w(0, c) = 0.0f;
  QuantizeOptions options;
  EXPECT_EQ(kvant::quantize(w.view(), scheme("nvfp4"), options)->scales[0].values[1], 0.0f);
  options.convention = ScaleConvention::modelopt;
  EXPECT_EQ(kvant::quantize(w.view(), scheme("nvfp4"), options)->scales[0].values[1], 1.0f);
  // modelopt never stores less than the least E4M3, either.
  for (std::size_t c = 16; c < 32; ++c) w(0, c) = 1e-9f;
  EXPECT_EQ(kvant::quantize(w.view(), scheme("nvfp4"), options)->scales[0].values[1], 0x1p-9f);
}

TEST(Nvfp4, SearchIsBetterThanPlain) {
  const Matrix<float> w = weights(24, 80, 8);
  for (const char* text : {"nvfp4", "fp4_e2m1-g16-scale:fp8_e4m3fn", "int4-g16-scale:fp8_e5m2"})
    EXPECT_LT(squared_error(w, *kvant::quantize(w.view(), scheme(text), {.search = true})),
              squared_error(w, *kvant::quantize(w.view(), scheme(text), {.search = false})))
        << text;
}

// ---- double quantization -------------------------------------------------------------------------------------------

TEST(DoubleQuantization, StoresStepsFromTheMean) {
  const Matrix<float> w = weights(20, 1000, 6);  // 320 scales of 64: two steps
  const auto once = kvant::quantize(w.view(), scheme("nf4-g64-scale:fp32"));
  const auto twice = kvant::quantize(w.view(), scheme("nf4-g64-dq"));
  ASSERT_EQ(twice->scales.size(), 3u);
  ASSERT_EQ(twice->scales[1].values.size(), 2u);
  double mean = 0;
  for (const float s : once->scales[0].values) mean += static_cast<double>(s) / 320;
  EXPECT_NEAR(twice->scales[2].values[0], mean, 1e-9);
  for (std::size_t i = 0; i < 320; ++i) {
    const double code = static_cast<double>(twice->scales[0].values[i]);
    const double step = static_cast<double>(twice->scales[1].values[i / 256]);
    EXPECT_EQ(code, std::round(code));
    EXPECT_LE(std::fabs(code), 127);
    const double scale = static_cast<double>(twice->parameters(i / 16, i % 16).scale);
    EXPECT_NEAR(scale, code * step + static_cast<double>(twice->scales[2].values[0]), scale * 0x1p-24);
    EXPECT_LE(std::fabs(scale - static_cast<double>(once->scales[0].values[i])), step * 0.5001);
  }
  // The codes are those of the scale that is stored, not of the one that was wanted.
  const reference::Encoder encode(*reference::find_format("nf4"));
  for (std::size_t r = 0; r < w.rows(); ++r)
    for (std::size_t c = 0; c < w.cols(); ++c)
      ASSERT_EQ(twice->codes[r * w.cols() + c], encode(w(r, c) / twice->parameters(r, c / 64).scale));
}

TEST(DoubleQuantization, OfEqualScalesIsExact) {
  Matrix<float> w(4, 128, 0.5f);
  const auto q = kvant::quantize(w.view(), scheme("nf4-g64-dq"));
  EXPECT_EQ(q->scales[1].values, std::vector<float>{0.0f});
  EXPECT_EQ(squared_error(w, *q), 0.0);
}

// ---- integer scales ------------------------------------------------------------------------------------------------

struct Rule {
  int codes, step, max_scale, first_zero, zeros;
  std::size_t group;
};
Rule rule_of(const std::string& name) {
  if (name == "is4") return {16, 1, 14, 6, 4, 32};
  if (name == "is3") return {8, 1, 8, 3, 2, 16};
  return {4, 2, 5, 2, 3, 16};
}

/// The least squared error of a group under super-scale S, over all integers and zero points, and the pair.
struct Best {
  double error = 1e300;
  int s = 0, z = 0;
};
Best best_pair(const Rule& rule, const float* x, std::size_t n, double super) {
  Best best;
  for (int s = 1; s <= rule.max_scale; ++s)
    for (int z = rule.first_zero; z < rule.first_zero + rule.zeros; ++z) {
      double error = 0;
      for (std::size_t i = 0; i < n; ++i) {
        double least = 1e300;
        for (int c = 0; c < rule.codes; ++c)
          least = std::min(least, std::pow(static_cast<double>(x[i]) - super * s * (rule.step * c - z), 2));
        error += least;
      }
      if (error < best.error) best = {error, s, z};
    }
  return best;
}

TEST(IntegerScales, StayWithinTheirRuleAndFitIntoInt8) {
  for (const std::string& name : kIntegerScaled) {
    const Rule rule = rule_of(name);
    for (const bool search : {false, true}) {
      const Matrix<float> w = weights(12, 100, 12);
      const auto q = kvant::quantize(w.view(), scheme(name), {.search = search});
      ASSERT_TRUE(q);
      ASSERT_EQ(q->scales.size(), 2u);
      for (std::size_t i = 0; i < q->scales[0].values.size(); ++i) {
        const int s = static_cast<int>(q->scales[0].values[i]);
        EXPECT_EQ(static_cast<float>(s), q->scales[0].values[i]);
        EXPECT_TRUE(s >= 1 && s <= rule.max_scale) << name << " " << s;
        EXPECT_TRUE(q->zero_points[i] >= rule.first_zero && q->zero_points[i] < rule.first_zero + rule.zeros) << name;
      }
      const Matrix<float> back = kvant::dequantize(*q);
      for (std::size_t r = 0; r < w.rows(); ++r)
        for (std::size_t c = 0; c < w.cols(); ++c) {
          const std::size_t g = r * q->scales[0].cols + c / rule.group;
          const int s = static_cast<int>(q->scales[0].values[g]);
          const int steps = s * (rule.step * q->codes[r * w.cols() + c] - q->zero_points[g]);
          EXPECT_LE(std::abs(steps), 127);
          EXPECT_EQ(static_cast<double>(back(r, c)), static_cast<double>(q->scales[1].values[r]) * steps) << name;
        }
    }
  }
}

TEST(IntegerScales, TakeTheNearestCode) {
  for (const std::string& name : kIntegerScaled) {
    const Rule rule = rule_of(name);
    const Matrix<float> w = weights(8, 70, 13);
    const auto q = kvant::quantize(w.view(), scheme(name), {.search = true});
    const Matrix<float> back = kvant::dequantize(*q);
    for (std::size_t r = 0; r < w.rows(); ++r)
      for (std::size_t c = 0; c < w.cols(); ++c) {
        const kvant::GroupParameters p = q->parameters(r, c / rule.group);
        double least = 1e300;
        for (int code = 0; code < rule.codes; ++code)
          least = std::min(least, std::fabs(static_cast<double>(w(r, c)) -
                                            static_cast<double>(p.scale) * (rule.step * code - p.zero)));
        ASSERT_NEAR(std::fabs(static_cast<double>(w(r, c)) - static_cast<double>(back(r, c))), least, 1e-7) << name;
      }
  }
}

TEST(IntegerScales, SearchComesCloseToTheBestThereIs) {
  // The best there is: every fp16 super-scale within a factor of three, every pair of every group, exactly.
  for (const std::string& name : kIntegerScaled) {
    const Rule rule = rule_of(name);
    const Matrix<float> w = weights(6, 128, 14);
    const auto q = kvant::quantize(w.view(), scheme(name), {.search = true});
    const auto plain = kvant::quantize(w.view(), scheme(name), {.search = false});
    double total = 0;
    double best_total = 0;
    for (std::size_t r = 0; r < w.rows(); ++r) {
      const double chosen = static_cast<double>(q->scales[1].values[r]);
      double best = 1e300;
      for (double factor = 0.5; factor < 1.9; factor *= 1.01) {
        double error = 0;
        for (std::size_t first = 0; first < w.cols(); first += rule.group)
          error += best_pair(rule, w.row(r).data() + first, rule.group, chosen * factor).error;
        best = std::min(best, error);
      }
      best_total += best;
      const Matrix<float> back = kvant::dequantize(*q);
      for (std::size_t c = 0; c < w.cols(); ++c)
        total += std::pow(static_cast<double>(w(r, c)) - static_cast<double>(back(r, c)), 2);
    }
    EXPECT_LE(total, best_total * 1.03) << name;
    EXPECT_LE(total, squared_error(w, *plain)) << name;
  }
}

TEST(IntegerScales, SearchIsNeverWorseThanPlain) {
  std::mt19937 engine(3);
  std::normal_distribution<float> normal;
  for (const std::string& name : kIntegerScaled)
    for (int i = 0; i < 200; ++i) {
      const std::size_t n = 1 + engine() % 100;
      const auto kind = engine() % 6;
      const float scale = std::ldexp(1.0f, static_cast<int>(engine() % 20) - 10);
      Matrix<float> w(1, n);
      for (std::size_t c = 0; c < n; ++c) {
        const float v = normal(engine);
        w(0, c) = scale * (kind == 0   ? v
                           : kind == 1 ? (engine() % 4 == 0 ? v : 0.0f)
                           : kind == 2 ? v * v * v
                           : kind == 3 ? static_cast<float>(engine() % 9) - 4.0f
                           : kind == 4 ? std::fabs(v)
                                       : (c / 16 % 2 == 0 ? v : 30 * v));
      }
      const double plain = squared_error(w, *kvant::quantize(w.view(), scheme(name), {.search = false}));
      EXPECT_LE(squared_error(w, *kvant::quantize(w.view(), scheme(name), {.search = true})), plain * (1 + 1e-5))
          << name << ", kind " << kind << ", " << n << " elements";
    }
}

TEST(IntegerScales, GiveLongRowsASuperScaleForEach2048Columns) {
  Matrix<float> w = reference::normal_matrix(2, 4100, 15);
  for (std::size_t c = 2048; c < 4096; ++c) w(1, c) *= 50.0f;
  for (const std::string& name : kIntegerScaled) {
    const auto q = kvant::quantize(w.view(), scheme(name), {.search = true});
    ASSERT_EQ(q->scales[1].rows, 2u);
    ASSERT_EQ(q->scales[1].cols, 3u);
    EXPECT_GT(q->scales[1].values[4], 20.0f * q->scales[1].values[3]) << name;
    const double power = reference::squared_distance(std::vector<float>(w.data(), w.data() + w.size()),
                                                     std::vector<float>(w.size(), 0.0f));
    EXPECT_LT(squared_error(w, *q), power * 0.1) << name;
  }
}

TEST(IntegerScales, Is4BeatsFp16GroupsOf128AtTheSameSize) {
  for (const std::uint32_t seed : {20u, 21u, 22u}) {
    const Matrix<float> w = reference::normal_matrix(16, 512, seed);
    EXPECT_LT(squared_error(w, *kvant::quantize(w.view(), scheme("is4"), {.search = true})),
              0.95 * squared_error(w, *kvant::quantize(w.view(), scheme("int4-g128"), {.search = true})));
  }
}

TEST(IntegerScales, KeepRowsOfZerosAndTinyRows) {
  for (const std::string& name : kIntegerScaled)
    for (const bool search : {false, true}) {
      Matrix<float> w = weights(4, 64, 16);
      for (std::size_t c = 0; c < 64; ++c) w(1, c) = 0.0f;
      for (std::size_t c = 0; c < 64; ++c) w(2, c) = c % 2 == 0 ? 1e-42f : -1e-42f;
      for (std::size_t c = 0; c < 32; ++c) w(3, c) = 0.0f;  // whole groups of zeros in an ordinary row
      const auto q = kvant::quantize(w.view(), scheme(name), {.search = search});
      const Matrix<float> back = kvant::dequantize(*q);
      for (std::size_t c = 0; c < 64; ++c) {
        EXPECT_EQ(back(1, c), 0.0f) << name;
        EXPECT_EQ(back(2, c), 0.0f) << name;
        EXPECT_EQ(c < 32 ? back(3, c) : 0.0f, 0.0f) << name;
      }
    }
}

// ---- all of them ---------------------------------------------------------------------------------------------------

TEST(BlockFormats, AreTotal) {
  for (const std::string& text : all_block_formats())
    for (const auto& [rows, cols] :
         {std::pair<std::size_t, std::size_t>{0, 0}, {0, 31}, {3, 0}, {1, 1}, {1, 15}, {2, 33}, {3, 200}, {1, 2049}})
      for (const float magnitude : {0.0f, 1e-45f, 1e-38f, 1e-20f, 0.02f, 1.0f, 1e4f})
        for (const bool search : {false, true}) {
          Matrix<float> w = reference::normal_matrix(rows, cols, 17);
          for (std::size_t i = 0; i < w.size(); ++i) w.data()[i] *= 50.0f * magnitude;
          const auto q = kvant::quantize(w.view(), scheme(text), {.search = search});
          ASSERT_TRUE(q) << text;
          const Matrix<float> back = kvant::dequantize(*q);
          for (std::size_t i = 0; i < w.size(); ++i) {
            ASSERT_TRUE(std::isfinite(back.data()[i])) << text << " " << magnitude;
            ASSERT_EQ(magnitude == 0.0f ? back.data()[i] : 0.0f, 0.0f) << text;
          }
          // What is simulated is what is stored.
          const kvant::FormatInfo& type = kvant::format_info(q->scales[0].type);
          for (const float s : q->scales[0].values) ASSERT_EQ(type.decode(type.encode(s)), s) << text;
        }
}

TEST(BlockFormats, KeepOrDropWhatIsNotFinite) {
  for (const std::string& text : all_block_formats()) {
    Matrix<float> w = weights(3, 64, 18);
    const auto clean = kvant::quantize(w.view(), scheme(text));
    w(1, 7) = INFINITY;
    w(2, 40) = NAN;
    EXPECT_EQ(kvant::quantize(w.view(), scheme(text)).error().code, kvant::ErrorCode::nonfinite) << text;
    for (const NonFinite policy : {NonFinite::zero, NonFinite::keep}) {
      const auto q = kvant::quantize(w.view(), scheme(text), {.nonfinite = policy});
      ASSERT_TRUE(q) << text;
      if (policy == NonFinite::keep && q->scheme.info().has_nan) continue;
      for (std::size_t i = 0; i < w.size(); ++i) EXPECT_TRUE(std::isfinite(kvant::dequantize(*q).data()[i])) << text;
    }
  }
}

TEST(BlockFormats, WeighColumnsInASearch) {
  // Columns that count for nothing take the error, so those that count have less of it.
  const Matrix<float> w = weights(12, 128, 19);
  std::vector<float> importance(128);
  for (std::size_t c = 0; c < 128; ++c) importance[c] = c % 2 == 0 ? 1.0f : 1e-3f;
  const auto even_error = [&](const QMatrix& q) {
    const Matrix<float> back = kvant::dequantize(q);
    double sum = 0;
    for (std::size_t i = 0; i < w.size(); i += 2)
      sum += std::pow(static_cast<double>(w.data()[i]) - static_cast<double>(back.data()[i]), 2);
    return sum;
  };
  for (const char* text : {"is4", "is3", "is2", "nvfp4", "mxfp4", "int4-g32", "int3-g32-asym", "nf4-g64", "ternary-g32",
                           "fp4_e2m1-g32", "int1-g32"}) {
    QuantizeOptions options{.search = true};
    const double unweighted = even_error(*kvant::quantize(w.view(), scheme(text), options));
    options.column_weights = importance;
    EXPECT_LT(even_error(*kvant::quantize(w.view(), scheme(text), options)), unweighted) << text;
  }
  QuantizeOptions wrong{.search = true};
  wrong.column_weights = std::span<const float>(importance).first(5);
  EXPECT_EQ(kvant::quantize(w.view(), scheme("int4-g32"), wrong).error().code, kvant::ErrorCode::bad_shape);
  for (const float bad : {-1.0f, -1e-45f, INFINITY, -INFINITY, std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> weights = importance;
    weights[77] = bad;
    wrong.column_weights = weights;
    EXPECT_EQ(kvant::quantize(w.view(), scheme("int4-g32"), wrong).error().code, kvant::ErrorCode::usage) << bad;
  }
}

}  // namespace
