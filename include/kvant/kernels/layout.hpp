// SPDX-License-Identifier: Apache-2.0
// The layouts of packed weights: a row is a layout, its geometry and the slots that multiply by it. Packing, the
// generic kernels, the list of operations and the pages follow from the rows.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "kvant/kernels/kernels.hpp"

namespace kvant::kernels {

/// Where the code of a column's input lies: the byte from the start of its group, and the bits in it.
struct CodeSlot {
  std::size_t byte;
  unsigned shift;
  std::uint32_t mask;
};

/// A slot of the table by name.
template <class Function>
struct NamedSlot {
  std::string_view name;
  Function Kernels::*member = nullptr;
};

struct LayoutInfo {
  Layout layout;
  std::string_view id;
  std::string_view name;   ///< in the names of operations
  unsigned bits;           ///< per weight
  std::size_t columns;     ///< output features per panel
  std::size_t step;        ///< inputs per step
  std::size_t step_bytes;  ///< bytes per step of a panel
  /// Within a group, inputs counted from its first.
  CodeSlot (*slot)(std::size_t column, std::size_t input) noexcept;
  NamedSlot<Gemm> gemm_f32;
  NamedSlot<Gemm> gemm_s8;  ///< none for float weights
  NamedSlot<Gather> gather;

  /// Whether weights are codes, under scales that lie in records.
  [[nodiscard]] constexpr bool has_groups() const noexcept { return bits <= 8; }
  /// What a group that is not the whole row is a multiple of.
  [[nodiscard]] constexpr std::size_t group_step() const noexcept { return step < 8 ? 8 : step; }
};

namespace detail {

/// Codes of `Bits` bits: a column's step is one 32-bit word, byte i of which holds the inputs i, 4 + i, 8 + i, …
template <unsigned Bits, std::size_t Columns>
constexpr CodeSlot word_slot(std::size_t column, std::size_t input) noexcept {
  constexpr std::size_t kStep = 32 / Bits;
  return {input / kStep * 4 * Columns + column * 4 + input % 4, static_cast<unsigned>(input % kStep / 4 * Bits),
          (1u << Bits) - 1u};
}
constexpr CodeSlot f32_slot(std::size_t column, std::size_t input) noexcept {
  return {(input * 32 + column) * 4, 0, 0xffffffffu};
}
constexpr CodeSlot bf16_slot(std::size_t column, std::size_t input) noexcept {
  return {(input / 2 * 64 + column * 2 + input % 2) * 2, 0, 0xffffu};
}

}  // namespace detail

inline constexpr std::array kLayouts{
    LayoutInfo{.layout = Layout::f32_p32,
               .id = "f32.p32.v1",
               .name = "f32",
               .bits = 32,
               .columns = 32,
               .step = 1,
               .step_bytes = 128,
               .slot = &detail::f32_slot,
               .gemm_f32 = {"gemm_f32_f32", &Kernels::gemm_f32_f32},
               .gemm_s8 = {},
               .gather = {"gather_f32", &Kernels::gather_f32}},
    LayoutInfo{.layout = Layout::bf16_p32,
               .id = "bf16.p32.v1",
               .name = "bf16",
               .bits = 16,
               .columns = 32,
               .step = 2,
               .step_bytes = 128,
               .slot = &detail::bf16_slot,
               .gemm_f32 = {"gemm_bf16_f32", &Kernels::gemm_bf16_f32},
               .gemm_s8 = {},
               .gather = {"gather_bf16", &Kernels::gather_bf16}},
    LayoutInfo{.layout = Layout::w8_p64,
               .id = "w8.p64.v1",
               .name = "w8",
               .bits = 8,
               .columns = 64,
               .step = 4,
               .step_bytes = 256,
               .slot = &detail::word_slot<8, 64>,
               .gemm_f32 = {"gemm_w8_f32", &Kernels::gemm_w8_f32},
               .gemm_s8 = {"gemm_w8_s8", &Kernels::gemm_w8_s8},
               .gather = {"gather_w8", &Kernels::gather_w8}},
    LayoutInfo{.layout = Layout::w4_p32,
               .id = "w4.p32.v1",
               .name = "w4",
               .bits = 4,
               .columns = 32,
               .step = 8,
               .step_bytes = 128,
               .slot = &detail::word_slot<4, 32>,
               .gemm_f32 = {"gemm_w4_f32", &Kernels::gemm_w4_f32},
               .gemm_s8 = {"gemm_w4_s8", &Kernels::gemm_w4_s8},
               .gather = {"gather_w4", &Kernels::gather_w4}},
    LayoutInfo{.layout = Layout::w2_p32,
               .id = "w2.p32.v1",
               .name = "w2",
               .bits = 2,
               .columns = 32,
               .step = 16,
               .step_bytes = 128,
               .slot = &detail::word_slot<2, 32>,
               .gemm_f32 = {"gemm_w2_f32", &Kernels::gemm_w2_f32},
               .gemm_s8 = {"gemm_w2_s8", &Kernels::gemm_w2_s8},
               .gather = {"gather_w2", &Kernels::gather_w2}},
    LayoutInfo{.layout = Layout::w1_p32,
               .id = "w1.p32.v1",
               .name = "w1",
               .bits = 1,
               .columns = 32,
               .step = 32,
               .step_bytes = 128,
               .slot = &detail::word_slot<1, 32>,
               .gemm_f32 = {"gemm_w1_f32", &Kernels::gemm_w1_f32},
               .gemm_s8 = {"gemm_w1_s8", &Kernels::gemm_w1_s8},
               .gather = {"gather_w1", &Kernels::gather_w1}},
};

[[nodiscard]] constexpr const LayoutInfo& layout_info(Layout layout) noexcept {
  return kLayouts[static_cast<std::size_t>(layout)];
}
/// The row of an id; null where there is none.
[[nodiscard]] constexpr const LayoutInfo* layout_of(std::string_view id) noexcept {
  for (const LayoutInfo& info : kLayouts)
    if (info.id == id) return &info;
  return nullptr;
}

/// Bytes of a record: scales and zero points or offsets of one group of one panel.
[[nodiscard]] constexpr std::size_t record_bytes(const PackedShape& s) noexcept {
  return layout_info(s.layout).columns * (s.scales_f32 ? 4u : 2u) * (s.has_offsets ? 2u : 1u) +
         (s.has_zeros ? 64u : 0u);
}
/// Bytes from the start of a panel to its group `index`, the last of which may be short.
[[nodiscard]] constexpr std::size_t group_offset(const PackedShape& s, std::size_t index) noexcept {
  const LayoutInfo& info = layout_info(s.layout);
  return index * ((s.group + info.step - 1) / info.step * info.step_bytes + record_bytes(s));
}
/// What `panel_stride` has to be.
[[nodiscard]] constexpr std::size_t panel_bytes(const PackedShape& s) noexcept {
  const LayoutInfo& info = layout_info(s.layout);
  const auto steps = [&info](std::size_t inputs) { return (inputs + info.step - 1) / info.step * info.step_bytes; };
  if (!info.has_groups()) return steps(s.k);
  if (s.group == 0) return 0;
  const std::size_t rest = s.k % s.group;
  return group_offset(s, s.k / s.group) + (rest != 0 ? steps(rest) + record_bytes(s) : 0);
}
[[nodiscard]] constexpr std::size_t panels(const PackedShape& s) noexcept {
  const std::size_t columns = layout_info(s.layout).columns;
  return s.n / columns + (s.n % columns != 0 ? 1 : 0);
}
/// Bytes of all panels: what pack_into() fills and a kernel reads.
[[nodiscard]] constexpr std::size_t packed_bytes(const PackedShape& s) noexcept { return panels(s) * s.panel_stride; }

}  // namespace kvant::kernels
