// SPDX-License-Identifier: Apache-2.0
// A host's locale, with a comma in its numbers and points between thousands, changes no byte and no number.
#include <gtest/gtest.h>

#include <filesystem>
#include <locale>
#include <map>
#include <string>

#include "io/test_files.hpp"
#include "kvant/core/number_text.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/nn/sampling.hpp"
#include "kvant/pipeline/compare.hpp"
#include "kvant/pipeline/dataset.hpp"
#include "kvant/pipeline/evaluate.hpp"
#include "kvant/pipeline/run.hpp"
#include "silent.hpp"
#include "support/foreign_locale.hpp"

namespace kvant::pipeline {
namespace {

using io::test::TemporaryFolder;
const std::filesystem::path kSource = KVANT_SOURCE_DIR;
const std::filesystem::path kModel = kSource / "models/tiny";

/// What a run left, by the name of a file or of a number.
using Record = std::map<std::string, std::string>;

void record_files(const std::filesystem::path& folder, Record& record) {
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    record[entry.path().filename()] = io::test::read_bytes(entry.path());
}

void record_tensors(const io::Weights& weights, Record& record) {
  for (const io::WeightInfo& w : weights.list())
    record["scheme of " + w.name] = (w.scheme ? to_text(*w.scheme) : "none") + " " + std::to_string(w.stored_bytes);
}

void record_predictions(const io::Weights& float_weights, const io::Weights& weights, Record& record) {
  Silent progress;
  const auto a = nn::Model::load(float_weights, runtime());
  const auto b = nn::Model::load(weights, runtime());
  ASSERT_TRUE(a && b) << (a ? describe(b.error()) : describe(a.error()));
  const auto data = load_dataset(kSource / "docs/cli.md", kModel, 24);
  ASSERT_TRUE(data) << describe(data.error());
  const auto e = evaluate(*b, *data, {12, {}, 0}, runtime(), progress);
  ASSERT_TRUE(e) << describe(e.error());
  record["nll"] = number_text(e->nll);
  record["bits_per_byte"] = number_text(e->bits_per_byte.value_or(0));
  const auto c = compare_predictions(*a, *b, *data, 12, runtime(), progress);
  ASSERT_TRUE(c) << describe(c.error());
  record["kl"] = number_text(c->kl_mean);
  const auto w = compare_weights(float_weights, weights, runtime(), progress);
  ASSERT_TRUE(w) << describe(w.error());
  record["said"] += progress.said;
}

/// quantize, inspect, eval and compare.
Record run_everything() {
  Record record;
  const TemporaryFolder folder;
  Silent progress;
  QuantizeJob job;
  job.input = kModel;
  job.output = folder / "out";
  job.plan.scheme = *parse_scheme("int4-g128");
  job.method = Rtn{{.search = false}};
  const auto report = quantize_checkpoint(job, runtime(), progress);
  EXPECT_TRUE(report) << (report ? "" : describe(report.error()));
  if (!report) return record;
  record["said"] = progress.said;
  record["bits_per_weight"] = number_text(report->bits_per_weight);
  record_files(folder / "out", record);
  const auto a = io::Weights::open(kModel);
  const auto b = io::Weights::open(folder / "out");
  EXPECT_TRUE(a && b);
  if (!a || !b) return record;
  record_tensors(*b, record);
  record_predictions(*a, *b, record);
  return record;
}

TEST(Locale, ChangesNoByteAndNoNumber) {
  const std::locale before = std::locale::global(std::locale::classic());
  const Record expected = run_everything();
  std::locale::global(before);
  const kvant::test::ForeignLocale foreign;
  const Record found = run_everything();
  ASSERT_GT(expected.size(), 10u);
  EXPECT_EQ(found.size(), expected.size());
  for (const auto& [name, value] : expected) {
    const auto other = found.find(name);
    ASSERT_TRUE(other != found.end()) << name;
    EXPECT_TRUE(other->second == value) << name;
  }
}

TEST(Locale, ChangesNoMessage) {
  const kvant::test::ForeignLocale foreign;
  const auto sampler = nn::Sampler::make({.temperature = 1, .top_p = 1.5f});
  ASSERT_FALSE(sampler);
  EXPECT_EQ(sampler.error().message, "top-p 1.5, expected a number from 0 to 1");
  const float negative[] = {-0.25f};
  const Matrix<float> weight(1, 1, 1.0f);
  const auto q = quantize(weight.view(), *parse_scheme("int8-channel"), {.column_weights = negative});
  ASSERT_FALSE(q);
  EXPECT_EQ(q.error().message, "a column weight of -0.25, expected a finite one of at least 0");
}

}  // namespace
}  // namespace kvant::pipeline
