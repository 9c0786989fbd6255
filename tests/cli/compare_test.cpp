// SPDX-License-Identifier: Apache-2.0
// kvant compare: two checkpoints against each other, on the line and as JSON.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "checkpoints.hpp"
#include "run_kvant.hpp"
#include "support/sanitized.hpp"

namespace {

using namespace kvant::cli::test;
using Keys = std::vector<std::string>;
namespace fs = std::filesystem;

void quantize(const fs::path& model, const fs::path& output, const std::string& scheme) {
  const Outcome run = run_kvant({"quantize", model, "-o", output, "--scheme", scheme, "--quiet"});
  ASSERT_EQ(run.exit, 0) << run.err;
}

/// compare as JSON.
kvant::io::Json compare(const fs::path& a, const fs::path& b, std::vector<std::string> more = {}, int exit = 0) {
  std::vector<std::string> words{"compare", a, b, "--json", "--quiet"};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome run = run_kvant(words);
  EXPECT_EQ(run.exit, exit) << run.err;
  EXPECT_EQ(count_lines(run.out), 1u) << run.out;
  return json_of(run.out);
}

/// A small checkpoint `m`, and `q`, the same at 4 bits.
class Compare : public ::testing::Test {
 protected:
  void SetUp() override {
    write_checkpoint(folder_ / "m", usual_tensors());
    quantize(folder_ / "m", folder_ / "q", "int4-g32");
  }
  TemporaryFolder folder_;
};

TEST_F(Compare, FindsTheErrorsThatQuantizeReports) {
  const kvant::io::Json report = json_of(
      run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", "int4-g32", "--json", "--force"}).out);
  const kvant::io::Json json = compare(folder_ / "m", folder_ / "q");
  EXPECT_EQ(keys_of(json),
            (Keys{"schema", "tensors", "only_in_a", "only_in_b", "shape_mismatch", "not_compared", "tokens", "kl_mean",
                  "kl_stderr", "kl_p99", "top1_agreement", "nll_a", "nll_b", "passed"}));
  EXPECT_EQ(text_at(json, "schema"), "kvant.compare/1");
  for (const char* key : {"tokens", "kl_mean", "kl_stderr", "kl_p99", "top1_agreement", "nll_a", "nll_b", "passed"})
    EXPECT_TRUE(json.find(key)->is_null()) << key;
  const auto tensors = json.find("tensors")->items();
  const auto reported = report.find("tensors")->items();
  ASSERT_EQ(tensors.size(), 3u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(keys_of(tensors[i]), (Keys{"name", "sqnr_db", "max_abs_error", "cosine", "relative_error", "nonfinite",
                                         "scheme_a", "scheme_b"}));
    EXPECT_EQ(text_at(tensors[i], "name"), text_at(reported[i], "name"));
    EXPECT_NEAR(number_at(tensors[i], "sqnr_db"), number_at(reported[i], "sqnr_db"), 1e-9);
    EXPECT_NEAR(number_at(tensors[i], "relative_error"), number_at(reported[i], "relative_error"), 1e-12);
    EXPECT_TRUE(tensors[i].find("scheme_a")->is_null());
    EXPECT_EQ(text_at(tensors[i], "scheme_b"), "int4-g32");
  }
  EXPECT_TRUE(tensors[2].find("sqnr_db")->is_null());
  EXPECT_EQ(number_at(tensors[2], "max_abs_error"), 0);
  EXPECT_EQ(number_at(tensors[2], "cosine"), 1);
}

TEST_F(Compare, CallsWhatIsTheSameExact) {
  const Outcome run = run_kvant({"compare", folder_ / "q", folder_ / "q", "--quiet"});
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(run.err, "");
  std::size_t exact = 0;
  for (std::size_t at = run.out.find("exact"); at != std::string::npos; at = run.out.find("exact", at + 1)) ++exact;
  EXPECT_EQ(exact, 3u) << run.out;
}

TEST_F(Compare, PrintsTheResultAndFailsBelowTheLeastSqnr) {
  EXPECT_EQ(compare(folder_ / "m", folder_ / "q", {"--min-sqnr", "5"}).find("passed")->as_bool(), true);
  const kvant::io::Json json = compare(folder_ / "m", folder_ / "q", {"--min-sqnr", "90"}, 8);
  EXPECT_EQ(text_at(json, "schema"), "kvant.compare/1");  // one document: the result
  EXPECT_EQ(json.find("passed")->as_bool(), false);
  EXPECT_EQ(json.find("tensors")->items().size(), 3u);
  const Outcome run = run_kvant({"compare", folder_ / "m", folder_ / "q", "--min-sqnr", "90", "--quiet"});
  EXPECT_EQ(run.exit, 8);
  EXPECT_NE(run.out.find("layers.0.up.weight"), std::string::npos) << run.out;
  EXPECT_EQ(count_lines(run.err), 1u) << run.err;
  EXPECT_NE(run.err.find("2 of 3 weights"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("--min-sqnr"), std::string::npos) << run.err;
  const Outcome logged =
      run_kvant({"compare", folder_ / "m", folder_ / "q", "--min-sqnr", "90", "--quiet", "--log-format", "json"});
  EXPECT_EQ(text_at(json_of(logged.err), "code"), "threshold");
}

TEST_F(Compare, WarnsOfWhatOnlyOneHolds) {
  FloatTensors other = usual_tensors();
  other.erase("norm.weight");
  other["layers.1.down.weight"] = {{64, 32}};
  other["more.weight"] = {{8}};
  write_checkpoint(folder_ / "other", other);
  const Outcome run = run_kvant({"compare", folder_ / "m", folder_ / "other"});
  EXPECT_EQ(run.exit, 0) << run.err;
  for (const char* part : {"/m: norm.weight", "/other: more.weight", "layers.1.down.weight (32x64 and 64x32)"})
    EXPECT_NE(run.err.find(part), std::string::npos) << part << "\n" << run.err;
  const kvant::io::Json json = compare(folder_ / "m", folder_ / "other");
  EXPECT_EQ(json.find("tensors")->items().size(), 1u);
  EXPECT_EQ(*json.find("only_in_a")->items()[0].as_string(), "norm.weight");
  EXPECT_EQ(*json.find("only_in_b")->items()[0].as_string(), "more.weight");
  EXPECT_EQ(text_at(json.find("shape_mismatch")->items()[0], "name"), "layers.1.down.weight");
}

TEST_F(Compare, RefusesWhatItCannotCompare) {
  write_checkpoint(folder_ / "alien", {{"alien.weight", {{8, 8}}}});
  expect_error({"compare", folder_ / "m", folder_ / "alien"}, 4, "unsupported");
  expect_error({"compare", folder_ / "m", folder_ / "absent"}, 5, "not_found");
  expect_error({"compare", folder_ / "m"}, 2, "usage");
  for (const char* option : {"--tokens", "--context", "--max-kl"})
    expect_error({"compare", folder_ / "m", folder_ / "q", option, "7"}, 2, "usage");
  for (const char* value : {"-1", "nan", "much"})
    expect_error({"compare", folder_ / "m", folder_ / "q", "--text", "t", "--max-kl", value}, 2, "usage");
  folder_.write("text", "a text");
  expect_error({"compare", folder_ / "m", folder_ / "q", "--text", folder_ / "text"}, 3, "bad_config");
}

/// The divergences of a model at 2 to 8 bits from itself in full, which fall with every bit.
void expect_less_divergence_with_every_bit(const fs::path& model, const std::vector<std::string>& data) {
  const TemporaryFolder folder;
  double before = std::numeric_limits<double>::infinity();
  for (const char* format : {"int2", "int3", "int4", "int5", "int6", "int8"}) {
    quantize(model, folder / format, std::string(format) + "-g32");
    const kvant::io::Json json = compare(model, folder / format, data);
    const double kl = number_at(json, "kl_mean");
    EXPECT_LT(kl, before) << format;
    EXPECT_GT(kl, 0) << format;
    EXPECT_LT(number_at(json, "kl_stderr"), kl) << format;
    before = kl;
  }
  EXPECT_LT(before, 1e-3);
}

TEST(ComparedStories, DivergeLessWithEveryBit) {
  KVANT_SKIP_UNDER_SANITIZERS();
  if (stories().empty()) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
  expect_less_divergence_with_every_bit(stories(),
                                        {"--text", stories() / "test_ids.npy", "--context", "512", "--tokens", "4096"});
}

class ComparedTiny : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kTiny / "model.safetensors")) GTEST_SKIP() << "models/tiny is not there";
    folder_.write("text", "river (noun): a large natural stream of water\nlake (noun): a body of water\n");
  }
  TemporaryFolder folder_;
};

