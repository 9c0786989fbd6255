// SPDX-License-Identifier: Apache-2.0
#include "kvant/measure/bench.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "kvant/core/executor.hpp"
#include "kvant/kernels/tiers.hpp"
#include "measure/bench_case.hpp"

namespace kvant::measure {
namespace {

using kernels::DecodeArgs;
using kernels::EncodeArgs;
using kernels::Gemm;
using kernels::GemmArgs;
using kernels::Kernels;
using kernels::NarrowArgs;

class Silent final : public pipeline::Progress {
 public:
  bool advance(std::string_view, std::uint64_t done, std::uint64_t total) override {
    EXPECT_LE(done, total);
    return ++calls < stop_at;
  }
  void warn(std::string_view) override {}
  int calls = 0;
  int stop_at = std::numeric_limits<int>::max();
};

/// Layers alone, unless `op` names conversions.
BenchOptions quick(std::string op = "gemm_.*") {
  BenchOptions options;
  options.shapes = {{40, 72}};
  options.row_counts = {1, 5};
  options.op = std::move(op);
  options.rounds = 2;
  options.seconds = 1e-4;
  options.weight_bytes = 1;
  return options;
}

Result<BenchReport> quick_bench(const BenchOptions& options, const Context& context = runtime()) {
  Silent progress;
  return bench(options, context, progress);
}

const Kernels& generic() { return **kernels::find_tier("generic"); }

/// The generic kernel, but for the last bit of one output.
template <Gemm Kernels::*Slot>
void nearly_right(const GemmArgs& g) noexcept {
  (generic().*Slot)(g);
  float& last = g.y[(g.m - 1) * g.ldy + g.shape->n - 1];
  last = std::nextafter(last, 1e30f);
}

template <Gemm Kernels::*Slot>
void expect_found(const std::string& op) {
  Kernels broken = generic();
  broken.*Slot = &nearly_right<Slot>;
  SerialExecutor serial;
  const auto report = quick_bench(quick(op), Context(broken, serial));
  ASSERT_FALSE(report) << op;
  EXPECT_EQ(report.error().code, ErrorCode::threshold);
  EXPECT_NE(report.error().message.find(op), std::string::npos) << report.error().message;
  EXPECT_NE(report.error().message.find("column 39"), std::string::npos) << report.error().message;
}

TEST(Bench, FindsAWrongBitOfEveryKernel) {
  expect_found<&Kernels::gemm_f32_f32>("gemm_f32_f32");
  expect_found<&Kernels::gemm_bf16_f32>("gemm_bf16_f32");
  expect_found<&Kernels::gemm_w8_f32>("gemm_w8_f32");
  expect_found<&Kernels::gemm_w4_f32>("gemm_w4_f32");
  expect_found<&Kernels::gemm_w8_s8>("gemm_w8_s8");
  expect_found<&Kernels::gemm_w4_s8>("gemm_w4_s8");
}

TEST(Bench, MeasuresEveryLayerOnceForEachNumberOfRows) {
  const auto report = quick_bench(quick());
  ASSERT_TRUE(report) << describe(report.error());
  EXPECT_EQ(report->tier, runtime().kernels().tier);
  EXPECT_EQ(report->threads, runtime().concurrency());
  EXPECT_GE(report->busy_elsewhere, 0);
  EXPECT_GT(report->reads.memory, 0);
  EXPECT_GT(report->reads.memory_one_thread, 0);
  for (const BenchPeak& peak : report->peaks) EXPECT_GT(peak.gops, 0) << peak.name;
  ASSERT_EQ(report->rows.size(), 22u);
  for (std::size_t i = 0; i < report->rows.size(); ++i) {
    const BenchRow& row = report->rows[i];
    EXPECT_EQ(row.m, i < 11 ? 1u : 5u);
    EXPECT_EQ(row.scheme, report->rows[i % 11].scheme);
    EXPECT_GT(row.seconds_min, 0);
    EXPECT_LE(row.seconds_min, row.seconds_median);
    EXPECT_DOUBLE_EQ(row.gops * row.seconds_median * 1e9, 2.0 * 40 * 72 * static_cast<double>(row.m));
    EXPECT_GT(row.percent_of_read, 0);
    EXPECT_EQ(row.percent_of_peak.has_value(), !row.peak.empty());
    ASSERT_TRUE(row.times_fp32);
    EXPECT_GT(*row.times_fp32, 0);
    EXPECT_TRUE(row.scheme != "fp32" || *row.times_fp32 == 1);
  }
}

TEST(Bench, CountsThePackedBytes) {
  const auto report = quick_bench(quick("int4-g32"));
  ASSERT_TRUE(report) << describe(report.error());
  // 2 panels of 32 columns; groups of 32, 32 and 8 inputs: 4 + 4 + 1 steps of 128 bytes, 3 records of 64.
  constexpr double kBytes = 2 * (9 * 128 + 3 * 64);
  for (const BenchRow& row : report->rows) {
    if (row.m != 0) {
      EXPECT_NEAR(row.gb_per_s * row.seconds_median * 1e9, kBytes, 1e-6);
    }
  }
}

TEST(Bench, MeasuresConversionsInWeightsAndFloats) {
  const auto report = quick_bench(quick("encode_integer|decode|narrow_.*|fit_codebook"));
  ASSERT_TRUE(report) << describe(report.error());
  std::map<std::string, std::size_t> schemes;
  for (const BenchRow& row : report->rows) {
    EXPECT_EQ(row.m, 0u);
    EXPECT_DOUBLE_EQ(row.gops * row.seconds_median * 1e9, 40.0 * 72);
    EXPECT_DOUBLE_EQ(row.gb_per_s, 4 * row.gops);
    EXPECT_FALSE(row.percent_of_peak || row.times_fp32);
    ++schemes[row.op];
  }
  EXPECT_EQ(schemes.size(), 5u);
  EXPECT_EQ(schemes["narrow_fp16"], 1u);
  EXPECT_GE(schemes["decode"], 15u);
  EXPECT_GE(schemes["fit_codebook"], 1u);
}

/// The generic kernel, but for the last code.
template <void (*Kernels::*Slot)(const EncodeArgs&) noexcept>
void encode_nearly_right(const EncodeArgs& g) noexcept {
  (generic().*Slot)(g);
  g.codes[g.n - 1] ^= 1;
}
void decode_nearly_right(const DecodeArgs& g) noexcept {
  generic().decode(g);
  g.out[0] = std::nextafter(g.out[0], 1e30f);
}
void narrow_nearly_right(const NarrowArgs& g) noexcept {
  generic().narrow_bf16(g);
  g.codes[0] ^= 1;
}

TEST(Bench, FindsAWrongCodeOfEveryConversion) {
  const auto expect_wrong = [](const std::string& op, auto break_it) {
    Kernels broken = generic();
    break_it(broken);
    SerialExecutor serial;
    const auto report = quick_bench(quick(op), Context(broken, serial));
    ASSERT_FALSE(report) << op;
    EXPECT_EQ(report.error().code, ErrorCode::threshold);
    EXPECT_NE(report.error().message.find(op), std::string::npos) << report.error().message;
  };
  expect_wrong("encode_integer", [](Kernels& k) { k.encode_integer = &encode_nearly_right<&Kernels::encode_integer>; });
  expect_wrong("encode_minifloat",
               [](Kernels& k) { k.encode_minifloat = &encode_nearly_right<&Kernels::encode_minifloat>; });
  expect_wrong("encode_codebook",
               [](Kernels& k) { k.encode_codebook = &encode_nearly_right<&Kernels::encode_codebook>; });
  expect_wrong("decode", [](Kernels& k) { k.decode = &decode_nearly_right; });
  expect_wrong("narrow_bf16", [](Kernels& k) { k.narrow_bf16 = &narrow_nearly_right; });
}

TEST(Bench, TakesNamesOfOpsAndOfSchemes) {
  const auto schemes = [](const std::string& op) {
    std::vector<std::string> found;
    const auto report = quick_bench(quick(op));
    if (report)
      for (const BenchRow& row : report->rows)
        if (row.m == 1) found.push_back(row.scheme);
    return found;
  };
  EXPECT_EQ(schemes("gemm_w4_s8"), (std::vector<std::string>{"int4-g128/int8-token", "int4-g32/int8-token"}));
  EXPECT_EQ(schemes("int8-channel"), std::vector<std::string>{"int8-channel"});
  EXPECT_EQ(schemes("bf16|gemm_f.*"), (std::vector<std::string>{"fp32", "bf16"}));
}

TEST(Bench, ComparesWithFp32WhereItIsMeasured) {
  const auto report = quick_bench(quick("bf16"));
  ASSERT_TRUE(report);
  for (const BenchRow& row : report->rows) EXPECT_FALSE(row.times_fp32);
}

TEST(Bench, RefusesWhatItCannotMeasure) {
  EXPECT_EQ(quick_bench(quick("int5")).error().code, ErrorCode::usage);
  EXPECT_EQ(quick_bench(quick("(")).error().code, ErrorCode::bad_pattern);
  BenchOptions none = quick();
  none.rounds = 0;
  EXPECT_EQ(quick_bench(none).error().code, ErrorCode::usage);
  none = quick();
  none.shapes.clear();
  EXPECT_EQ(quick_bench(none).error().code, ErrorCode::usage);
  for (const LayerShape shape : {LayerShape{64, 0}, LayerShape{0, 64}, LayerShape{64, std::size_t{1} << 40}}) {
    none.shapes = {shape};
    EXPECT_EQ(quick_bench(none).error().code, ErrorCode::usage);
  }
  none = quick();
  none.row_counts = {0};
  EXPECT_EQ(quick_bench(none).error().code, ErrorCode::usage);
}

TEST(Bench, StopsWhenProgressSaysSo) {
  for (const int calls : {1, 2, 3, 7}) {
    Silent progress;
    progress.stop_at = calls;
    const auto report = bench(quick(), runtime(), progress);
    ASSERT_FALSE(report) << calls;
    EXPECT_EQ(report.error().code, ErrorCode::interrupted);
    EXPECT_EQ(progress.calls, calls);
  }
}

TEST(Limits, AreThoseOfTheTiersInstructions) {
  SerialExecutor serial;
  const auto peak = [&](std::string_view tier, Arithmetic arithmetic) -> std::string_view {
    const auto table = kernels::find_tier(tier);
    if (!table) return "";
    const Context context(**table, serial);
    const Peak* found = Limits(context).peak_for(arithmetic);
    return found != nullptr ? found->name : "none";
  };
  EXPECT_EQ(peak("generic", Arithmetic::f32), "std::fma");
  EXPECT_EQ(peak("generic", Arithmetic::s8), "none");
  if (kernels::find_tier("avx2")) {
    EXPECT_EQ(peak("avx2", Arithmetic::f32), "vfmadd231ps ymm");
    EXPECT_EQ(peak("avx2", Arithmetic::s8), "vpmaddubsw ymm");
  }
  if (kernels::find_tier("avx512")) {
    EXPECT_EQ(peak("avx512", Arithmetic::f32), "vfmadd231ps zmm");
    EXPECT_EQ(peak("avx512", Arithmetic::s8), "vpdpbusd zmm");
  }
}

TEST(Median, IsTheMiddleOrTheMeanOfTheMiddleTwo) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 9, 2}), 3);
}

