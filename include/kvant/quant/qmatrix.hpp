// SPDX-License-Identifier: Apache-2.0
// A quantized matrix: codes, scales, zero points. What every method produces, every file stores, every kernel packs.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/error.hpp"
#include "kvant/kernels/generic.hpp"
#include "kvant/quant/format_grid.hpp"
#include "kvant/quant/integer_scale_rule.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

/// rows x cols codes under a scheme. value(r, c) = scale(r, c) * (level(code(r, c)) - zero(r, c)) - offset(r, c), where
/// scale and offset of a group are what the scheme's stacks make of the levels here (see NumberStack).
struct QMatrix {
  std::size_t rows = 0;
  std::size_t cols = 0;
  Scheme scheme;
  /// One code per byte, row-major: the number's code in the format, and not the number (a code of int4 is 0 … 15, two's
  /// complement within 4 bits). level() and value() read it.
  std::vector<std::uint8_t> codes{};
  std::vector<ScaleLevel> scales{};         ///< inner first, as level_shapes() has them
  std::vector<std::int16_t> zero_points{};  ///< shaped as scales[0]; asymmetric schemes only
  std::vector<ScaleLevel> offsets{};        ///< likewise, of schemes with offsets only
  /// What is stored as column c is column columns[c] of the matrix: groups of columns that do not lie side by side, as
  /// GPTQ's act-order makes them. Empty: in their own order.
  std::vector<std::uint32_t> columns{};
  std::size_t clamped_scales = 0;  ///< scales that were beyond their storage type
  bool reciprocal = false;         ///< of a quotient (NVFP4): scales[1] divides; otherwise it multiplies

  [[nodiscard]] std::span<const std::uint8_t> row_codes(std::size_t r) const {
    expects(r < rows, "a row of the matrix");
    return std::span(codes).subspan(r * cols, cols);
  }
  /// What the code at (r, c) stands for: the number of the format, before scale and zero point, and the weight. For a
  /// few elements; dequantize_row() decodes rows. Column c is the stored one, see `columns`.
  [[nodiscard]] float level(std::size_t r, std::size_t c) const { return scheme.info().decode(row_codes(r)[c]); }
  [[nodiscard]] float value(std::size_t r, std::size_t c) const {
    const GroupParameters p = parameters(r, c / scheme.granularity.block_cols(cols));
    const float steps = level(r, c) - static_cast<float>(p.zero);
    return scheme.offsets ? std::fma(p.scale, steps, -p.offset) : p.scale * steps;
  }
  /// Scale, zero point and offset of the group that element (r, group * block_cols) belongs to.
  [[nodiscard]] GroupParameters parameters(std::size_t r, std::size_t group) const {
    const kernels::GroupScales s = stretch(r, group).scales;
    GroupParameters p{kernels::generic::group_number(s.scales, *s.scales.stored), s.zeros != nullptr ? *s.zeros : 0,
                      false, *s.scales.stored};
    p.has_offset = s.offsets.stored != nullptr;
    if (p.has_offset) p.offset = kernels::generic::group_number(s.offsets, *s.offsets.stored);
    return p;
  }

  /// The scales of row r from a group on, as kernels take them, and for how many groups they go on like that.
  struct Stretch {
    kernels::GroupScales scales;
    std::size_t groups;
  };
  [[nodiscard]] Stretch stretch(std::size_t r, std::size_t group) const {
    const std::size_t width = scheme.granularity.block_cols(cols);
    const std::size_t index = r / scheme.granularity.block_rows(rows) * scales[0].cols + group;
    const detail::NumberRun run = detail::number_run(scheme.scales, scales, index, r, group, width, reciprocal);
    Stretch s{{run.numbers, zero_points.empty() ? nullptr : &zero_points[index], width}, run.groups};
    if (!offsets.empty()) {
      const detail::NumberRun other = detail::number_run(*scheme.offsets, offsets, index, r, group, width, true);
      s.scales.offsets = other.numbers;
      s.groups = std::min(s.groups, other.groups);
    }
    return s;
  }
};

/// Calls body(first column, number of columns, their scales) for each stretch of row r.
template <class Body>
void for_each_stretch(const QMatrix& q, std::size_t r, Body body) {
  const std::size_t width = q.scheme.granularity.block_cols(q.cols);
  for (std::size_t c = 0; c < q.cols;) {
    const QMatrix::Stretch s = q.stretch(r, c / width);
    const std::size_t n = s.groups * width < q.cols - c ? s.groups * width : q.cols - c;
    body(c, n, s.scales);
    c += n;
  }
}

/// x[columns[c]] = x[c] for a row in stored order; nothing where `columns` is empty.
inline void restore_columns(std::span<const std::uint32_t> columns, std::span<float> x) {
  if (columns.empty()) return;
  const std::vector<float> stored(x.begin(), x.end());
  for (std::size_t c = 0; c < columns.size(); ++c) x[columns[c]] = stored[c];
}

