// SPDX-License-Identifier: Apache-2.0
// Pages of the documentation, taken apart for the tests that check what they say.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace page {

/// Without the blanks and backquotes at both ends.
inline std::string trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" `");
  const std::size_t last = text.find_last_not_of(" `");
  return first == std::string_view::npos ? "" : std::string(text.substr(first, last - first + 1));
}

/// The lines of a page, named from the root of the repository.
inline std::vector<std::string> lines(const std::string& name) {
  std::ifstream file(std::string(KVANT_SOURCE_DIR) + "/" + name);
  EXPECT_TRUE(file) << name;
  std::vector<std::string> all;
  for (std::string line; std::getline(file, line);) all.push_back(line);
  return all;
}

inline std::string text(const std::string& name) {
  std::string all;
  for (const std::string& line : lines(name)) all += line + "\n";
  return all;
}

using Row = std::vector<std::string>;

/// A table, and the heading that it stands under; the first row is that of its columns' names.
struct Table {
  std::string heading;
  std::vector<Row> rows;

  /// The row that begins with `key`; empty, and a failure, where there is none.
  [[nodiscard]] Row row(std::string_view key) const {
    for (const Row& r : rows)
      if (!r.empty() && r[0] == key) return r;
    ADD_FAILURE() << heading << " has no row " << key;
    return {};
  }
};

inline std::vector<Table> tables(const std::string& name) {
  std::vector<Table> all;
  std::string heading;
  bool inside = false;
  for (const std::string& line : lines(name)) {
    if (line.starts_with("#")) heading = line.substr(std::min(line.find_first_not_of("# "), line.size()));
    if (line.starts_with("|") && !inside) all.push_back({heading, {}});
    inside = line.starts_with("|");
    if (!inside || line.starts_with("|-")) continue;
    Row row;
    std::istringstream cells(line.substr(1));
    for (std::string cell; std::getline(cells, cell, '|');) row.push_back(trimmed(cell));
    all.back().rows.push_back(row);
  }
  return all;
}

/// The table under a heading whose first column has that name.
inline Table table(const std::string& name, std::string_view heading, std::string_view column) {
  for (Table& t : tables(name))
    if (t.heading == heading && t.rows[0][0] == column) return std::move(t);
  ADD_FAILURE() << name << " has no table " << column << " under " << heading;
  return {};
}

/// A fenced block: what stands behind its fence, and its lines.
struct Block {
  std::string language;
  std::vector<std::string> lines;
};

/// A page's blocks, and what stands outside of them.
struct Parts {
  std::vector<Block> blocks;
  std::string prose;
};

inline Parts parts(const std::string& name) {
  Parts all;
  bool inside = false;
  for (const std::string& line : lines(name)) {
    if (line.starts_with("```")) {
      inside = !inside;
      if (inside) all.blocks.push_back({line.substr(3), {}});
    } else if (inside) {
      all.blocks.back().lines.push_back(line);
    } else {
      all.prose += line + "\n";
    }
  }
  EXPECT_FALSE(inside) << name << " ends inside a block";
  return all;
}

inline std::vector<Block> blocks(const std::string& name) { return parts(name).blocks; }

/// Every page: those of docs/ and the ones beside it.
inline std::vector<std::string> all_pages() {
  const std::filesystem::path root = KVANT_SOURCE_DIR;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(root))
    if (entry.path().extension() == ".md") names.push_back(entry.path().filename().string());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root / "docs"))
    if (entry.path().extension() == ".md") names.push_back(entry.path().lexically_relative(root).generic_string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace page
