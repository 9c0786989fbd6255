// SPDX-License-Identifier: Apache-2.0
// Number formats as kernels see them: those of the list, and codebooks that are made at run time.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "kvant/kernels/kernels.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/numeric/runtime_codebook.hpp"

namespace kvant::test {

/// A format and the table of values that its kernel arguments point to.
struct KernelFormat {
  std::vector<float> values;
  kernels::FormatArgs args;

  explicit KernelFormat(FormatId id) {
    const FormatInfo& f = format_info(id);
    for (std::uint32_t code = 0; code < 1u << f.bits; ++code) values.push_back(f.decode(code));
    const bool is_signed_minifloat = f.kind == FormatKind::minifloat && f.is_signed;
    args = {.kind = f.thresholds != nullptr         ? kernels::CodeKind::codebook
                    : f.kind == FormatKind::integer ? kernels::CodeKind::integer
                    : is_signed_minifloat           ? kernels::CodeKind::minifloat
                                                    : kernels::CodeKind::other,
            .bits = f.bits,
            .low = f.low,
            .high = f.high,
            .fraction_bits = f.fraction_bits,
            .mantissa_bits = f.mantissa_bits,
            .min_exponent = f.min_exponent,
            .max = f.max,
            .thresholds = f.thresholds,
            .threshold_count = f.threshold_count,
            .codes = f.codes,
            .values = values.data(),
            .encode = f.encode_byte};
  }
};

/// Codebooks of 2 to 256 levels: even, ragged, as far apart as floats go, and as near.
inline const std::vector<RuntimeCodebook>& made_codebooks() {
  static const std::vector<RuntimeCodebook> books = [] {
    std::vector<RuntimeCodebook> made;
    const auto add = [&](const char* name, std::vector<float> levels) {
      made.push_back(*RuntimeCodebook::make(name, std::move(levels)));
    };
    std::mt19937_64 rng(11);
    std::vector<float> seventeen;
    std::vector<float> most;
    for (int i = -8; i <= 8; ++i) seventeen.push_back(static_cast<float>(i * std::abs(i)));
    float level = -4.0f;
    for (int i = 0; i < 256; ++i) most.push_back(level += static_cast<float>(rng() % 1000 + 1) * 0x1p-14f);
    add("two", {-0.5f, 0.25f});
    add("three", {-1.0f, 0.125f, 2.0f});
    add("seventeen", seventeen);
    add("most", most);
    add("far", {-3e38f, -1e30f, -1e7f, -1.5f, 0.0f, 1e6f, 3e6f, 2e38f});
    add("near", {1.0f, std::nextafter(1.0f, 2.0f), 2.0f});
    add("subnormal", {-1e-38f, -1e-40f, 0.0f, 0x1p-149f, 1e-42f, 1e-37f});
    add("least", {-0x1p-149f, 0.0f, 0x1p-149f});
    return made;
  }();
  return books;
}

/// All formats of at most 8 bits.
inline std::vector<FormatId> kernel_formats() {
  std::vector<FormatId> formats;
  for (const FormatInfo& f : kFormats)
    if (f.bits <= 8) formats.push_back(*format_from_name(f.name));
  for (const RuntimeCodebook& book : made_codebooks()) formats.push_back(book.id());
  return formats;
}

}  // namespace kvant::test