/// Values of row r: `out` has as many elements as the matrix has columns.
inline void dequantize_row(const QMatrix& q, const FormatGrid& grid, std::size_t r, std::span<float> out) {
  expects(out.size() == q.cols && r < q.rows, "a row of the matrix");
  for_each_stretch(q, r, [&](std::size_t first, std::size_t n, const kernels::GroupScales& scales) {
    grid.decode(q.row_codes(r).subspan(first, n), scales, out.subspan(first, n));
  });
  restore_columns(q.columns, out);
}

namespace detail {

inline tl::unexpected<Error> bad_qmatrix(std::string what) {
  return fail(ErrorCode::bad_shape, "a quantized matrix " + std::move(what));
}

/// The levels of a stack: their types, shapes, and that each number is one of its type.
inline Status check_levels(const QMatrix& q, const NumberStack& stack, const std::vector<ScaleLevel>& levels,
                           const std::string& what) {
  const std::vector<ScaleLevel> expected = level_shapes(stack, q.scheme.granularity, q.rows, q.cols);
  if (levels.size() != expected.size())
    return bad_qmatrix("has " + std::to_string(levels.size()) + " levels of " + what + ", expected " +
                       std::to_string(expected.size()) + " for " + to_text(q.scheme));
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const ScaleLevel& level = levels[i];
    const FormatInfo& type = format_info(expected[i].type);
    const std::string name = "has, at level " + std::to_string(i) + ", ";
    if (level.type != expected[i].type)
      return bad_qmatrix(name + what + " of type " + std::string(format_info(level.type).name) + ", expected " +
                         std::string(type.name));
    if (level.rows != expected[i].rows || level.cols != expected[i].cols ||
        level.values.size() != expected[i].rows * expected[i].cols)
      return bad_qmatrix(name + std::to_string(level.values.size()) + " " + what + " as " + std::to_string(level.rows) +
                         " x " + std::to_string(level.cols) + ", expected " + std::to_string(expected[i].rows) + " x " +
                         std::to_string(expected[i].cols));
    for (const float value : level.values)
      if (!is_finite(value) || order_key(type.decode(type.encode(value))) != order_key(value))
        return fail(ErrorCode::usage, "a quantized matrix " + name + "one of its " + what + " that is no " +
                                          std::string(type.name) + "; round it to its type first");
  }
  return {};
}

inline Status check_scale_levels(const QMatrix& q) {
  if (const Status ok = check_levels(q, q.scheme.scales, q.scales, "scales"); !ok) return ok;
  if (q.scheme.scales.op == ScaleOp::quotient && !(q.scales[1].values[0] > 0.0f))
    return fail(ErrorCode::usage, "a quantized matrix has a matrix-wide scale that is not above 0");
  if (q.scheme.offsets) return check_levels(q, *q.scheme.offsets, q.offsets, "offsets");
  return q.offsets.empty() ? Status{} : bad_qmatrix("has offsets, which " + to_text(q.scheme) + " does not have");
}

inline Status check_zero_points(const QMatrix& q) {
  const bool wanted = q.scheme.symmetry == Symmetry::asymmetric;
  const std::size_t expected = wanted ? q.scales[0].values.size() : 0;
  if (q.zero_points.size() != expected)
    return bad_qmatrix("has " + std::to_string(q.zero_points.size()) + " zero points, expected " +
                       std::to_string(expected));
  const FormatInfo& format = q.scheme.info();
  const bool records = q.scheme.has_integer_scales();
  for (std::size_t i = 0; i < q.zero_points.size(); ++i) {
    const std::int32_t zero = q.zero_points[i];
    const bool allowed =
        records ? integer_scale_rule(q.scheme).allows(static_cast<std::int32_t>(q.scales[0].values[i]), zero)
                : zero >= format.low && zero <= format.high;
    if (!allowed)
      return fail(ErrorCode::usage, "a quantized matrix has the zero point " + std::to_string(zero) + ", which " +
                                        to_text(q.scheme) + " does not have");
  }
  return {};
}

