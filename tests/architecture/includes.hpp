// SPDX-License-Identifier: Apache-2.0
// The order of the folders, as a rule on #include lines: a folder may include itself and the folders to its left.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "source_tree.hpp"

namespace includes {

inline constexpr std::array<std::string_view, 15> kOrder{"core",      "numeric", "tensor",   "kernels", "quant",
                                                         "calibrate", "passes",  "linear",   "io",      "text",
                                                         "nn",        "tune",    "pipeline", "measure", "cli"};

struct Include {
  std::string target;
  bool quoted = false;
};

/// The target of an #include line.
inline std::optional<Include> parse(std::string_view line) {
  const auto skip_blanks = [&] { line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size())); };
  skip_blanks();
  if (!line.starts_with('#')) return std::nullopt;
  line.remove_prefix(1);
  skip_blanks();
  if (!line.starts_with("include")) return std::nullopt;
  line.remove_prefix(7);
  skip_blanks();
  if (line.empty() || (line[0] != '"' && line[0] != '<')) return std::nullopt;
  const bool quoted = line[0] == '"';
  const std::size_t end = line.find(quoted ? '"' : '>', 1);
  return Include{std::string(line.substr(1, end - 1)), quoted};
}

inline std::vector<Include> of(const source_tree::File& file) {
  std::vector<Include> found;
  for (const std::string& line : file.lines)
    if (auto include = parse(line)) found.push_back(*std::move(include));
  return found;
}

/// The component after `prefix` of `path`, if it is a folder of the order: its place there.
inline std::optional<std::size_t> place(std::string_view path, std::string_view prefix) {
  if (!path.starts_with(prefix)) return std::nullopt;
  path.remove_prefix(prefix.size());
  const auto found = std::find(kOrder.begin(), kOrder.end(), path.substr(0, path.find('/')));
  if (found == kOrder.end()) return std::nullopt;
  return static_cast<std::size_t>(found - kOrder.begin());
}

/// What is wrong with one include of the file at `path`; empty where nothing is.
inline std::string complaint(std::string_view path, const Include& include) {
  const bool is_public = path.starts_with("include/kvant/");
  const auto own = place(path, is_public ? "include/kvant/" : "src/");
  if (!own) return is_public && path.find('/', 14) == std::string_view::npos ? "" : "the folder is not in the order";
  const auto other = place(include.target, "kvant/");
  if (other) return *other <= *own ? "" : std::string(kOrder[*own]) + " stands left of " + std::string(kOrder[*other]);
  if (include.target == "kvant/kvant.h" && path == "src/io/c_api.cpp") return "";  // what it defines
  if (include.target.starts_with("kvant/") || include.target == "kvant.hpp") return "the umbrella is for consumers";
  if (!include.quoted) return "";
  if (is_public) return "a public header includes a private one";
  const auto private_other = place(include.target, "");  // "folder/x.hpp", relative to src/
  if (private_other && *private_other > *own) return "a private header of a folder to the right";
  return include.target.starts_with("..") ? "private headers of other folders are named from src/" : "";
}

}  // namespace includes
