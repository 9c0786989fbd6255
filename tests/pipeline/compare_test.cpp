// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/compare.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/core/rng.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/pipeline/evaluate.hpp"
#include "kvant/pipeline/run.hpp"
#include "nn/tiny_model.hpp"
#include "reference/executors.hpp"
#include "silent.hpp"

namespace kvant::pipeline {
namespace {

using io::test::TemporaryFolder;
using nn::test::TinyModel;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Tensor {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::vector<float> values;
};

std::vector<float> random_values(std::size_t n, std::uint64_t seed) {
  std::vector<float> v(n);
  Rng random(seed);
  for (float& x : v) x = random.uniform() - random.uniform();
  return v;
}

io::Weights write(const std::filesystem::path& path, const std::vector<Tensor>& tensors) {
  std::vector<io::TensorSpec> specs;
  for (const Tensor& t : tensors) specs.push_back({t.name, DType::f32, t.shape});
  auto writer = io::SafetensorsWriter::create(path, specs, {}, io::OutputMode::refuse);
  for (const Tensor& t : tensors) EXPECT_TRUE(writer->write(t.name, 0, std::as_bytes(std::span(t.values))));
  EXPECT_TRUE(writer->commit());
  auto weights = io::Weights::open(path);
  EXPECT_TRUE(weights) << (weights ? "" : describe(weights.error()));
  return std::move(*weights);
}

Result<WeightComparison> compare(const io::Weights& a, const io::Weights& b, const Context& context = {}) {
  Silent progress;
  auto result = compare_weights(a, b, context, progress);
  EXPECT_TRUE(!result || progress.last_done == progress.last_total);
  return result;
}

// ---- weights -------------------------------------------------------------------------------------------------------

TEST(CompareWeights, FindsNoDistanceBetweenACheckpointAndItself) {
  const TemporaryFolder folder;
  const io::Weights weights =
      write(folder / "a",
            {{"a.weight", {7, 33}, random_values(231, 1)}, {"b", {0, 4}, {}}, {"c", {5}, {1, kNan, -kInf, 0, -2}}});
  const auto found = compare(weights, weights);
  ASSERT_TRUE(found) << describe(found.error());
  ASSERT_EQ(found->tensors.size(), 3u);
  for (const TensorComparison& t : found->tensors) {
    EXPECT_EQ(t.distortion.sqnr_db, kInf) << t.name;
    EXPECT_EQ(t.distortion.max_abs_error, 0) << t.name;
    EXPECT_EQ(t.distortion.relative_error, 0) << t.name;
    EXPECT_EQ(t.distortion.cosine, 1) << t.name;
    EXPECT_EQ(t.nonfinite, 0u) << t.name;
  }
}

TEST(CompareWeights, MeasuresWhatTheDefinitionsSay) {
  const TemporaryFolder folder;
  const std::vector<float> x = random_values(40 * 25, 1);
  std::vector<float> y = random_values(40 * 25, 2);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = x[i] + 0.01f * y[i];
  const io::Weights a = write(folder / "a", {{"w", {40, 25}, x}});
  const io::Weights b = write(folder / "b", {{"w", {40, 25}, y}});
  long double xx = 0, yy = 0, xy = 0, ee = 0, most = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double p = x[i], q = y[i];
    xx += p * p;
    yy += q * q;
    xy += p * q;
    ee += (p - q) * (p - q);
    most = std::max(most, std::fabs(p - q));
  }
  const Distortion d = compare(a, b)->tensors[0].distortion;
  EXPECT_NEAR(d.sqnr_db, static_cast<double>(10 * std::log10(xx / ee)), 1e-10);
  EXPECT_NEAR(d.relative_error, static_cast<double>(std::sqrt(ee / xx)), 1e-14);
  EXPECT_EQ(d.max_abs_error, static_cast<double>(most));
  EXPECT_NEAR(d.cosine, static_cast<double>(xy / std::sqrt(xx * yy)), 1e-14);
}

TEST(CompareWeights, FindsTheErrorThatQuantizeReported) {
  const TemporaryFolder folder;
  const io::Weights a = write(folder / "a", {{"a.weight", {40, 96}, random_values(40 * 96, 1)},
                                             {"b.weight", {33, 50}, random_values(33 * 50, 2)}});
  for (const char* scheme : {"int8-channel", "int4-g32-asym", "nvfp4", "is4", "fp8_e4m3fn-b16x16"}) {
    QuantizeJob job;
    job.input = folder / "a";
    job.output = folder / "q";
    job.plan.scheme = *parse_scheme(scheme);
    job.mode = io::OutputMode::replace;
    Silent progress;
    const auto report = quantize_checkpoint(job, {}, progress);
    ASSERT_TRUE(report) << describe(report.error());
    const auto found = compare(a, *io::Weights::open(job.output));
    ASSERT_TRUE(found) << describe(found.error());
    for (std::size_t i = 0; i < 2; ++i) {
      const TensorComparison& t = found->tensors[i];
      EXPECT_FALSE(t.scheme_a) << t.name;
      EXPECT_EQ(to_text(*t.scheme_b), scheme) << t.name;
      EXPECT_NEAR(t.distortion.sqnr_db, report->tensors[i].distortion.sqnr_db, 1e-9) << scheme << t.name;
      EXPECT_EQ(t.distortion.max_abs_error, report->tensors[i].distortion.max_abs_error) << scheme << t.name;
    }
  }
}

TEST(CompareWeights, ListsWhatItCannotCompare) {
  const TemporaryFolder folder;
  const io::Weights a =
      write(folder / "a", {{"both", {2}, {1, 2}}, {"one", {1}, {1}}, {"shape", {2, 3}, {1, 2, 3, 4, 5, 6}}});
  const io::Weights b =
      write(folder / "b", {{"both", {2}, {1, 2}}, {"shape", {3, 2}, {1, 2, 3, 4, 5, 6}}, {"two", {1}, {1}}});
  const auto found = compare(a, b);
  ASSERT_TRUE(found) << describe(found.error());
  EXPECT_EQ(found->tensors.size(), 1u);
  EXPECT_EQ(found->only_in_a, std::vector<std::string>{"one"});
  EXPECT_EQ(found->only_in_b, std::vector<std::string>{"two"});
  ASSERT_EQ(found->shape_mismatch.size(), 1u);
  EXPECT_EQ(found->shape_mismatch[0].shape_b, (std::vector<std::uint64_t>{3, 2}));
  const std::string ids = io::test::safetensors_bytes(R"({"both":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                                      R"("ids":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}})",
                                                      std::string(16, '\0'));
  const auto with_ids = io::Weights::open(folder.write("ids", ids));
  ASSERT_TRUE(with_ids) << describe(with_ids.error());
  EXPECT_EQ(compare(*with_ids, *with_ids)->not_compared, std::vector<std::string>{"ids"});
}

