// SPDX-License-Identifier: Apache-2.0
// docs/models.md holds the table of families as it follows from their rows and their recorded models.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "golden_families.hpp"
#include "kvant/nn/sites.hpp"

namespace kvant::nn {
namespace {

using test::GoldenCase;

struct Row {
  std::size_t models = 0;
  double error = 0;  ///< relative to the largest number
  std::size_t sites = 0, folded = 0;
};

/// Rounded up, coarsely: a C library's cosine may move the last digits.
std::string bound(double error) {
  for (const auto& [limit, text] : {std::pair{1e-6, "1e-6"}, {2e-6, "2e-6"}, {5e-6, "5e-6"}, {1e-5, "1e-5"}})
    if (error < limit) return text;
  return "2e-5";
}

std::string expected_table() {
  std::map<std::string_view, Row> rows;
  for (const std::string& name : test::golden_models()) {
    const auto model = test::load_golden(name);
    EXPECT_TRUE(model) << describe(model.error());
    Row& row = rows[model->config().family->model_type];
    ++row.models;
    row.error = std::max(row.error, test::error_of(*model, GoldenCase(name)));
    for (const InputSite& site : input_sites(model->config())) {
      ++row.sites;
      if (site.kind != InputSite::Producer::none) ++row.folded;
    }
  }
  std::string table =
      "| model_type | class | variants | recorded models | error below | inputs that take factors |\n"
      "|---|---|---|---:|---:|---:|\n";
  for (const Family* f : families()) {
    const Row& row = rows[f->model_type];
    EXPECT_GT(row.models, 0u) << f->model_type << " has no recorded model";
    table += "| " + std::string(f->model_type) + " | " + std::string(f->classes) + " | " + std::string(f->variants) +
             " | " + std::to_string(row.models) + " | " + bound(row.error) + " | " +
             std::to_string(100 * row.folded / std::max<std::size_t>(1, row.sites)) + " % |\n";
  }
  return table;
}

TEST(ModelsPage, HoldsTheTableThatFollowsFromTheRows) {
  std::ifstream file(std::string(KVANT_SOURCE_DIR) + "/docs/models.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  const std::string table = expected_table();
  EXPECT_NE(page.find(table), std::string::npos) << "expected\n" << table;
}

}  // namespace
}  // namespace kvant::nn
