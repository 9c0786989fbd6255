// SPDX-License-Identifier: Apache-2.0
// Files of tests/golden/tokenizers, and hashes as make.py records them.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/text/tokenizer.hpp"

namespace kvant::text::test {

inline const std::filesystem::path kGolden = std::filesystem::path(KVANT_SOURCE_DIR) / "tests/golden/tokenizers";

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

inline nlohmann::json golden(const std::string& name) {
  return nlohmann::json::parse(read_bytes(kGolden / (name + ".json")));
}

class Fnv1a64 {
 public:
  void add(unsigned byte) { state_ = (state_ ^ byte) * 0x100000001b3; }

  [[nodiscard]] std::string text() const {
    std::string text(16, '0');
    std::uint64_t rest = state_;
    for (std::size_t i = 16; i-- > 0; rest >>= 4) text[i] = "0123456789abcdef"[rest & 15];
    return text;
  }

 private:
  std::uint64_t state_ = 0xcbf29ce484222325;
};

/// Of ids as little-endian 32-bit integers.
inline std::string fnv1a64(const std::vector<std::int32_t>& ids) {
  Fnv1a64 hash;
  for (const std::int32_t id : ids)
    for (unsigned shift = 0; shift < 32; shift += 8) hash.add((static_cast<std::uint32_t>(id) >> shift) & 0xff);
  return hash.text();
}

inline std::vector<std::int32_t> encoded(const Tokenizer& tokenizer, std::string_view text, bool special = true) {
  const auto ids = tokenizer.encode(text, {.add_special_tokens = special});
  EXPECT_TRUE(ids) << describe(ids.error());
  return ids.value_or(std::vector<std::int32_t>{});
}

}  // namespace kvant::text::test
