// SPDX-License-Identifier: Apache-2.0
// Models that the library compressed-tensors has written (tests/golden/conventions) have the likelihood that its own
// forward pass gives them, or are refused with what would be left out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/nn/model.hpp"
#include "reference/llama_reference.hpp"

namespace kvant::nn {
namespace {

const std::filesystem::path kFixtures =
    std::filesystem::path(KVANT_SOURCE_DIR) / "tests/golden/conventions/compressed_tensors";

/// What these are to be run with and kvant does not compute.
const std::map<std::string, std::string> kNotComputed{
    {"kv-fp8", "keys and values"}, {"kv-int8-head", "keys and values"},  {"old-kv-fp8", "keys and values"},
    {"w8a8-output", "output"},     {"w8a8-tensor", "input activations"},
};

double number(const io::Json& json) { return json.as_double().value_or(0); }

Result<double> likelihood_of(const io::Weights& weights, std::span<const std::int32_t> ids) {
  const auto model = Model::load(weights, runtime());
  if (!model) return propagate(model);
  Matrix<float> logits(ids.size(), model->config().vocabulary);
  auto cache = KvCache::make(model->config(), ids.size());
  if (const Status ok = model->forward(ids, *cache, logits.view(), runtime()); !ok) return propagate(ok);
  double sum = 0;
  for (std::size_t t = 0; t + 1 < ids.size(); ++t)
    sum += reference::negative_log_likelihood(std::span<const float>(logits.row(t)), ids[t + 1]);
  return sum / static_cast<double>(ids.size() - 1);
}

TEST(Conventions, GiveTheLikelihoodOfTheLibrarysForwardPass) {
  const auto file = io::read_json_file(kFixtures / "expected.json", {.max_depth = 16});
  ASSERT_TRUE(file);
  std::vector<std::int32_t> ids;
  for (const io::Json& id : file->find("ids")->items()) ids.push_back(static_cast<std::int32_t>(*id.as_int64()));
  std::size_t checked = 0;
  for (const auto& [name, fixture] : file->find("fixtures")->members()) {
    const auto weights = io::Weights::open(kFixtures / name);
    if (!weights) continue;  // tests/io has which and why
    const auto got = likelihood_of(*weights, ids);
    if (const auto left_out = kNotComputed.find(name); left_out != kNotComputed.end()) {
      ASSERT_FALSE(got) << name;
      EXPECT_EQ(got.error().code, ErrorCode::unsupported) << name;
      EXPECT_NE(got.error().message.find(left_out->second), std::string::npos) << describe(got.error());
      continue;
    }
    ASSERT_TRUE(got) << name << ": " << describe(got.error());
    // Where inputs are rounded, the order of summation decides some codes: the library's own spread, and once more.
    double low = number(*fixture.find("nll"));
    double high = low;
    if (const io::Json* range = fixture.find("nll_range")) {
      low = number(range->items()[0]);
      high = number(range->items()[1]);
    }
    // The library's nll of fp8-block moves by 2.3e-7 of itself with the order of summation, so where floats are
    // multiplied in another order five half units of the last place are allowed.
    const double margin = (high - low) + std::max(1e-6, 5 * 0x1p-24 * high);
    EXPECT_GE(*got, low - margin) << name;
    EXPECT_LE(*got, high + margin) << name;
    ++checked;
  }
  EXPECT_GE(checked, 55u);
}

}  // namespace
}  // namespace kvant::nn
