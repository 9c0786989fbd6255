// SPDX-License-Identifier: Apache-2.0
// NumPy's .npy: one array per file. Source: numpy/lib/format.py, versions 1.0, 2.0 and 3.0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/atomic_file.hpp"
#include "kvant/tensor/dtype.hpp"

namespace kvant::io {

/// An array in memory: row-major, little-endian.
struct NpyArray {
  DType dtype = DType::f32;
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> data;

  /// Number of elements.
  [[nodiscard]] std::uint64_t size() const noexcept { return data.size() * 8 / dtype_info(dtype).bits; }
  /// All elements as fp32: F16 and F32 exactly, F64 and wide integers to nearest even. Errors: out_of_memory.
  [[nodiscard]] Result<std::vector<float>> to_floats() const;
  /// All elements as integers. Errors: unsupported (floats), overflow (a u64 above 2^63 - 1), out_of_memory.
  [[nodiscard]] Result<std::vector<std::int64_t>> to_ids() const;
};

inline constexpr std::uint64_t kNpyMaxBytes = std::uint64_t{16} << 30;

/// Reads f2 f4 f8, i1 i2 i4 i8, u1 u2 u4 u8, little-endian, in C order. Errors: those of InputFile; bad_npy, truncated,
/// trailing_data, overflow; unsupported (big-endian, Fortran order, other dtypes), pickle (object arrays); limit.
[[nodiscard]] Result<NpyArray> read_npy(const std::filesystem::path& path, std::uint64_t max_bytes = kNpyMaxBytes);

/// Writes `<f4` in C order; `data` has as many elements as `shape`. Errors: usage, those of AtomicFile.
[[nodiscard]] Status write_npy(const std::filesystem::path& path, std::span<const float> data,
                               std::span<const std::uint64_t> shape, OutputMode mode);

}  // namespace kvant::io
