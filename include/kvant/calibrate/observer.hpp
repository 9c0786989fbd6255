// SPDX-License-Identifier: Apache-2.0
// What an observer is: it sees the values of a tensor, of weights or of activations, in any number of pieces, keeps a
// summary of bounded size, and says which range of values a scale should cover.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/quant/choose.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

/// An observer, made from its Config.
///
/// - `observe(values)`: one piece, such as a weight, a row of it, or a batch of activations. Values that are not finite
///   are counted and otherwise ignored; an empty piece changes nothing.
/// - `merge(other)`: as if the other's values had been seen here; each observer says how exactly. Fails where the two
///   have different Configs.
/// - `range(format, symmetry)`: the range to cover, within the least and the largest value seen; {0, 0} where none was.
///   `parameters_for_range` makes a scale and zero point of it.
/// - `count()`: finite values seen. `nonfinite()`: values ignored. `bytes()`: what it holds, itself included;
///   bounded by its Config, however many values it sees.
///
/// A Config is an aggregate whose fields have defaults that work; `visit` names each field once, with help, `check`
/// says what is wrong with their values. A field is a bool, a std::uint32_t, a double, or an enum for which
/// `option_names(e)` gives the names of its values in order.
///
/// Results are the same on every machine and in any build. They depend on the order of the pieces where the
/// observer says so, never on threads.
template <class O>
concept Observer = requires(O observer, const O constant, const typename O::Config config,
                            std::span<const float> values, const FormatInfo& format, Symmetry symmetry) {
  { O::kName } -> std::convertible_to<std::string_view>;
  { O::kSummary } -> std::convertible_to<std::string_view>;
  { config.check() } -> std::same_as<Status>;
  { config == config } -> std::same_as<bool>;
  requires std::constructible_from<O, const typename O::Config&>;
  { constant.config() } -> std::same_as<const typename O::Config&>;
  { observer.observe(values) } -> std::same_as<void>;
  { observer.merge(constant) } -> std::same_as<Status>;
  { constant.range(format, symmetry) } -> std::same_as<Range>;
  { constant.count() } -> std::same_as<std::uint64_t>;
  { constant.nonfinite() } -> std::same_as<std::uint64_t>;
  { constant.bytes() } -> std::same_as<std::size_t>;
};

namespace detail {

/// The refusal of merges between observers that were made differently.
inline tl::unexpected<Error> different_configs(std::string_view name) {
  return fail(ErrorCode::usage, "observers '" + std::string(name) + "' with different options cannot be merged");
}

inline tl::unexpected<Error> bad_option(std::string_view observer, std::string_view option, std::string_view expected) {
  return fail(ErrorCode::usage,
              "observer '" + std::string(observer) + "': " + std::string(option) + " must be " + std::string(expected));
}

inline Status check_bins(std::string_view observer, std::uint32_t bins, std::uint32_t most = 65536) {
  if (bins < 2 || bins > most || bins % 2 != 0)
    return bad_option(observer, "bins", "even, 2 to " + std::to_string(most));
  return {};
}

}  // namespace detail

}  // namespace kvant
