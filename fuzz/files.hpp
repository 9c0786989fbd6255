// SPDX-License-Identifier: Apache-2.0
// Files that fuzz targets take apart, change and write.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace fuzz {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::filesystem::path temporary_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "kvant-fuzz-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  return name;
}

/// The two parts of a safetensors file that is in order.
struct Safetensors {
  std::string header, data;
};

inline Safetensors read_safetensors(const std::filesystem::path& path) {
  const std::string file = read_file(path);
  std::uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = size << 8 | static_cast<unsigned char>(file[static_cast<std::size_t>(i)]);
  return {file.substr(8, size), file.substr(8 + size)};
}

}  // namespace fuzz
