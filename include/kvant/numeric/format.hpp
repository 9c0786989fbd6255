// SPDX-License-Identifier: Apache-2.0
// What a number format is: a code type, a width, and total functions between floats and codes; and its view at run
// time.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "kvant/numeric/codebook.hpp"
#include "kvant/numeric/integer.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant {

/// A format maps every float to a code (`encode`, on bits) and every code to a float (`decode`, exact).
template <class F>
concept Format = requires(float x, typename F::Code code, RoundingMode mode) {
  { F::kName } -> std::convertible_to<std::string_view>;
  { F::kBits } -> std::convertible_to<unsigned>;
  { F::kKind } -> std::convertible_to<FormatKind>;
  { F::kMax } -> std::convertible_to<float>;
  { F::encode(x, mode) } -> std::same_as<typename F::Code>;
  { F::decode(code) } -> std::same_as<float>;
};

/// The erased view of a format.
struct FormatInfo {
  std::string_view name;
  unsigned bits;
  FormatKind kind;
  bool is_signed;
  bool has_inf;
  bool has_nan;
  float max;  ///< largest finite magnitude
  /// Integers: least and largest one, in units of 2^-fraction_bits; 0 otherwise.
  int low, high, fraction_bits;
  /// Values that are evenly spaced: value = (stored_step * stored + stored_offset) / 2^fraction_bits, where stored is
  /// the code, of signed integers that of offset binary (code ^ stored_flip). A step of 0: they are not.
  int stored_step, stored_offset;
  std::uint8_t stored_flip;
  /// Minifloats: stored mantissa bits and least exponent of normal numbers; 0 otherwise.
  int mantissa_bits, min_exponent;
  /// Codebooks and int1: order keys, one fewer than levels; the index of x is the number of them below order_key(x).
  const std::int32_t* thresholds;
  unsigned threshold_count;
  /// Codebooks whose codes are not the indices: the code of each level.
  const std::uint8_t* codes;
  /// Codebooks that are made at run time: the value of each code, `levels` of [threshold_count + 1].
  const float* levels;
  std::uint32_t (*encode_fixed)(float x, RoundingMode mode);  ///< null where there are `levels`
  float (*decode_fixed)(std::uint32_t code);                  ///< likewise
  std::uint8_t (*encode_byte)(float x);                       ///< as encode(x), of formats of at most 8 bits

  [[nodiscard]] constexpr std::uint32_t encode(float x, RoundingMode mode = {}) const noexcept {
    return levels == nullptr ? encode_fixed(x, mode) : code_by_thresholds(x);
  }
  [[nodiscard]] constexpr float decode(std::uint32_t code) const noexcept {
    if (levels == nullptr) return decode_fixed(code);
    return levels[code <= threshold_count ? code : code_by_thresholds(0.0f)];
  }
  /// The value of one step of an integer; 1 for other formats.
  [[nodiscard]] constexpr float step() const noexcept {
    return 1.0f / static_cast<float>(std::uint32_t{1} << fraction_bits);
  }
  /// Whether it is for scales, or for codes under a zero point, and no format of weights by itself: it has no numbers
  /// below zero and is no integer.
  [[nodiscard]] constexpr bool is_auxiliary() const noexcept { return !is_signed && kind != FormatKind::integer; }
  /// Whether it has no more than a sign and maybe a zero, {-1, +1} or {-1, 0, +1}: then the scale of least squared
  /// error is known in closed form, and the plain one is of no use.
  [[nodiscard]] constexpr bool has_signs_only() const noexcept {
    return kind == FormatKind::integer && low == -1 && high == 1;
  }

 private:
  [[nodiscard]] constexpr std::uint32_t code_by_thresholds(float x) const noexcept {
    return thresholds_below(thresholds, threshold_count, is_nan(x) ? 0 : order_key(x));
  }
};