TEST(LayerShape, ParsesAsItIsWritten) {
  EXPECT_EQ(parse_layer_shape("4096x512").value(), (LayerShape{4096, 512}));
  EXPECT_EQ(parse_layer_shape("1048576x65536").value(), (LayerShape{1048576, 65536}));
  for (const char* text : {"", "x", "4096", "4096x", "x4096", "0x8", "8x0", "-8x8", "8x8x8", "8X8", "8 x 8", "8x8 ",
                           "1048577x8", "8x65537", "99999999999999999999x8", "+8x8"}) {
    const auto shape = parse_layer_shape(text);
    ASSERT_FALSE(shape) << text;
    EXPECT_EQ(shape.error().code, ErrorCode::usage);
  }
}

TEST(RowCounts, ParseAsTheyAreWritten) {
  EXPECT_EQ(parse_row_counts("16,1,65536").value(), (std::vector<std::size_t>{16, 1, 65536}));
  EXPECT_EQ(parse_row_counts("7").value(), std::vector<std::size_t>{7});
  for (const char* text : {"", ",", "1,", ",1", "1,,2", "0", "1,1", "1 2", "1;2", "65537", "-1", "1, 2"}) {
    const auto counts = parse_row_counts(text);
    ASSERT_FALSE(counts) << text;
    EXPECT_EQ(counts.error().code, ErrorCode::usage);
  }
}

}  // namespace
}  // namespace kvant::measure