/// Whether a code of a set is among codes. Sets of formats are mostly the codes from one on, or those of the magnitudes
/// from one on: then eight codes at a time.
inline bool contains_any(std::span<const std::uint8_t> codes, const std::array<bool, 256>& set) noexcept {
  constexpr std::uint64_t kEach = 0x0101010101010101u, kHigh = 0x80 * kEach;
  std::uint32_t first = 0;  // of the magnitudes
  while (first < 128 && !set[first]) ++first;
  bool by_code = true, by_magnitude = true;
  for (std::uint32_t code = 0; code < 256; ++code) {
    by_code = by_code && set[code] == (code >= first && (first < 128 || set[128]));
    by_magnitude = by_magnitude && set[code] == ((code & 127) >= first);
  }
  if (first == 128 && by_code && !set[128]) return false;
  std::size_t i = 0;
  if (by_code || by_magnitude) {
    std::uint64_t found = 0;
    for (; i + 8 <= codes.size(); i += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, codes.data() + i, sizeof eight);
      found |= (eight & ~kHigh) + (128 - first) * kEach;  // the high bit of a byte: its magnitude reaches `first`
      if (by_code) found |= eight;
    }
    if ((found & kHigh) != 0) return true;
  }
  return std::any_of(codes.begin() + static_cast<std::ptrdiff_t>(i), codes.end(),
                     [&](std::uint8_t code) { return set[code]; });
}

/// Every code is one of the format's, and none means Inf.
inline Status check_codes(const QMatrix& q) {
  const FormatInfo& format = q.scheme.info();
  std::array<bool, 256> wrong{};
  for (std::uint32_t code = 0; code < wrong.size(); ++code) {
    const bool exists = code < (1u << format.bits) && (format.levels == nullptr || code <= format.threshold_count);
    const float value = exists ? format.decode(code) : 0.0f;
    const float steps = format.kind == FormatKind::integer ? value / format.step() : 0.0f;
    wrong[code] =
        !exists || is_inf(value) || steps < static_cast<float>(format.low) || steps > static_cast<float>(format.high);
  }
  if (!contains_any(q.codes, wrong)) return {};
  std::size_t at = 0;
  while (!wrong[q.codes[at]]) ++at;
  return fail(ErrorCode::usage, "a quantized matrix has the code " + std::to_string(q.codes[at]) + " at row " +
                                    std::to_string(at / q.cols) + ", column " + std::to_string(at % q.cols) +
                                    ", which is no value of " + std::string(format.name));
}

inline Status check_columns(const QMatrix& q) {
  if (q.columns.empty()) return {};
  if (q.columns.size() != q.cols)
    return bad_qmatrix("has an order of " + std::to_string(q.columns.size()) + " columns");
  std::vector<bool> seen(q.cols);
  for (const std::uint32_t c : q.columns)
    if (c < q.cols) seen[c] = true;
  if (std::find(seen.begin(), seen.end(), false) != seen.end())
    return bad_qmatrix("has an order of columns that is no permutation of " + std::to_string(q.cols));
  return {};
}

}  // namespace detail

/// Whether the parts of a matrix fit together, so that whatever reads it may trust it: one made by hand, from the codes
/// of another program. Errors: bad_scheme; bad_shape (a part has another size than the scheme and shape ask for); usage
/// (a code is no value of the format, a scale no number of its type or not finite, a zero point none of the format's).
[[nodiscard]] inline Status check(const QMatrix& q) {
  if (q.scheme.is_cast()) return detail::bad_scheme(to_text(q.scheme), "is a cast; it has no codes");
  if (const Status ok = check_scheme(q.scheme, to_text(q.scheme)); !ok) return ok;
  const auto elements = checked_mul(q.rows, q.cols);
  if (!elements || q.codes.size() != *elements)
    return detail::bad_qmatrix("of " + std::to_string(q.rows) + " x " + std::to_string(q.cols) + " has " +
                               std::to_string(q.codes.size()) + " codes");
  if (const Status ok = detail::check_scale_levels(q); !ok) return ok;
  if (const Status ok = detail::check_zero_points(q); !ok) return ok;
  if (const Status ok = detail::check_codes(q); !ok) return ok;
  return detail::check_columns(q);
}

/// Bits that a rows x cols matrix takes under `scheme`: codes, scales, offsets and zero points (at the format's width),
/// without a file's padding.
[[nodiscard]] constexpr std::uint64_t stored_bits(const Scheme& scheme, std::uint64_t rows,
                                                  std::uint64_t cols) noexcept {
  const std::uint64_t codes = rows * cols * scheme.info().bits;
  if (scheme.is_cast()) return codes;
  const std::uint64_t groups = scheme.granularity.scale_rows(rows) * scheme.granularity.scale_cols(cols);
  const std::uint64_t scales = stored_bits(scheme.scales, scheme.granularity, rows, cols);
  if (scheme.has_integer_scales())  // a record holds scale and zero point
    return codes + scales + groups * integer_scale_rule(scheme).record_bits -
           groups * format_info(scheme.scales.inner).bits;
  const std::uint64_t zeros = scheme.symmetry == Symmetry::asymmetric ? groups * scheme.info().bits : 0;
  return codes + scales + zeros + (scheme.offsets ? stored_bits(*scheme.offsets, scheme.granularity, rows, cols) : 0);
}

}  // namespace kvant
