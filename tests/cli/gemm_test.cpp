// SPDX-License-Identifier: Apache-2.0
// kvant gemm: arrays times weights from arrays and checkpoints, on the kernels that layers run on.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "checkpoints.hpp"
#include "kvant/io/npy.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/quant/encode.hpp"
#include "run_kvant.hpp"

namespace {

using namespace kvant::cli::test;
using kvant::Matrix;
using Keys = std::vector<std::string>;
namespace fs = std::filesystem;

Matrix<float> waves(std::size_t rows, std::size_t cols, float frequency) {
  Matrix<float> m(rows, cols);
  for (std::size_t i = 0; i < m.size(); ++i) m.data()[i] = std::sin(frequency * static_cast<float>(i));
  return m;
}

void write(const fs::path& path, const Matrix<float>& m) {
  const std::uint64_t shape[] = {m.rows(), m.cols()};
  ASSERT_TRUE(kvant::io::write_npy(path, {m.data(), m.size()}, shape, kvant::io::OutputMode::replace));
}

/// Inputs `a.npy` of 5 x 96, a weight `w.npy` of 48 x 96, and a checkpoint `m` with the same weight.
class Gemm : public ::testing::Test {
 protected:
  void SetUp() override {
    write(folder_ / "a.npy", a_);
    write(folder_ / "w.npy", w_);
    write_checkpoint(folder_ / "m", {{"layers.0.up.weight", {{48, 96}}}, {"norm.weight", {{96}}}});
  }

  [[nodiscard]] std::vector<std::string> line(const std::string& w, std::vector<std::string> more = {}) const {
    std::vector<std::string> words{"gemm", "--a", folder_ / "a.npy", "--w", folder_ / w, "-o", folder_ / "y.npy"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  /// Runs `line` and gives its document; the product is in `y.npy`.
  kvant::io::Json run(const std::string& w, std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"--json", "--force"});
    const Outcome outcome = run_kvant(line(w, more));
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    return json_of(outcome.out);
  }
  [[nodiscard]] Matrix<float> product() const {
    const auto array = kvant::io::read_npy(folder_ / "y.npy");
    EXPECT_TRUE(array && array->shape.size() == 2);
    return {array->shape[0], array->shape[1], *array->to_floats()};
  }
  [[nodiscard]] std::string product_bytes() const { return read_bytes(folder_ / "y.npy"); }

  const Matrix<float> a_ = waves(5, 96, 0.3f);
  const Matrix<float> w_ = waves(48, 96, 0.7f);
  TemporaryFolder folder_;
};

TEST_F(Gemm, MultipliesByTheTransposeOfAnArray) {
  const kvant::io::Json json = run("w.npy");
  EXPECT_EQ(keys_of(json), (Keys{"schema", "n", "k", "m", "tier", "op", "scheme"}));
  EXPECT_EQ(text_at(json, "schema"), "kvant.gemm/1");
  EXPECT_EQ(number_at(json, "n"), 48);
  EXPECT_EQ(number_at(json, "k"), 96);
  EXPECT_EQ(number_at(json, "m"), 5);
  EXPECT_EQ(text_at(json, "op"), "gemm_f32_f32");
  EXPECT_EQ(text_at(json, "scheme"), "fp32");
  const Matrix<float> y = product();
  ASSERT_EQ(y.rows(), 5u);
  ASSERT_EQ(y.cols(), 48u);
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t j = 0; j < 48; ++j) {
      double sum = 0;
      for (std::size_t c = 0; c < 96; ++c) sum += static_cast<double>(a_(i, c)) * static_cast<double>(w_(j, c));
      EXPECT_NEAR(y(i, j), sum, 96 * 96 * 0x1p-24);  // k roundings of sums of at most k products below 1
    }
}