TEST(CompareWeights, RefusesCheckpointsWithNothingInCommon) {
  const TemporaryFolder folder;
  const io::Weights a = write(folder / "a", {{"a", {2}, {1, 2}}, {"c", {2}, {1, 2}}});
  const io::Weights b = write(folder / "b", {{"b", {2}, {1, 2}}, {"c", {1}, {1}}});
  EXPECT_EQ(compare(a, b).error().code, ErrorCode::unsupported);
}

TEST(CompareWeights, CountsNumbersThatAreNoNumbersOnOneSide) {
  const TemporaryFolder folder;
  const io::Weights a = write(folder / "a", {{"w", {6}, {1, kNan, kInf, kInf, 4, 3}}});
  const io::Weights b = write(folder / "b", {{"w", {6}, {1, kNan, kInf, -kInf, kNan, 4}}});
  const TensorComparison t = compare(a, b)->tensors[0];
  EXPECT_EQ(t.nonfinite, 2u);
  EXPECT_EQ(t.distortion.max_abs_error, 1);
  EXPECT_NEAR(t.distortion.sqnr_db, 10, 1e-12);  // 1 + 9 over 1
}

TEST(CompareWeights, GivesTheSameFromBandsAndAnyNumberOfThreads) {
  const TemporaryFolder folder;
  const std::size_t cols = std::size_t{3} << 19;  // five rows are two bands
  const std::vector<float> x = random_values(5 * cols, 1);
  std::vector<float> y = x;
  y[4 * cols + 7] += 1;
  const io::Weights a = write(folder / "a", {{"w", {5, cols}, x}});
  const io::Weights b = write(folder / "b", {{"w", {5, cols}, y}});
  reference::ThreadedExecutor threads(3);
  const auto one = compare(a, b);
  const auto many = compare(a, b, Context(Context{}.kernels(), threads));
  EXPECT_NEAR(one->tensors[0].distortion.max_abs_error, 1, 1e-6);
  EXPECT_EQ(one->tensors[0].distortion.sqnr_db, many->tensors[0].distortion.sqnr_db);
  EXPECT_EQ(one->tensors[0].distortion.cosine, many->tensors[0].distortion.cosine);
}

