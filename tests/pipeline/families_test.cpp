// SPDX-License-Identifier: Apache-2.0
// docs/families.md: the recorded tensors of model families, each line against the plan.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "docs/page.hpp"
#include "io/test_files.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/pipeline/plan.hpp"

namespace kvant::pipeline {
namespace {

struct Line {
  std::vector<std::uint64_t> shape;
  std::string label;  ///< quantized, float, left-out, transposed
  std::string why;    ///< of float
};
using Family = std::map<std::string, Line>;

/// The blocks of the page, by heading.
std::map<std::string, Family> read_page() {
  std::map<std::string, Family> families;
  std::string heading;
  bool inside = false;
  for (const std::string& text : page::lines("docs/families.md")) {
    if (text.starts_with("### ")) heading = text.substr(4);
    if (text.starts_with("```")) {
      inside = text == "```tensors";
      continue;
    }
    if (!inside) continue;
    const std::size_t open = text.find(" [");
    const std::size_t close = text.find(']');
    EXPECT_TRUE(open < close && close != std::string::npos) << text;
    Line line;
    std::istringstream dimensions(text.substr(open + 2, close - open - 2));
    for (std::string d; std::getline(dimensions, d, ',');) line.shape.push_back(std::stoull(d));
    std::istringstream rest(text.substr(close + 1));
    rest >> line.label >> std::ws;
    std::getline(rest, line.why);
    EXPECT_TRUE(families[heading].emplace(text.substr(0, open), line).second) << heading << ": " << text;
  }
  return families;
}

/// A file of BF16 tensors that takes no room on disk: plans read its header alone.
std::filesystem::path write_sparse(const io::test::TemporaryFolder& folder, const Family& family) {
  std::string header;
  std::uint64_t at = 0;
  for (const auto& [name, line] : family) {
    std::uint64_t bytes = 2;
    std::string shape;
    for (const std::uint64_t d : line.shape) {
      bytes *= d;
      shape += (shape.empty() ? "" : ",") + std::to_string(d);
    }
    header += (header.empty() ? "{\"" : ",\"") + name + R"(":{"dtype":"BF16","shape":[)" + shape +
              "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(at + bytes) + "]}";
    at += bytes;
  }
  const auto path = folder.write("model.safetensors", io::test::safetensors_bytes(header + "}", ""));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) + at);
  return path;
}

/// What the page says of a line, in the words of a plan.
std::string expected(const Line& line, const std::string& name) {
  if (line.label == "quantized" || line.label == "transposed") return line.label;
  const bool matrix = line.shape.size() == 2 && name.ends_with(".weight");
  return matrix ? "float " + line.why : "float";
}

std::string planned(const TensorPlan& t) {
  if (t.action == Action::quantize) return t.transposed ? "transposed" : "quantized";
  return t.kept.empty() ? "float" : "float " + std::string(t.kept);
}

TEST(Families, ArePlannedAsThePageSays) {
  const auto families = read_page();
  EXPECT_GE(families.size(), 51u);
  std::size_t tensors = 0;
  for (const auto& [family, lines] : families) {
    const io::test::TemporaryFolder folder;
    const auto weights = io::Weights::open(write_sparse(folder, lines));
    ASSERT_TRUE(weights) << family << ": " << describe(weights.error());
    PlanOptions options{*parse_scheme("int4-g128"), {}, {}};
    for (const auto& [name, line] : lines)
      if (line.label == "transposed") options.transposed.push_back("\\Q" + name + "\\E");
    if (!options.transposed.empty()) {
      const auto refused = make_plan(*weights, {options.scheme, {}, {}});
      ASSERT_FALSE(refused) << family;
      EXPECT_EQ(refused.error().code, ErrorCode::unsupported) << family;
      EXPECT_EQ(lines.at(refused.error().where.tensor).label, "transposed") << family;
    }
    const auto plan = make_plan(*weights, options);
    ASSERT_TRUE(plan) << family << ": " << describe(plan.error());
    for (const TensorPlan& t : plan->tensors) {
      EXPECT_EQ(planned(t), expected(lines.at(t.name), t.name)) << family << ": " << t.name;
      ++tensors;
    }
    const bool leaves_out =
        std::any_of(lines.begin(), lines.end(), [](const auto& l) { return l.second.label == "left-out"; });
    const bool said = std::any_of(plan->warnings.begin(), plan->warnings.end(), [](const std::string& w) {
      return w.find("more than two dimensions") != std::string::npos;
    });
    EXPECT_TRUE(said || !leaves_out) << family;
  }
  EXPECT_GE(tensors, 1050u);
}

TEST(Families, StandBesideTheDefaultListAsItIs) {
  std::map<std::string, std::string> parts;
  for (const KeptFloat& row : kept_float_by_default()) {
    std::string& cell = parts[std::string(row.why)];
    cell += (cell.empty() ? "`" : " `") + std::string(row.part) + "`" + (row.outside_layers ? " (outside layers)" : "");
  }
  const page::Table table = page::table("docs/families.md", "The default list", "stays float");
  EXPECT_EQ(table.rows.size() - 1, parts.size());
  for (const auto& [why, cell] : parts) EXPECT_EQ(table.row(why)[1], page::trimmed(cell)) << why;
}

}  // namespace
}  // namespace kvant::pipeline
