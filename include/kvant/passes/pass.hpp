// SPDX-License-Identifier: Apache-2.0
// What a method is. A Quantizer turns one weight into one quantized layer; a Transform changes the layers that read one
// input, and what made it, so that they quantize better. Both solve matrices and never run a model.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/calibrate/statistics.hpp"
#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/quant/layer_scheme.hpp"
#include "kvant/quant/qlinear.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// One layer as a method sees it.
struct LayerInput {
  std::string_view name;           ///< tensor name; seeds of random streams are made from it
  MatrixView<const float> weight;  ///< [out_features, in_features]
  NonFinite nonfinite = NonFinite::error;
  float shared_amax = 0.0f;                 ///< see QuantizeOptions
  const LayerStatistics* inputs = nullptr;  ///< what the method needs of them, or more; null: nothing is known
  std::span<const float> bias{};            ///< [out_features], or empty
};

/// A method that chooses codes. `kRowwise` promises that each row's result depends on that row alone (unless the
/// granularity is coarser), so that the caller may feed a large matrix in bands of rows. `kNeeds` says what it has to
/// know of the layer's inputs. The layer that it gives has the scheme's treatment of inputs.
template <class Q>
concept Quantizer = requires(const Q q, const LayerInput& layer, const LayerScheme& scheme, const Context& context) {
  { Q::kName } -> std::convertible_to<std::string_view>;
  { Q::kSummary } -> std::convertible_to<std::string_view>;
  { Q::kRowwise } -> std::convertible_to<bool>;
  { Q::kNeeds } -> std::convertible_to<Needs>;
  typename Q::Config;
  { q(layer, scheme, context) } -> std::same_as<Result<QLinear>>;
};

/// The layers that read one input, and what made it: the weight of a norm, a matrix whose outputs it is, or nothing
/// that could take a factor.
struct InputSite {
  std::span<const MatrixView<float>> readers;  ///< weights, each [its outputs, features]
  std::span<float> norm{};                     ///< [features], or empty
  MatrixView<float> producer{};                ///< [features, its inputs], or without rows
  std::span<float> producer_bias{};            ///< of the norm or matrix, [features], or empty
  const LayerStatistics* inputs = nullptr;

  [[nodiscard]] std::size_t features() const noexcept { return readers.empty() ? 0 : readers[0].cols(); }
};

/// A method that finds a factor for each feature of an input, by which the columns of the readers are multiplied and
/// what made it is divided; no factors: nothing is to change.
template <class T>
concept Transform = requires(const T t, const InputSite& site, std::span<const LayerScheme> schemes,
                             const Context& context) {
  { T::kName } -> std::convertible_to<std::string_view>;
  { T::kSummary } -> std::convertible_to<std::string_view>;
  { T::kNeeds } -> std::convertible_to<Needs>;
  typename T::Config;
  { t(site, schemes, context) } -> std::same_as<Result<std::vector<float>>>;
};

/// Multiplies the readers' columns by factors, and divides what made their input by them. Returns what is left to be
/// done to the input, QLinear::input_scale of each reader: nothing, where the site has something that takes factors.
/// Errors: bad_shape, usage (a factor is not finite or not above 0); nothing is changed then.
[[nodiscard]] inline Result<std::vector<float>> fold_factors(const InputSite& site, std::span<const float> factors) {
  if (factors.empty()) return std::vector<float>{};
  const std::size_t n = factors.size();
  bool fits = site.norm.empty() || site.norm.size() == n;
  fits = fits && (site.producer.rows() == 0 || site.producer.rows() == n);
  fits = fits && (site.producer_bias.empty() || site.producer_bias.size() == n);
  for (const MatrixView<float>& reader : site.readers) fits = fits && reader.cols() == n;
  if (!fits) return fail(ErrorCode::bad_shape, std::to_string(n) + " factors for layers of other inputs");
  for (const float s : factors)
    if (!is_finite(s) || !is_finite(1.0f / s) || !(s > 0.0f))
      return fail(ErrorCode::usage, "a factor for inputs that is no finite number above 0");
  for (const MatrixView<float>& reader : site.readers)
    for (std::size_t r = 0; r < reader.rows(); ++r)
      for (std::size_t c = 0; c < n; ++c) reader(r, c) *= factors[c];
  std::vector<float> left;
  for (std::size_t c = 0; c < n; ++c) {
    if (!site.norm.empty()) {
      site.norm[c] /= factors[c];
    } else if (site.producer.rows() != 0) {
      for (float& w : site.producer.row(c)) w /= factors[c];
    } else {
      left.push_back(1.0f / factors[c]);
    }
    if (left.empty() && !site.producer_bias.empty()) site.producer_bias[c] /= factors[c];
  }
  return left;
}

}  // namespace kvant
