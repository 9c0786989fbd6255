// SPDX-License-Identifier: Apache-2.0
// The framing of a safetensors file: its first eight bytes, and opening it as file + header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "kvant/core/error.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/io/safetensors.hpp"

namespace kvant::io {

/// Little-endian u64.
[[nodiscard]] constexpr std::uint64_t load_header_length(std::span<const std::byte, 8> bytes) noexcept {
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < 8; ++i) length |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return length;
}

/// The header's length, checked against limit and file. Errors: truncated, bad_header, limit.
[[nodiscard]] Result<std::uint64_t> read_header_length(const InputFile& file);

struct OpenedSafetensors {
  InputFile file;
  SafetensorsHeader header;
};

/// Bytes of a tensor of `file`. Errors: usage (outside of the tensor), truncated, io.
[[nodiscard]] Status read_tensor(const InputFile& file, const TensorInfo& tensor, std::uint64_t byte_offset,
                                 std::span<std::byte> out);

/// Opens, sniffs, parses.
[[nodiscard]] Result<OpenedSafetensors> open_safetensors(const std::filesystem::path& path, Access access);
[[nodiscard]] Result<OpenedSafetensors> open_safetensors(InputFile file);

}  // namespace kvant::io
