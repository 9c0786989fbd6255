// SPDX-License-Identifier: Apache-2.0
// How numbers are stored in files: the dtypes of the safetensors specification, as one table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace kvant {

enum class DType : std::uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;  ///< as safetensors spells it
  unsigned bits;          ///< per element
  bool is_float;          ///< a real floating-point number (complex is not)
};

inline constexpr std::array kDTypes{
    DTypeInfo{DType::boolean, "BOOL", 8, false},
    DTypeInfo{DType::f4, "F4", 4, true},
    DTypeInfo{DType::f6_e2m3, "F6_E2M3", 6, true},
    DTypeInfo{DType::f6_e3m2, "F6_E3M2", 6, true},
    DTypeInfo{DType::u8, "U8", 8, false},
    DTypeInfo{DType::i8, "I8", 8, false},
    DTypeInfo{DType::f8_e5m2, "F8_E5M2", 8, true},
    DTypeInfo{DType::f8_e4m3, "F8_E4M3", 8, true},
    DTypeInfo{DType::f8_e8m0, "F8_E8M0", 8, true},
    DTypeInfo{DType::f8_e4m3fnuz, "F8_E4M3FNUZ", 8, true},
    DTypeInfo{DType::f8_e5m2fnuz, "F8_E5M2FNUZ", 8, true},
    DTypeInfo{DType::i16, "I16", 16, false},
    DTypeInfo{DType::u16, "U16", 16, false},
    DTypeInfo{DType::f16, "F16", 16, true},
    DTypeInfo{DType::bf16, "BF16", 16, true},
    DTypeInfo{DType::i32, "I32", 32, false},
    DTypeInfo{DType::u32, "U32", 32, false},
    DTypeInfo{DType::f32, "F32", 32, true},
    DTypeInfo{DType::c64, "C64", 64, false},
    DTypeInfo{DType::f64, "F64", 64, true},
    DTypeInfo{DType::i64, "I64", 64, false},
    DTypeInfo{DType::u64, "U64", 64, false},
};

[[nodiscard]] constexpr const DTypeInfo& dtype_info(DType d) noexcept { return kDTypes[static_cast<std::size_t>(d)]; }

[[nodiscard]] constexpr std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const DTypeInfo& d : kDTypes)
    if (d.name == name) return d.dtype;
  return std::nullopt;
}

}  // namespace kvant