TEST_F(Gemm, RunsAsTheSchemeOfAFloatWeightSays) {
  struct Row {
    const char *scheme, *op;
  };
  for (const Row& row : {Row{"int8-channel", "gemm_w8_f32"}, Row{"int8-channel/int8-token", "gemm_w8_s8"},
                         Row{"int4-g32", "gemm_w4_f32"}, Row{"int4-g32/int8-token", "gemm_w4_s8"},
                         Row{"nf4-g64/int8-token", "gemm_w4_f32"}, Row{"fp8_e4m3fn-channel", "gemm_w8_f32"},
                         Row{"is4", "gemm_w4_f32"}, Row{"nvfp4", "gemm_w4_f32"}}) {
    const kvant::io::Json json = run("w.npy", {"--scheme", row.scheme});
    EXPECT_EQ(text_at(json, "op"), row.op) << row.scheme;
    EXPECT_EQ(text_at(json, "scheme"), row.scheme);
    const kvant::LayerScheme scheme = *kvant::parse_layer_scheme(row.scheme);
    auto codes = kvant::quantize(w_.view(), scheme.weight, {true});
    ASSERT_TRUE(codes) << row.scheme;
    Matrix<float> expected(5, 48);
    ASSERT_TRUE(
        kvant::Linear::from({std::move(*codes), {}, {scheme.activation, {}}})->multiply(a_.view(), expected.view()));
    const Matrix<float> y = product();
    EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0) << row.scheme;
  }
}

TEST_F(Gemm, CastsAFloatWeight) {
  EXPECT_EQ(text_at(run("w.npy", {"--scheme", "bf16"}), "op"), "gemm_bf16_f32");
  EXPECT_EQ(text_at(run("w.npy", {"--scheme", "fp16"}), "op"), "gemm_f32_f32");
  const std::string half = product_bytes();
  run("w.npy", {"--scheme", "fp32"});
  EXPECT_NE(product_bytes(), half);
}

