// SPDX-License-Identifier: Apache-2.0
// Packed weights: bytes in the order in which a kernel reads them. The bytes are position-independent, 64-byte aligned
// and shared by every tier; kernels.hpp draws each layout.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

/// How weights lie in memory. The id of a layout never changes its meaning; a change is a new id.
enum class Layout : std::uint8_t { f32_p32, bf16_p32, w8_p64, w4_p32, w2_p32, w1_p32 };

struct LayoutInfo {
  Layout layout;
  std::string_view id;
  unsigned bits;           ///< per weight
  std::size_t columns;     ///< output features per panel
  std::size_t step;        ///< inputs per step
  std::size_t step_bytes;  ///< bytes per step of a panel
};

inline constexpr std::array kLayouts{
    LayoutInfo{Layout::f32_p32, "f32.p32.v1", 32, 32, 1, 128},
    LayoutInfo{Layout::bf16_p32, "bf16.p32.v1", 16, 32, 2, 128},
    LayoutInfo{Layout::w8_p64, "w8.p64.v1", 8, 64, 4, 256},
    LayoutInfo{Layout::w4_p32, "w4.p32.v1", 4, 32, 8, 128},
    LayoutInfo{Layout::w2_p32, "w2.p32.v1", 2, 32, 16, 128},
    LayoutInfo{Layout::w1_p32, "w1.p32.v1", 1, 32, 32, 128},
};

[[nodiscard]] constexpr const LayoutInfo& layout_info(Layout layout) noexcept {
  return kLayouts[static_cast<std::size_t>(layout)];
}

/// Zero-filled bytes aligned to a cache line.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(std::size_t size) : data_(allocate(size)), size_(size) {
    if (size != 0) std::memset(data_.get(), 0, size);
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

/// A packed matrix [n, k] and what a kernel has to know about it.
struct PackedWeight {
  Layout layout = Layout::f32_p32;
  std::size_t n = 0;
  std::size_t k = 0;      ///< stored inputs
  std::size_t group = 0;  ///< inputs per record of scales; k where there is one per panel
  bool scales_f32 = false;
  bool has_zeros = false;
  /// A weight is scale * (code_step * stored code - zero); a code_step of 0: scale * (its level - zero).
  std::int32_t zero = 0;
  std::int32_t code_step = 1;
  /// The value of each stored code, again and again until all places are filled. Up to 4 bits, and floats and
  /// codebooks.
  std::array<float, 256> levels{};
  std::uint32_t mantissa_bits = 0;  ///< see kernels::GemmArgs
  float level_unit = 1.0f;
  Scheme scheme;                         ///< what it was packed from, with
  std::vector<ScaleLevel> outer_scales;  ///< the levels of scales above the finest one, and
  bool reciprocal = false;               ///< whether they divide: see QMatrix
  /// What is multiplied by the weights of stored input c: input columns[c], or 0 where that is kNoColumn, which fills
  /// up groups to whole steps. Empty: input c.
  std::vector<std::uint32_t> columns;
  AlignedBytes bytes;

  /// What kernels take for the levels: none for integers of 8 bits.
  [[nodiscard]] const float* kernel_levels() const noexcept {
    return layout_info(layout).bits == 8 && code_step != 0 ? nullptr : levels.data();
  }
  [[nodiscard]] std::size_t panels() const noexcept { return ceil_div(n, layout_info(layout).columns); }
  /// Bytes of one record: scales and zero points of one group of one panel.
  [[nodiscard]] std::size_t record_bytes() const noexcept {
    if (group == 0) return 0;
    return layout_info(layout).columns * (scales_f32 ? 4u : 2u) + (has_zeros ? 64u : 0u);
  }
  /// Bytes from the start of a panel to the start of group `index`.
  [[nodiscard]] std::size_t group_offset(std::size_t index) const noexcept {
    const LayoutInfo& info = layout_info(layout);
    return index * (ceil_div(group, info.step) * info.step_bytes + record_bytes());
  }
  [[nodiscard]] std::size_t panel_stride() const noexcept {
    const LayoutInfo& info = layout_info(layout);
    if (group == 0) return ceil_div(k, info.step) * info.step_bytes;
    const std::size_t whole = k / group;
    const std::size_t rest = k % group;
    return group_offset(whole) + (rest != 0 ? ceil_div(rest, info.step) * info.step_bytes + record_bytes() : 0);
  }
};

}  // namespace kvant