TEST(CompareWeights, StopsWhenItIsTold) {
  const TemporaryFolder folder;
  const io::Weights a = write(folder / "a", {{"a", {2}, {1, 2}}});
  Silent progress;
  progress.stop_at = 1;
  EXPECT_EQ(compare_weights(a, a, {}, progress).error().code, ErrorCode::interrupted);
}

// ---- predictions ---------------------------------------------------------------------------------------------------

/// A model whose predictions are not the same, and not far away.
TinyModel changed(TinyModel model) {
  for (float& w : model.tensors.at("model.layers.1.mlp.down_proj.weight").values) w *= 0.7f;
  return model;
}

/// A model that holds every id for as likely as any other.
TinyModel indifferent(TinyModel model) {
  for (float& w : model.tensors.at("model.norm.weight").values) w = 0;
  return model;
}

Result<PredictionComparison> compare(const nn::Model& a, const nn::Model& b, const std::vector<std::int32_t>& ids,
                                     std::size_t window, const Context& context = {}) {
  Silent progress;
  return compare_predictions(a, b, Dataset{ids, {}}, window, context, progress);
}

TEST(ComparePredictions, FindNoDistanceBetweenAModelAndItself) {
  const TinyModel tiny;
  const auto model = tiny.write_and_load();
  ASSERT_TRUE(model) << describe(model.error());
  const auto found = compare(*model, *model, tiny.random_ids(200), 64);
  ASSERT_TRUE(found) << describe(found.error());
  EXPECT_EQ(found->tokens, 200u - 4);
  EXPECT_EQ(found->kl_mean, 0);
  EXPECT_EQ(found->kl_stderr, 0);
  EXPECT_EQ(found->kl_p99, 0);
  EXPECT_EQ(found->top1_agreement, 1);
  EXPECT_EQ(found->nll_a, found->nll_b);
}

/// Everything again, from probabilities in double and one window's logits at a time.
PredictionComparison plainly(const nn::Model& a, const nn::Model& b, std::span<const std::int32_t> ids,
                             std::size_t window) {
  const auto probabilities = [](std::span<const float> logits) {
    std::vector<double> p(logits.begin(), logits.end());
    double sum = 0;
    for (double& x : p) sum += x = std::exp(x);
    for (double& x : p) x /= sum;
    return p;
  };
  PredictionComparison r;
  std::vector<double> all, means;
  for (std::size_t first = 0; first < ids.size(); first += window) {
    const auto part = ids.subspan(first, std::min(window, ids.size() - first));
    const Matrix<float> logits_a = nn::test::logits_of(a, part);
    const Matrix<float> logits_b = nn::test::logits_of(b, part);
    double sum = 0;
    for (std::size_t t = 0; t + 1 < part.size(); ++t) {
      const auto p = probabilities(logits_a.row(t)), q = probabilities(logits_b.row(t));
      double kl = 0;
      for (std::size_t i = 0; i < p.size(); ++i) kl += p[i] * std::log(p[i] / q[i]);
      all.push_back(kl);
      sum += kl;
      const auto next = static_cast<std::size_t>(part[t + 1]);
      r.nll_a -= std::log(p[next]);
      r.nll_b -= std::log(q[next]);
      std::size_t top_p = 0, top_q = 0;
      for (std::size_t i = 1; i < p.size(); ++i) {
        if (logits_a(t, i) > logits_a(t, top_p)) top_p = i;
        if (logits_b(t, i) > logits_b(t, top_q)) top_q = i;
      }
      r.top1_agreement += top_p == top_q ? 1 : 0;
    }
    if (part.size() > 1) means.push_back(sum / static_cast<double>(part.size() - 1));
  }
  r.tokens = all.size();
  const auto n = static_cast<double>(r.tokens);
  for (const double kl : all) r.kl_mean += kl / n;
  std::sort(all.begin(), all.end());
  r.kl_p99 = all[static_cast<std::size_t>(std::ceil(0.99 * n)) - 1];
  double center = 0, spread = 0;
  for (const double m : means) center += m / static_cast<double>(means.size());
  for (const double m : means) spread += (m - center) * (m - center);
  r.kl_stderr = std::sqrt(spread / static_cast<double>((means.size() - 1) * means.size()));
  for (double* mean : {&r.nll_a, &r.nll_b, &r.top1_agreement}) *mean /= n;
  return r;
}

