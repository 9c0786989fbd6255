// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "kvant/kernels/kernels.hpp"
#include "source_tree.hpp"

namespace {

using source_tree::File;

TEST(Files, BeginWithTheLicence) {
  for (const File& file : source_tree::cpp_files("include", "src", "tests", "fuzz", "bench", "examples"))
    EXPECT_TRUE(!file.lines.empty() && file.lines[0] == "// SPDX-License-Identifier: Apache-2.0") << file.path;

  const auto is_script = [](std::string_view path) {
    return source_tree::ends_with_any(path, {".sh", ".py", ".cmake", "CMakeLists.txt", ".ci/run"});
  };
  for (const std::string_view folder : {".ci", "cmake", "examples", "fuzz", "scripts", "tests", "tools"}) {
    for (const File& file : source_tree::files(folder, is_script)) {
      const auto second = file.lines.begin() + std::min<std::ptrdiff_t>(2, std::ssize(file.lines));
      EXPECT_NE(std::find(file.lines.begin(), second, "# SPDX-License-Identifier: Apache-2.0"), second) << file.path;
    }
  }
}

// A file that nobody builds rots; the lists are written by hand.
TEST(Files, ThatCompileAreInTheLists) {
  const auto text_of = [](std::string_view path) {
    std::string text;
    for (const std::string& line : source_tree::read(source_tree::root() / path).lines) text += line + '\n';
    return text;
  };
  const std::string library = text_of("cmake/sources.cmake");
  const std::string tiers = text_of("cmake/isa.cmake");
  const std::string tests = text_of("tests/CMakeLists.txt");
  for (const File& file : source_tree::cpp_files("src")) {
    if (!file.path.ends_with(".cpp")) continue;
    const std::string stem = std::filesystem::path(file.path).stem().string();
    EXPECT_TRUE(library.find(file.path) != std::string::npos || tiers.find("kvant_tier(" + stem) != std::string::npos)
        << file.path;
  }
  for (const File& file : source_tree::cpp_files("tests")) {
    const std::string name = std::filesystem::path(file.path).filename().string();
    EXPECT_TRUE(!name.ends_with("_test.cpp") || tests.find(' ' + name) != std::string::npos) << file.path;
  }
}

TEST(Headers, AreAtMost400LinesLong) {
  for (const File& file : source_tree::cpp_files("include")) EXPECT_LE(file.lines.size(), 400u) << file.path;
}

TEST(Headers, DefineNoMacros) {
  for (const File& file : source_tree::cpp_files("include"))
    for (const std::string& line : file.lines) {
      const std::size_t hash = line.find_first_not_of(" \t");
      const bool directive = hash != std::string::npos && line[hash] == '#';
      EXPECT_FALSE(directive && line.find("define", hash) == line.find_first_not_of("# \t", hash))
          << file.path << ": " << line;
    }
}

TEST(Headers, AreIncludedOnce) {
  for (const File& file : source_tree::cpp_files("include", "src")) {
    if (!file.path.ends_with(".hpp")) continue;
    EXPECT_NE(std::find(file.lines.begin(), file.lines.end(), "#pragma once"), file.lines.end()) << file.path;
  }
}

TEST(Kernels, HaveFewerThan60Slots) {
  static_assert(sizeof(void (*)()) == sizeof(void*));
  EXPECT_LT(sizeof(kvant::kernels::Kernels) / sizeof(void*) - 1, 60u);  // less the tier's name
}

// The words are spelled in two pieces so that this file passes.
TEST(Files, MentionNoPrivatePathNoRegistryAndNothingUnfinished) {
  const std::array<std::string, 9> words{
      std::string("/wo") + "rk/",    std::string("pypi.") + "org",  std::string("python") + "hosted",
      std::string("npmjs.") + "com", std::string("crates.") + "io", std::string("anaconda.") + "org",
      std::string("docker.") + "io", std::string("TO") + "DO",      std::string("FIX") + "ME"};
  const auto is_text = [](std::string_view path) {
    return source_tree::is_cpp(path) ||
           source_tree::ends_with_any(path, {".md", ".sh", ".py", ".cmake", ".txt", ".ci/run", "CMakePresets.json"});
  };
  for (const auto& entry : std::filesystem::directory_iterator(source_tree::root())) {
    const std::string name = entry.path().filename().string();
    if (name == "build" || name == ".git" || name == ".cache") continue;
    for (const File& file : source_tree::files(name, is_text))
      for (const std::string& line : file.lines)
        for (const std::string& word : words)
          EXPECT_EQ(line.find(word), std::string::npos) << file.path << ": " << line;
  }
}

}  // namespace