TEST_F(ComparedTiny, DivergesLessWithEveryBit) {
  KVANT_SKIP_UNDER_SANITIZERS();
  fs::path text = fs::path(KVANT_SOURCE_DIR) / "docs/cli.md";
  if (fs::exists("/usr/share/wordnet/data.noun")) {
    text = folder_ / "wordnet";
    const std::string script = std::string(KVANT_SOURCE_DIR) + "/scripts/wordnet_text.sh";
    ASSERT_EQ(Child({script, "test"}, {.out = text}, "/bin/sh").wait().exit, 0);
  }
  expect_less_divergence_with_every_bit(kTiny, {"--text", text, "--tokens", "2048"});
}

TEST_F(ComparedTiny, IsNoDistanceFromItself) {
  const kvant::io::Json json = compare(kTiny, kTiny, {"--text", folder_ / "text", "--max-kl", "0"});
  EXPECT_EQ(number_at(json, "kl_mean"), 0);
  EXPECT_EQ(number_at(json, "top1_agreement"), 1);
  EXPECT_EQ(json.find("passed")->as_bool(), true);
}

TEST_F(ComparedTiny, FailsAboveTheLargestDivergence) {
  quantize(kTiny, folder_ / "q", "int4-g32");
  const std::vector<std::string> line{"compare", kTiny, folder_ / "q", "--text", folder_ / "text", "--quiet"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), line.begin(), line.end());
    return run_kvant(more);
  };
  EXPECT_EQ(with({"--max-kl", "10"}).exit, 0);
  const Outcome run = with({"--max-kl", "1e-6"});
  EXPECT_EQ(run.exit, 8);
  EXPECT_NE(run.out.find("KL(A || B)"), std::string::npos) << run.out;
  EXPECT_NE(run.err.find("expected at most 1e-06 (--max-kl)"), std::string::npos) << run.err;
  const Outcome both = with({"--max-kl", "1e-6", "--min-sqnr", "99", "--json"});
  EXPECT_EQ(both.exit, 8);
  EXPECT_EQ(count_lines(both.err), 1u) << both.err;
  EXPECT_NE(both.err.find("--max-kl"), std::string::npos) << both.err;
  EXPECT_NE(both.err.find("--min-sqnr"), std::string::npos) << both.err;
  EXPECT_EQ(json_of(both.out).find("passed")->as_bool(), false);
}

TEST_F(ComparedTiny, IsNotComparedWithAModelOfAnotherVocabulary) {
  if (stories().empty()) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
  const fs::path ids = stories() / "test_ids.npy";
  expect_error({"compare", kTiny, stories(), "--text", ids, "--tokens", "100"}, 4, "unsupported");
}

}  // namespace
