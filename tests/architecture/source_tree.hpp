// SPDX-License-Identifier: Apache-2.0
// The files of the repository, as text, for the tests that read them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace source_tree {

struct File {
  std::string path;  ///< relative to the root, with slashes
  std::vector<std::string> lines;
};

inline std::filesystem::path root() { return KVANT_SOURCE_DIR; }

inline bool ends_with_any(std::string_view path, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return path.ends_with(e); });
}

inline bool is_cpp(std::string_view path) { return ends_with_any(path, {".hpp", ".cpp", ".inl", ".h"}); }

inline File read(const std::filesystem::path& path) {
  File file{std::filesystem::relative(path, root()).generic_string(), {}};
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) file.lines.push_back(line);
  return file;
}

/// The files under `folder`, or that one file, for which `wanted(path)` holds, sorted by path.
template <class Wanted>
std::vector<File> files(std::string_view folder, Wanted wanted) {
  std::vector<File> found;
  const std::filesystem::path top = root() / folder;
  if (std::filesystem::is_regular_file(top) && wanted(top.generic_string())) found.push_back(read(top));
  if (!std::filesystem::is_directory(top)) return found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(top))
    if (entry.is_regular_file() && wanted(entry.path().generic_string())) found.push_back(read(entry.path()));
  std::sort(found.begin(), found.end(), [](const File& a, const File& b) { return a.path < b.path; });
  return found;
}

/// The C++ files under several folders.
template <class... Folders>
std::vector<File> cpp_files(const Folders&... folders) {
  std::vector<File> all;
  for (const std::string_view folder : {std::string_view(folders)...}) {
    std::vector<File> found = files(folder, is_cpp);
    std::move(found.begin(), found.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace source_tree
