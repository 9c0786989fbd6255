// SPDX-License-Identifier: Apache-2.0
// What scales are chosen from: the rows of a weight that share them, without what is not finite.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/numeric/rounding.hpp"
#include "kvant/quant/granularity.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// What to do with NaN and Inf among weights.
enum class NonFinite : std::uint8_t {
  error,  ///< refuse with `nonfinite`
  zero,   ///< treat as 0
  keep,   ///< leave them out of the choice of scales; Inf takes the outermost code, NaN the format's NaN or else its 0
};

[[nodiscard]] constexpr std::optional<NonFinite> nonfinite_from_name(std::string_view name) noexcept {
  if (name == "error") return NonFinite::error;
  if (name == "zero") return NonFinite::zero;
  if (name == "keep") return NonFinite::keep;
  return std::nullopt;
}

namespace detail {

/// One band of rows that share scales: `block_rows` rows of one matrix.
struct Band {
  MatrixView<const float> weight;  ///< the rows of the band
  std::size_t first_row;
  std::size_t index;  ///< row of the matrix of scales
  bool all_finite;    ///< otherwise NaN and Inf are left out of the choice of parameters
};

inline Band band_at(MatrixView<const float> weight, const Granularity& granularity, std::size_t index) noexcept {
  const std::size_t height = granularity.block_rows(weight.rows());
  const std::size_t first = index * height;
  const std::size_t rows = weight.rows() - first < height ? weight.rows() - first : height;
  return {weight.rows(first, rows), first, index, true};
}

/// Without a branch per element, which compilers turn into vectors.
inline bool all_finite(std::span<const float> x) noexcept {
  std::uint32_t carries = 0;  // of magnitudes from Inf on, into the place of the sign
  for (const float v : x) carries |= (float_bits(v) & 0x7fffffffu) + 0x00800000u;
  return carries >> 31 == 0;
}

/// `nonfinite`, with the place of the first NaN or Inf; the first row counts as `first_row`.
inline Status check_finite(MatrixView<const float> weight, std::size_t first_row) {
  for (std::size_t r = 0; r < weight.rows(); ++r) {
    const std::span<const float> row = weight.row(r);
    if (all_finite(row)) continue;
    const auto c = std::find_if_not(row.begin(), row.end(), [](float v) { return is_finite(v); });
    return fail(ErrorCode::nonfinite, std::string(is_nan(*c) ? "NaN" : "Inf") + " at row " +
                                          std::to_string(first_row + r) + ", column " +
                                          std::to_string(c - row.begin()) + ", expected finite weights");
  }
  return {};
}

/// Does with NaN and Inf what is to be done; `cleaned` keeps the band's rows where they have to change.
inline Status admit(Band& band, NonFinite policy, Matrix<float>& cleaned) {
  const MatrixView<const float> weight = band.weight;
  const Status finite = check_finite(weight, band.first_row);
  if (finite || policy == NonFinite::error) return finite;
  band.all_finite = false;
  if (policy == NonFinite::keep) return {};
  cleaned = Matrix<float>(weight.rows(), weight.cols());
  for (std::size_t r = 0; r < weight.rows(); ++r)
    for (std::size_t c = 0; c < weight.cols(); ++c) cleaned(r, c) = is_finite(weight(r, c)) ? weight(r, c) : 0.0f;
  band.weight = cleaned.view();
  band.all_finite = true;
  return {};
}

/// The elements of a group that its parameters are chosen from, and what they weigh: in place, or gathered.
class GroupElements {
 public:
  void gather(const Band& band, std::size_t column, std::size_t n, std::span<const float> column_weights) {
    const std::span<const float> weights = column_weights.empty() ? column_weights : column_weights.subspan(column, n);
    if (band.weight.rows() == 1 && band.all_finite) {
      x = band.weight.row(0).subspan(column, n);
      w = weights;
      return;
    }
    values_.clear();
    weights_.clear();
    for (std::size_t r = 0; r < band.weight.rows(); ++r) {
      const std::span<const float> row = band.weight.row(r).subspan(column, n);
      for (std::size_t i = 0; i < n; ++i) {
        if (!is_finite(row[i])) continue;
        values_.push_back(row[i]);
        if (!weights.empty()) weights_.push_back(weights[i]);
      }
    }
    x = values_;
    w = weights_;
  }
  std::span<const float> x, w;

 private:
  std::vector<float> values_, weights_;
};

}  // namespace detail

}  // namespace kvant
