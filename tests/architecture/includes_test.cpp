// SPDX-License-Identifier: Apache-2.0
#include "includes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace {

using source_tree::File;

TEST(Includes, FollowTheOrderOfTheFolders) {
  const auto files = source_tree::cpp_files("include", "src");
  ASSERT_GT(files.size(), 40u);
  for (const File& file : files)
    for (const auto& include : includes::of(file))
      EXPECT_EQ(includes::complaint(file.path, include), "") << file.path << " includes " << include.target;
}

TEST(Includes, RuleRefusesWhatItShould) {
  const auto refuses = [](std::string_view path, std::string_view line) {
    const auto include = includes::parse(line);
    return include && !includes::complaint(path, *include).empty();
  };
  EXPECT_TRUE(refuses("include/kvant/core/error.hpp", "#include \"kvant/numeric/formats.hpp\""));
  EXPECT_TRUE(refuses("include/kvant/linear/pack.hpp", "#  include <kvant/io/npy.hpp>"));
  EXPECT_TRUE(refuses("include/kvant/quant/grid.hpp", "#include \"kvant/passes/rtn.hpp\""));
  EXPECT_TRUE(refuses("include/kvant/quant/grid.hpp", "#include \"kvant/kvant.hpp\""));
  EXPECT_TRUE(refuses("include/kvant/quant/grid.hpp", "#include \"helper.hpp\""));
  EXPECT_TRUE(refuses("include/kvant/extra/new.hpp", "#include <string>"));
  EXPECT_TRUE(refuses("src/io/npy.cpp", "#include \"kvant/text/tokenizer.hpp\""));
  EXPECT_TRUE(refuses("src/io/npy.cpp", "#include \"nn/model.hpp\""));
  EXPECT_TRUE(refuses("src/io/npy.cpp", "#include \"../nn/model.hpp\""));
  EXPECT_FALSE(refuses("include/kvant/linear/pack.hpp", "#include \"kvant/quant/qlinear.hpp\""));
  EXPECT_FALSE(refuses("src/text/bpe.cpp", "#include \"vocabulary.hpp\""));
  EXPECT_FALSE(refuses("src/cli/main.cpp", "#include \"kernels/ops.hpp\""));
  EXPECT_FALSE(refuses("include/kvant/kvant.hpp", "#include \"kvant/nn/model.hpp\""));
}

TEST(Includes, OfEigenStandOnlyInItsBridgeAndInCompiledDecompositions) {
  for (const File& file : source_tree::cpp_files("include", "src"))
    for (const auto& include : includes::of(file)) {
      if (!include.target.starts_with("Eigen/") && !include.target.starts_with("unsupported/Eigen")) continue;
      const bool compiled =
          file.path.starts_with("src/") && file.path.ends_with(".cpp") && !file.path.starts_with("src/kernels/");
      EXPECT_TRUE(compiled || file.path == "include/kvant/tensor/eigen.hpp") << file.path;
    }
}

/// Whether a header includes io/debug_mode.hpp, itself or by way of others.
bool asks_for_the_mode(const std::map<std::string, const File*>& headers, const std::string& path) {
  if (path == "kvant/io/debug_mode.hpp") return true;
  const auto found = headers.find(path);
  if (found == headers.end()) return false;
  const auto includes = includes::of(*found->second);
  return std::any_of(includes.begin(), includes.end(),
                     [&](const auto& include) { return asks_for_the_mode(headers, include.target); });
}

// Containers cross the border between a program and the library only where the linker compares their mode.
TEST(Includes, OfCompiledInterfacesWithContainersAskForTheLibraryOfTheirMode) {
  const auto files = source_tree::cpp_files("include");
  std::map<std::string, const File*> headers;
  for (const File& file : files) headers[file.path.substr(std::string_view("include/").size())] = &file;
  std::size_t seen = 0;
  for (const auto& [path, file] : headers) {
    const auto place = includes::place(path, "kvant/");
    if (!place || *place < *includes::place("io/", "")) continue;
    const auto includes = includes::of(*file);
    const bool has_containers = std::any_of(includes.begin(), includes.end(), [](const auto& include) {
      return std::set<std::string>{"deque", "list", "map", "set", "unordered_map", "unordered_set", "vector"}.contains(
          include.target);
    });
    if (!has_containers) continue;
    ++seen;
    EXPECT_TRUE(asks_for_the_mode(headers, path)) << path;
  }
  EXPECT_GT(seen, 10u);
}

// A file compiled for one instruction set must not instantiate anything that another file may share.
TEST(Includes, OfInstructionSetFilesAreIntrinsicsAndTheSeamAlone) {
  const std::set<std::string> shared{"generic.cpp", "tiers.cpp", "cpu_features.cpp", "runtime.cpp"};
  std::size_t tiers = 0;
  for (const File& file : source_tree::cpp_files("src/kernels")) {
    const std::string name = file.path.substr(file.path.rfind('/') + 1);
    if (name.ends_with(".hpp") || shared.contains(name)) continue;
    if (name.ends_with(".cpp")) ++tiers;
    for (const auto& include : includes::of(file)) {
      const bool allowed = include.target == "immintrin.h" || include.target == "arm_neon.h" ||
                           include.target == "cstdint" || include.target == "cstddef" ||
                           include.target == "kvant/kernels/kernels.hpp" ||
                           (include.quoted && include.target.ends_with(".inl"));
      EXPECT_TRUE(allowed) << file.path << " includes " << include.target;
    }
  }
  EXPECT_GT(tiers, 0u);
}

}  // namespace
