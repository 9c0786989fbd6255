// SPDX-License-Identifier: Apache-2.0
// kvant bench: its keys, its table, its options.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "checkpoints.hpp"
#include "run_kvant.hpp"

namespace {

using namespace kvant::cli::test;
using Keys = std::vector<std::string>;

TEST(Bench, GivesTheDocumentedKeys) {
  const Outcome run =
      run_kvant({"bench", "--shape", "256x256", "--m", "1,4", "--json", "--threads", "1", "--op", "gemm_.*"});
  ASSERT_EQ(run.exit, 0) << run.err;
  const kvant::io::Json json = json_of(run.out);
  EXPECT_EQ(keys_of(json), (Keys{"schema", "machine", "peaks", "rows"}));
  EXPECT_EQ(text_at(json, "schema"), "kvant.bench/1");
  EXPECT_EQ(keys_of(*json.find("machine")), (Keys{"cpu", "l2_bytes", "l3_bytes", "huge_pages", "busy_elsewhere"}));
  EXPECT_EQ(keys_of(*json.find("peaks")), (Keys{"gops", "gb_per_s"}));
  EXPECT_EQ(keys_of(*json.find("peaks")->find("gb_per_s")), (Keys{"l2", "l3", "memory", "memory_one_thread"}));
  const auto rows = json.find("rows")->items();
  ASSERT_EQ(rows.size(), 22u);
  for (const kvant::io::Json& row : rows) {
    EXPECT_EQ(keys_of(row), (Keys{"op", "scheme", "tier", "n", "k", "m", "threads", "seconds_min", "seconds_median",
                                  "gops", "peak", "percent_of_peak", "gb_per_s", "percent_of_read", "times_fp32"}));
    EXPECT_EQ(number_at(row, "n"), 256);
    EXPECT_EQ(number_at(row, "k"), 256);
    EXPECT_EQ(number_at(row, "threads"), 1);
    EXPECT_GT(number_at(row, "gops"), 0);
    EXPECT_GT(number_at(row, "percent_of_read"), 0);
  }
}

TEST(Bench, PrintsAMarkdownTable) {
  const Outcome run = run_kvant({"bench", "--shape=64x32", "--m=2", "--op", "fp32", "--quiet", "--tier", "generic"});
  ASSERT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(run.err, "");
  EXPECT_TRUE(run.out.starts_with("| layer ")) << run.out;
  EXPECT_NE(run.out.find("\n| fp32 "), std::string::npos) << run.out;
  EXPECT_NE(run.out.find(" 64 x 32 |     2 |"), std::string::npos) << run.out;
  EXPECT_NE(run.out.find(" 1.00 x |"), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("\nTier generic, "), std::string::npos) << run.out;
}

TEST(Bench, PrintsConversionsAsATableOfTheirOwn) {
  const Outcome run =
      run_kvant({"bench", "--shape=64x32", "--m=2", "--op", "int4-g32", "--quiet", "--tier", "generic"});
  ASSERT_EQ(run.exit, 0) << run.err;
  EXPECT_TRUE(run.out.starts_with("| layer ")) << run.out;
  EXPECT_NE(run.out.find("\n\n| conversion "), std::string::npos) << run.out;
  for (const char* op : {"encode_integer", "decode", "fit_integer"})
    EXPECT_NE(run.out.find("\n| " + std::string(op) + " int4-g32 "), std::string::npos) << run.out;
}

TEST(Bench, TakesTheShapesOfAModel) {
  const Outcome run = run_kvant({"bench", kTiny.string(), "--m", "1", "--op", "int4-g32/int8-token", "--json"});
  ASSERT_EQ(run.exit, 0) << run.err;
  std::set<std::pair<double, double>> shapes;
  const kvant::io::Json json = json_of(run.out);
  for (const kvant::io::Json& row : json.find("rows")->items())
    shapes.insert({number_at(row, "n"), number_at(row, "k")});
  EXPECT_EQ(shapes, (std::set<std::pair<double, double>>{{128, 256}, {256, 256}, {256, 768}, {768, 256}}));
  expect_error({"bench", kTiny.string(), "--shape", "8x8"}, 2, "usage");
  expect_error({"bench", (kTiny / "config.json").string()}, 3, "bad_header");
}

TEST(Bench, RefusesWhatItCannotRead) {
  expect_error({"bench", "--shape", "4096"}, 2, "usage");
  expect_error({"bench", "--m", "1,two"}, 2, "usage");
  expect_error({"bench", "--m", "1", "--m", "2"}, 2, "usage");
  expect_error({"bench", "no-such-model"}, 5, "not_found");
  expect_error({"bench", "--shape", "8x8", "--m", "1", "--op", "("}, 2, "bad_pattern");
  expect_error({"bench", "--shape", "8x8", "--m", "1", "--op", "int5"}, 2, "usage");
}

}  // namespace