/// A format at run time: its place in the list of formats (formats.hpp), or a format that is not in it.
struct FormatId {
  static constexpr std::uint8_t kCustom = 0xff;  ///< the index of a format outside the list
  std::uint8_t index = 0;
  const FormatInfo* custom = nullptr;  ///< of a format outside the list; lives as long as anything that names it
  friend constexpr bool operator==(FormatId, FormatId) = default;
};

/// Whether a format has a name that files and texts can hold: one of the list, and none of a program's own.
[[nodiscard]] constexpr bool is_listed(FormatId id) noexcept { return id.custom == nullptr; }

/// Whether a format outside the list can be stored with its levels: a codebook whose codes are the places of its
/// levels, under a name of small letters, digits and underscores.
[[nodiscard]] constexpr bool is_storable_codebook(FormatId id) noexcept {
  if (id.custom == nullptr || id.custom->kind != FormatKind::codebook || id.custom->codes != nullptr) return false;
  for (const char c : id.custom->name)
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_') return false;
  return !id.custom->name.empty() && id.custom->name.size() <= 64;
}

namespace detail {

template <Format F>
constexpr FormatInfo make_format_info() noexcept {
  FormatInfo info{};
  info.name = F::kName;
  info.bits = F::kBits;
  info.kind = F::kKind;
  info.has_inf = F::kHasInf;
  info.has_nan = F::kHasNaN;
  info.max = F::kMax;
  info.is_signed = true;
  if constexpr (requires { F::kIsSigned; }) info.is_signed = F::kIsSigned;
  info.encode_fixed = [](float x, RoundingMode mode) -> std::uint32_t { return F::encode(x, mode); };
  info.decode_fixed = [](std::uint32_t code) { return F::decode(static_cast<typename F::Code>(code)); };
  if constexpr (F::kBits <= 8) info.encode_byte = [](float x) { return F::encode(x); };
  if constexpr (F::kKind == FormatKind::integer) {
    info.low = F::kLow;
    info.high = F::kHigh;
    info.fraction_bits = F::kFractionBits;
    info.stored_step = 1;
    info.stored_flip = static_cast<std::uint8_t>(F::kLow < 0 ? 1u << (F::kBits - 1) : 0u);
    info.stored_offset = -static_cast<int>(info.stored_flip);
    if constexpr (requires { F::kStoredStep; }) {
      info.stored_step = F::kStoredStep;
      info.stored_offset = F::kStoredOffset;
      info.stored_flip = 0;
    }
    info.is_signed = F::kLow < 0;
  }
  if constexpr (F::kKind == FormatKind::minifloat) {
    info.mantissa_bits = F::kMantissaBits;
    info.min_exponent = F::kMinExponent;
  }
  if constexpr (requires { F::kThresholds; }) {
    info.thresholds = F::kThresholds.data();
    info.threshold_count = static_cast<unsigned>(F::kThresholds.size());
  }
  if constexpr (F::kKind == FormatKind::codebook) {
    info.is_signed = is_negative(F::kLevels.front());
    if constexpr (requires { F::kStoredStep; }) info.stored_step = F::kStoredStep;
  }
  if constexpr (requires { F::Book::kCodes; }) info.codes = F::Book::kCodes.data();
  return info;
}

/// The view of a format that is not in the list.
template <Format F>
inline constexpr FormatInfo custom_format = make_format_info<F>();

template <template <class...> class List, Format... F>
constexpr std::array<FormatInfo, sizeof...(F)> make_format_table(List<F...>) noexcept {
  return {make_format_info<F>()...};
}

template <class F, template <class...> class List, class... G>
constexpr FormatId id_of(List<G...>) noexcept {
  if constexpr ((std::is_same_v<F, G> || ...)) {
    std::size_t index = 0;
    static_cast<void>(((std::is_same_v<F, G> || (++index, false)) || ...));
    return {static_cast<std::uint8_t>(index), nullptr};
  } else {
    return {FormatId::kCustom, &custom_format<F>};
  }
}

}  // namespace detail

}  // namespace kvant
