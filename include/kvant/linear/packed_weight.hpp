// SPDX-License-Identifier: Apache-2.0
// Packed weights: bytes in the order in which a kernel reads them. The bytes are position-independent, 64-byte aligned
// and shared by every tier that prefers their layout; kernels.hpp draws each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvant/kernels/layout.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

using kernels::Layout;
using kernels::layout_info;
using kernels::LayoutInfo;
using kernels::packed_bytes;
using kernels::PackedShape;

/// Zero-filled bytes aligned to a cache line.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(std::size_t size) : data_(allocate(size)), size_(size) {
    if (size != 0) std::memset(data_.get(), 0, size);
  }
  /// Bytes that are all written before they are read.
  [[nodiscard]] static AlignedBytes uninitialized(std::size_t size) {
    AlignedBytes bytes;
    bytes.data_.reset(allocate(size));
    bytes.size_ = size;
    return bytes;
  }
  AlignedBytes(const AlignedBytes& other) : data_(allocate(other.size_)), size_(other.size_) {
    if (size_ != 0) std::memcpy(data_.get(), other.data_.get(), size_);
  }
  AlignedBytes& operator=(const AlignedBytes& other) { return *this = AlignedBytes(other); }
  AlignedBytes(AlignedBytes&& other) noexcept : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  AlignedBytes& operator=(AlignedBytes&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  ~AlignedBytes() = default;

  [[nodiscard]] unsigned char* data() noexcept { return data_.get(); }
  [[nodiscard]] const unsigned char* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  static constexpr std::size_t kAlignment = 64;

 private:
  [[nodiscard]] static unsigned char* allocate(std::size_t size) {
    return static_cast<unsigned char*>(::operator new (size, std::align_val_t{kAlignment}));
  }
  struct Deleter {
    void operator()(unsigned char* p) const noexcept { ::operator delete (p, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<unsigned char[], Deleter> data_;
  std::size_t size_ = 0;
};

inline constexpr std::uint32_t kNoColumn = 0xffffffffu;

/// A packed matrix: what a kernel has to know, its bytes, and what unpack() needs beside them.
struct PackedWeight {
  PackedShape shape;
  Scheme scheme;                          ///< what it was packed from, with
  std::vector<ScaleLevel> outer_scales;   ///< the levels of scales above the inner one,
  std::vector<ScaleLevel> outer_offsets;  ///< those of offsets, and
  bool reciprocal = false;                ///< whether scales are divided: see QMatrix
  /// What is multiplied by the weights of stored input c: input columns[c], or 0 where that is kNoColumn, which fills
  /// up groups to whole steps. Empty: input c.
  std::vector<std::uint32_t> columns;
  AlignedBytes bytes;
};

}  // namespace kvant