TEST_F(Gemm, TakesAWeightOutOfACheckpointAsItIsStored) {
  run("w.npy");
  const std::string plain = product_bytes();
  EXPECT_EQ(text_at(run("m:layers.0.up.weight"), "scheme"), "fp32");
  EXPECT_EQ(product_bytes(), plain);
  for (const char* scheme : {"int4-g32", "int8-channel/int8-token", "is4"}) {
    ASSERT_EQ(run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", scheme, "--force"}).exit, 0);
    const kvant::io::Json stored = run("q:layers.0.up.weight");
    EXPECT_EQ(text_at(stored, "scheme"), scheme);
    const std::string bytes = product_bytes();
    run("q:layers.0.up.weight", {"--scheme", scheme});
    EXPECT_EQ(product_bytes(), bytes) << scheme;
    run("m:layers.0.up.weight", {"--scheme", scheme});  // quantized on the way, by the same search
    EXPECT_EQ(product_bytes(), bytes) << scheme;
  }
  const auto json = expect_error(line("q:layers.0.up.weight", {"--scheme", "int4-g32", "--force"}), 2, "usage");
  EXPECT_EQ(text_at(json, "tensor"), "layers.0.up.weight");
}

TEST_F(Gemm, KeepsABfloat16Weight) {
  if (!fs::exists(kTiny / "model.safetensors")) GTEST_SKIP() << "models/tiny is not there";
  write(folder_ / "a.npy", waves(2, 256, 0.3f));
  const Outcome outcome =
      run_kvant({"gemm", "--a", folder_ / "a.npy", "--w", kTiny.string() + ":model.layers.0.mlp.up_proj.weight", "-o",
                 folder_ / "y.npy", "--json"});
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_EQ(text_at(json_of(outcome.out), "op"), "gemm_bf16_f32");
}

TEST_F(Gemm, GivesTheSameBytesOnAnyTierAndNumberOfThreads) {
  for (const char* scheme : {"fp32", "int8-channel/int8-token", "int4-g32", "fp8_e4m3fn-channel"}) {
    run("w.npy", {"--scheme", scheme});
    const std::string bytes = product_bytes();
    EXPECT_EQ(text_at(run("w.npy", {"--scheme", scheme, "--tier", "generic", "--threads", "1"}), "tier"), "generic");
    EXPECT_EQ(product_bytes(), bytes) << scheme;
  }
}

TEST_F(Gemm, TakesEmptyMatrices) {
  write(folder_ / "a.npy", Matrix<float>(0, 96));
  EXPECT_EQ(number_at(run("w.npy"), "m"), 0);
  EXPECT_EQ(product().cols(), 48u);
  write(folder_ / "a.npy", Matrix<float>(2, 0));
  write(folder_ / "w.npy", Matrix<float>(3, 0));
  for (const char* scheme : {"fp32", "int8-channel", "int4-g32/int8-token", "fp8_e4m3fn-channel"}) {
    run("w.npy", {"--scheme", scheme});
    EXPECT_EQ(product()(1, 2), 0.0f) << scheme;
  }
}

TEST_F(Gemm, ReadsAnArrayWhoseNameHasAColon) {
  write(folder_ / "w:1.npy", w_);
  EXPECT_EQ(number_at(run("w:1.npy"), "n"), 48);
}

TEST_F(Gemm, RefusesShapesThatDoNotFit) {
  write(folder_ / "a.npy", waves(5, 95, 0.3f));
  EXPECT_EQ(text_at(expect_error(line("w.npy"), 3, "bad_shape"), "file"), (folder_ / "a.npy").string());
  const std::uint64_t vector[] = {96};
  ASSERT_TRUE(kvant::io::write_npy(folder_ / "v.npy", {w_.data(), 96}, vector, kvant::io::OutputMode::refuse));
  write(folder_ / "a.npy", a_);
  expect_error(line("v.npy"), 3, "bad_shape");
  expect_error({"gemm", "--a", folder_ / "v.npy", "--w", folder_ / "w.npy", "-o", folder_ / "y.npy"}, 3, "bad_shape");
  EXPECT_EQ(text_at(expect_error(line("m:norm.weight"), 3, "bad_shape"), "tensor"), "norm.weight");
  EXPECT_FALSE(fs::exists(folder_ / "y.npy"));
}

TEST_F(Gemm, RefusesWhatIsNotThere) {
  EXPECT_EQ(text_at(expect_error(line("m:absent"), 3, "missing_tensor"), "tensor"), "absent");
  expect_error(line("absent:w"), 5, "not_found");
  expect_error(line("absent"), 5, "not_found");
  expect_error(line("m"), 3, "bad_npy");
  expect_error(line("m:"), 2, "usage");
  expect_error({"gemm", "--a", "a", "--w", "-", "-o", "y"}, 2, "usage");
  expect_error({"gemm", "--a", "a", "-o", "y"}, 2, "usage");
  expect_error(line("w.npy", {"--scheme", "int4"}), 2, "bad_scheme");
}

TEST_F(Gemm, RefusesNumbersThatCannotBeStored) {
  Matrix<float> broken = w_;
  broken(3, 4) = std::numeric_limits<float>::quiet_NaN();
  write(folder_ / "w.npy", broken);
  for (const char* scheme : {"int8-channel", "bf16"})
    EXPECT_NE(
        text_at(expect_error(line("w.npy", {"--scheme", scheme}), 7, "nonfinite"), "message").find("row 3, column 4"),
        std::string::npos);
  run("w.npy");  // floats as they are
  EXPECT_TRUE(std::isnan(product()(0, 3)));
  fs::remove(folder_ / "y.npy");
  broken(3, 4) = 1e30f;
  write(folder_ / "w.npy", broken);
  expect_error(line("w.npy", {"--scheme", "int8-channel"}), 7, "scale_overflow");
  expect_error(line("w.npy", {"--scheme", "fp16"}), 7, "scale_overflow");
  write(folder_ / "w.npy", w_);
  Matrix<float> infinite = a_;
  infinite(1, 2) = std::numeric_limits<float>::infinity();
  write(folder_ / "a.npy", infinite);
  expect_error(line("w.npy", {"--scheme", "int8-channel/int8-token"}), 7, "nonfinite");
  EXPECT_FALSE(fs::exists(folder_ / "y.npy"));
}

TEST_F(Gemm, RefusesItsInputsAndExistingFilesAsOutput) {
  const std::string a = read_bytes(folder_ / "a.npy");
  fs::create_symlink(folder_ / "a.npy", folder_ / "link");
  for (const char* output : {"a.npy", "link", "w.npy"})
    expect_error({"gemm", "--a", folder_ / "a.npy", "--w", folder_ / "w.npy", "-o", folder_ / output, "--force"}, 5,
                 "same_file");
  const std::string model = (folder_ / "m").string() + ":layers.0.up.weight";
  expect_error({"gemm", "--a", folder_ / "a.npy", "--w", model, "-o", folder_ / "m", "--force"}, 5, "same_file");
  folder_.write("y.npy", "precious");
  expect_error(line("w.npy"), 5, "exists");
  EXPECT_EQ(read_bytes(folder_ / "y.npy"), "precious");
  EXPECT_EQ(read_bytes(folder_ / "a.npy"), a);
}

}  // namespace
