// SPDX-License-Identifier: Apache-2.0
// docs/architecture.md against the tree, and the pages against each other.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "docs/page.hpp"
#include "includes.hpp"
#include "source_tree.hpp"

namespace {

namespace fs = std::filesystem;

const std::string kPage = "docs/architecture.md";

std::set<std::string> folders_in(const fs::path& path) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(source_tree::root() / path))
    if (const std::string name = entry.path().filename().string(); entry.is_directory() && name[0] != '.')
      names.insert(name);
  return names;
}

TEST(ArchitecturePage, HasTheFoldersInTheirOrder) {
  std::vector<std::string> shown;
  for (const page::Row& row : page::table(kPage, "The folders, in order", "folder").rows)
    if (row[0] != "folder" && row[0] != "════") shown.push_back(row[0]);
  std::set<std::string> there = folders_in("include/kvant");
  there.merge(folders_in("src"));
  EXPECT_EQ(std::set<std::string>(shown.begin(), shown.end()), there);
  std::vector<std::string> expected;
  for (const std::string_view folder : includes::kOrder)
    if (there.contains(std::string(folder))) expected.emplace_back(folder);
  EXPECT_EQ(shown, expected);
}

// Folders of a build or of data need not be there, but what is kept in the repository is in the picture.
TEST(ArchitecturePage, DrawsTheRepository) {
  std::set<std::string> top;
  std::string parent;
  for (const page::Block& block : page::blocks(kPage)) {
    if (block.language != "text") continue;
    for (const std::string& line : block.lines) {
      const std::size_t start = line.find_first_not_of(' ');
      const std::string name = line.substr(start, line.find(' ', start) - start);
      if (start > 2 || !name.ends_with('/')) continue;
      if (start == 0) {
        parent = name;
        top.insert(name.substr(0, name.find('/')));
      }
      EXPECT_TRUE(fs::is_directory(source_tree::root() / (start == 0 ? "" : parent) / name)) << line;
    }
  }
  for (const char* folder :
       {"bench", "cmake", "docs", "examples", "fuzz", "include", "models", "scripts", "src", "tests", "tools"})
    EXPECT_TRUE(top.contains(folder)) << folder;
}

/// The targets of `[text](target)` that are files; not in blocks of code, whose lambdas look alike.
std::vector<std::string> links(const std::string& page) {
  const std::string text = page::parts(page).prose;
  std::vector<std::string> found;
  for (std::size_t at = text.find("]("); at != std::string::npos; at = text.find("](", at + 1)) {
    const std::string target = text.substr(at + 2, text.find_first_of(")#", at + 2) - at - 2);
    if (!target.empty() && target.find("://") == std::string::npos) found.push_back(target);
  }
  return found;
}

TEST(Pages, LinkToWhatIsThere) {
  for (const std::string& page : page::all_pages())
    for (const std::string& target : links(page))
      EXPECT_TRUE(fs::exists(source_tree::root() / fs::path(page).parent_path() / target)) << page << ": " << target;
}

TEST(Pages, AreReachedFromTheReadmeOrTheArchitecture) {
  std::set<std::string> reached;
  for (const std::string page : {"README.md", "docs/architecture.md"})
    for (const std::string& target : links(page))
      reached.insert((fs::path(page).parent_path() / target).lexically_normal().generic_string());
  for (const std::string& page : page::all_pages())
    EXPECT_TRUE(!page.starts_with("docs/") || reached.contains(page)) << page;
}

}  // namespace
