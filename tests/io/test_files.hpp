// SPDX-License-Identifier: Apache-2.0
// What the tests of files share: a folder of their own, files made of bytes, safetensors files made by hand.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"

namespace kvant::io::test {

/// A new folder that goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "kvant-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = std::filesystem::canonical(name);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

  /// Writes a file and returns its path.
  std::filesystem::path write(std::string_view name, std::string_view bytes) const {
    const std::filesystem::path p = path_ / name;
    std::ofstream(p, std::ios::binary) << bytes;
    return p;
  }

  /// The names of everything in the folder, hidden files included.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) out.push_back(entry.path().filename());
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string little_endian_u64(std::uint64_t x) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>((x >> (8 * i)) & 0xff);
  return out;
}

/// A safetensors file of this header and data, whatever they are.
inline std::string safetensors_bytes(std::string_view header, std::string_view data) {
  return little_endian_u64(header.size()) + std::string(header) + std::string(data);
}

/// A .npy file of token ids.
inline std::string npy_bytes(const std::vector<std::int32_t>& ids) {
  std::string header = "{'descr': '<i4', 'fortran_order': False, 'shape': (" + std::to_string(ids.size()) + ",), }";
  header.resize(117, ' ');
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00\x76\x00", 10);
  bytes += header;
  for (const std::int32_t id : ids)
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>((static_cast<std::uint32_t>(id) >> (8 * i)) & 0xff);
  return bytes;
}

/// The code of an error; a message that shows up in the test's output where there is none.
template <class T>
std::string code_of(const Result<T>& r) {
  return r ? "success" : std::string(error_info(r.error().code).name);
}

/// The folder of real files, or an empty path.
inline std::filesystem::path test_data() {
  const char* folder = std::getenv("KVANT_TEST_DATA");
  return folder != nullptr ? folder : "";
}

}  // namespace kvant::io::test