TEST(ComparePredictions, FindWhatTheDefinitionsSay) {
  const TinyModel tiny;
  const auto a = tiny.write_and_load();
  const auto b = changed(tiny).write_and_load();
  const auto flat = indifferent(tiny).write_and_load();
  ASSERT_TRUE(a && b && flat);
  const std::vector<std::int32_t> ids = tiny.random_ids(801);  // the last window has one id, which nothing follows
  for (const auto& [p, q] : {std::pair(&*a, &*b), std::pair(&*b, &*a), std::pair(&*flat, &*a), std::pair(&*a, &*flat)})
    for (const std::size_t window : {400u, 100u, 16u}) {  // in one call and in several
      const auto found = compare(*p, *q, ids, window);
      ASSERT_TRUE(found) << describe(found.error());
      const PredictionComparison expected = plainly(*p, *q, ids, window);
      // Sums of 37 products and of 800 divergences, all of them below 10.
      constexpr double kTolerance = 1e-12;
      EXPECT_EQ(found->tokens, expected.tokens);
      EXPECT_GT(found->kl_mean, 1e-4);
      EXPECT_NEAR(found->kl_mean, expected.kl_mean, kTolerance);
      EXPECT_NEAR(found->kl_stderr, expected.kl_stderr, kTolerance);
      EXPECT_NEAR(found->kl_p99, expected.kl_p99, kTolerance);
      EXPECT_EQ(found->top1_agreement, expected.top1_agreement);
      EXPECT_NEAR(found->nll_a, expected.nll_a, kTolerance);
      EXPECT_NEAR(found->nll_b, expected.nll_b, kTolerance);
    }
}

TEST(ComparePredictions, ScoreThePositionsThatEvaluateScores) {
  const TinyModel tiny;
  const auto model = tiny.write_and_load();
  ASSERT_TRUE(model);
  const std::vector<std::int32_t> ids = tiny.random_ids(301);
  const auto found = compare(*model, *model, ids, 50);
  Silent progress;
  EvaluateOptions options;
  options.context = 50;
  options.generate_tokens = 0;
  const auto evaluated = evaluate(*model, Dataset{ids, {}}, options, {}, progress);
  ASSERT_TRUE(found && evaluated);
  EXPECT_EQ(found->tokens, evaluated->tokens);
  EXPECT_NEAR(found->nll_a, evaluated->nll, 1e-6);  // whose exponentials are floats
}

TEST(ComparePredictions, AreTheSameFromAnyNumberOfThreadsAndAnyTier) {
  const TinyModel tiny;
  const auto a = tiny.write_and_load();
  const auto b = changed(tiny).write_and_load();
  ASSERT_TRUE(a && b);
  reference::ThreadedExecutor threads(3);
  const std::vector<std::int32_t> ids = tiny.random_ids(200);
  const auto plain = compare(*a, *b, ids, 0);
  for (const Context& context : {Context(Context{}.kernels(), threads), runtime()}) {
    const auto other = compare(*a, *b, ids, 0, context);
    EXPECT_EQ(plain->kl_mean, other->kl_mean);
    EXPECT_EQ(plain->kl_p99, other->kl_p99);
    EXPECT_EQ(plain->nll_b, other->nll_b);
  }
}

TEST(ComparePredictions, RefuseWhatCannotBeCompared) {
  TinyModel tiny;
  const auto a = tiny.write_and_load();
  tiny.config.set("max_position_embeddings", 100);
  const auto narrow = tiny.write_and_load();
  tiny.config.set("vocab_size", 36);
  tiny.tensors.at("model.embed_tokens.weight").shape[0] = 36;
  tiny.tensors.at("model.embed_tokens.weight").values.resize(36 * tiny.hidden);
  const auto other = tiny.write_and_load();
  ASSERT_TRUE(a && narrow && other);
  const std::vector<std::int32_t> ids{1, 2, 3};
  EXPECT_EQ(compare(*a, *other, ids, 0).error().code, ErrorCode::unsupported);
  EXPECT_EQ(compare(*a, *narrow, ids, 101).error().code, ErrorCode::usage);
  EXPECT_TRUE(compare(*a, *narrow, ids, 100));
  EXPECT_EQ(compare(*a, *a, {1}, 0).error().code, ErrorCode::usage);
  EXPECT_EQ(compare(*a, *a, {1, 37}, 0).error().code, ErrorCode::usage);
  Silent progress;
  progress.stop_at = 1;
  EXPECT_EQ(compare_predictions(*a, *a, Dataset{ids, {}}, 0, {}, progress).error().code, ErrorCode::interrupted);
}

}  // namespace
}  // namespace kvant::pipeline
