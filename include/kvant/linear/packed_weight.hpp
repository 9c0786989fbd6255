// SPDX-License-Identifier: Apache-2.0
// Packed weights: bytes in the order in which a kernel reads them. The bytes are position-independent, 64-byte aligned
// and shared by every tier that prefers their layout; kernels.hpp draws each.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/core/error.hpp"
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
  Scheme scheme;                         ///< what it was packed from, with
  std::vector<ScaleLevel> outer_scales;  ///< the levels of scales above the finest one, and
  bool reciprocal = false;               ///< whether they divide: see QMatrix
  /// What is multiplied by the weights of stored input c: input columns[c], or 0 where that is kNoColumn, which fills
  /// up groups to whole steps. Empty: input c.
  std::vector<std::uint32_t> columns;
  AlignedBytes bytes;
};

namespace detail {

inline tl::unexpected<Error> bad_packed(std::string what) {
  return fail(ErrorCode::bad_shape, "a packed matrix " + std::move(what));
}

/// Whether the sizes of a shape are those of a matrix, and none of them wraps.
inline Status check_sizes(const PackedShape& s) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40;
  if (static_cast<std::size_t>(s.layout) >= kernels::kLayouts.size()) return bad_packed("has an unknown layout");
  const LayoutInfo& info = layout_info(s.layout);
  if (s.n > kMost || s.k > kMost || s.inputs > s.k || s.group > kMost)
    return bad_packed("of " + std::to_string(s.n) + " x " + std::to_string(s.inputs) + " stores " +
                      std::to_string(s.k) + " inputs in groups of " + std::to_string(s.group));
  const bool whole_steps = s.group % std::max<std::size_t>(info.step, 8) == 0 || s.group >= s.k;
  if (info.has_groups() ? (s.group == 0 && s.k != 0) || !whole_steps : s.group != 0)
    return bad_packed("of layout " + std::string(info.id) + " has groups of " + std::to_string(s.group));
  if (s.panel_stride != panel_bytes(s))
    return bad_packed("has panels of " + std::to_string(s.panel_stride) + " bytes, expected " +
                      std::to_string(panel_bytes(s)));
  return {};
}

}  // namespace detail

/// Whether a packed matrix that was made by hand or read from a file is one that kernels may be given with these bytes:
/// bad_shape, or usage where they do not begin at a multiple of 64. What the bytes say is not looked at; any will do.
[[nodiscard]] inline Status check(const PackedWeight& p, std::span<const unsigned char> bytes) {
  const PackedShape& s = p.shape;
  if (const Status ok = detail::check_sizes(s); !ok) return ok;
  const auto size = checked_mul(panels(s), s.panel_stride);
  if (!size || bytes.size() < *size)
    return detail::bad_packed("has " + std::to_string(bytes.size()) + " bytes, fewer than its shape asks for");
  if (std::bit_cast<std::uintptr_t>(bytes.data()) % AlignedBytes::kAlignment != 0)
    return fail(ErrorCode::usage, "packed bytes have to begin at a multiple of 64");
  if (p.columns.empty() ? s.k != s.inputs : p.columns.size() != s.k)
    return detail::bad_packed("has an order of " + std::to_string(p.columns.size()) + " inputs, expected " +
                              std::to_string(s.k));
  for (const std::uint32_t column : p.columns)
    if (column >= s.inputs && column != kNoColumn)
      return detail::bad_packed("reads input " + std::to_string(column) + " of " + std::to_string(s.inputs));
  if (s.code_step < 0 || s.code_step > 2 || s.zero < 0 || s.zero > 255)
    return detail::bad_packed("counts codes in steps of " + std::to_string(s.code_step) + " from " +
                              std::to_string(s.zero));
  return {};
}

}  // namespace kvant
