// SPDX-License-Identifier: Apache-2.0
#include "includes.hpp"

#include <gtest/gtest.h>

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
