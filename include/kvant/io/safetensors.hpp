// SPDX-License-Identifier: Apache-2.0
// The safetensors format: u64 little-endian header length, JSON header, then the tensors' bytes without a gap.
// Source: the format section of the safetensors README and what its reference implementation checks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/atomic_file.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/io/metadata.hpp"
#include "kvant/tensor/dtype.hpp"

namespace kvant::io {

inline constexpr std::uint64_t kSafetensorsMaxHeader = 100'000'000;  ///< bytes, as the reference reader has it
inline constexpr std::size_t kMaxNameBytes = std::size_t{64} * 1024;
inline constexpr std::size_t kMaxRank = 64;
inline constexpr std::size_t kMaxMetadataKeys = 100'000;

/// A tensor as a file holds it: row-major, little-endian.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::uint64_t> shape;  ///< in elements; empty for a scalar
  std::uint64_t offset = 0;          ///< of the first byte, in the file
  std::uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;    ///< by position in the file
  Metadata metadata;                  ///< `__metadata__`
  std::vector<std::string> warnings;  ///< what is odd but no error
};

/// Elements x bits of a tensor in whole bytes. Errors: overflow, misaligned (sub-byte elements leave a byte unfilled).
[[nodiscard]] Result<std::uint64_t> tensor_bytes(DType dtype, std::span<const std::uint64_t> shape);

/// Parses and checks the JSON header of a file of `file_size` bytes; pure, so that it can be fuzzed. `json` begins at
/// byte 8 of the file. Time O(n log n), memory within four times the header.
/// Errors, with tensor and offset: bad_json, bad_utf8, duplicate_key, bad_header (missing or unknown key), bad_shape,
/// unknown_dtype, overflow, misaligned, size_mismatch, bad_offsets, overlap, hole, truncated, trailing_data,
/// bad_metadata, limit.
[[nodiscard]] Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> json,
                                                                 std::uint64_t file_size, const Where& where = {});

/// A safetensors file whose header has been checked; tensors are read on demand. Reading is thread-safe.
class SafetensorsFile {
 public:
  /// Errors: those of InputFile, sniff() and parse_safetensors_header().
  [[nodiscard]] static Result<SafetensorsFile> open(const std::filesystem::path& path, Access access = Access::pread);

  /// The bytes of such a file in memory: see InputFile::over().
  [[nodiscard]] static Result<SafetensorsFile> over(std::span<const std::byte> bytes);

  [[nodiscard]] const std::vector<TensorInfo>& tensors() const noexcept { return header_.tensors; }
  [[nodiscard]] const Metadata& metadata() const noexcept { return header_.metadata; }
  [[nodiscard]] const InputFile& file() const noexcept { return file_; }

  /// Bytes [byte_offset, byte_offset + out.size()) of a tensor. Errors: usage (outside of it), truncated, io.
  [[nodiscard]] Status read(const TensorInfo& tensor, std::uint64_t byte_offset, std::span<std::byte> out) const;

 private:
  SafetensorsFile(InputFile file, SafetensorsHeader header) : file_(std::move(file)), header_(std::move(header)) {}

  InputFile file_;
  SafetensorsHeader header_;
};

/// A tensor to be written.
struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::uint64_t> shape;
};

/// Writes a safetensors file whose shapes are known beforehand, in any order of tensors and parts. The header is
/// strict: tensors by falling element size, then by name; `{` first; padded with spaces to 8 bytes.
class SafetensorsWriter {
 public:
  /// Where tensors may begin: at multiples of their elements, or, for mapped files, those of whole cache lines (64
  /// bytes) at multiples of them; these come first.
  enum class Alignment : std::uint8_t { elements, cache_lines };

  /// Errors: those of AtomicFile; usage (a name that repeats, is `__metadata__`, too long, not UTF-8), overflow,
  /// misaligned, limit (header above kSafetensorsMaxHeader).
  [[nodiscard]] static Result<SafetensorsWriter> create(const std::filesystem::path& path,
                                                        std::vector<TensorSpec> tensors, const Metadata& metadata,
                                                        OutputMode mode, Alignment alignment = Alignment::elements);

  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();

  /// Writes part of a tensor; each byte once. Thread-safe. Errors: usage (unknown tensor, outside of it), io.
  [[nodiscard]] Status write(std::string_view tensor, std::uint64_t byte_offset, std::span<const std::byte> data);

  /// Makes the file appear. Errors: usage (a tensor is not complete), io.
  [[nodiscard]] Status commit();

  /// The file's size in bytes.
  [[nodiscard]] std::uint64_t size() const noexcept;

 private:
  struct Impl;
  explicit SafetensorsWriter(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvant::io
