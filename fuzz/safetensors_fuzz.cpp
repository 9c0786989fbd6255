// SPDX-License-Identifier: Apache-2.0
// Headers of safetensors files and JSON from anywhere: no crash, no leak, and what is accepted is sound.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kvant/io/json.hpp"
#include "kvant/io/safetensors.hpp"

namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

/// An accepted header tiles the file; the first two bytes of the input choose how long the data are said to be.
void fuzz_header(std::span<const std::byte> json, std::uint64_t data_bytes) {
  const std::uint64_t file_size = 8 + json.size() + data_bytes;
  const auto header = kvant::io::parse_safetensors_header(json, file_size);
  if (!header) return require(!header.error().message.empty());
  std::uint64_t end = 8 + json.size();
  for (const kvant::io::TensorInfo& t : header->tensors) {
    require(t.offset == end);
    require(kvant::io::tensor_bytes(t.dtype, t.shape) == t.bytes);
    end += t.bytes;
  }
  require(end == file_size);
}

/// Accepted JSON has a text, and that text reads back to the same text.
void fuzz_json(std::string_view text) {
  const auto json = kvant::io::parse_json(text, {.max_bytes = 1u << 20, .max_items = 1000, .max_depth = 16});
  if (!json) return require(!json.error().message.empty());
  const std::string once = kvant::io::to_text(*json);
  const auto again = kvant::io::parse_json(once, {.max_depth = 16});
  require(again.has_value() && kvant::io::to_text(*again) == once);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint64_t data_bytes = data[0] | static_cast<unsigned>(data[1]) << 8;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  fuzz_header(std::as_bytes(std::span(text)), data_bytes);
  fuzz_json(text);
  return 0;
}
