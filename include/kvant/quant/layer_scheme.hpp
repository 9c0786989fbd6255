// SPDX-License-Identifier: Apache-2.0
// A scheme of a layer: how its weight is stored, and what is done to its inputs. Its text form is that of the weight's
// scheme, and behind a slash that of the inputs': `int8-channel/int8-token`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/quant/activation_scheme.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

struct LayerScheme {
  Scheme weight{};
  std::optional<ActivationScheme> activation{};

  constexpr LayerScheme() = default;
  constexpr LayerScheme(const Scheme& w, std::optional<ActivationScheme> a = std::nullopt)  // NOLINT: a weight's is one
      : weight(w), activation(a) {}

  [[nodiscard]] constexpr bool is_cast() const noexcept { return weight.is_cast(); }
  friend constexpr bool operator==(const LayerScheme&, const LayerScheme&) = default;
};

/// Whether the parts fit together; the reason where they do not.
[[nodiscard]] inline Status check_scheme(const LayerScheme& s, std::string_view text) {
  if (const Status fits = check_scheme(s.weight, text); !fits) return fits;
  if (!s.activation) return {};
  if (s.is_cast()) return detail::bad_scheme(text, std::string(s.weight.info().name) + " takes no further parts");
  if (!is_valid(*s.activation)) return detail::bad_scheme(text, detail::kActivationHint);
  return {};
}

/// Parses the text form exactly; `bad_scheme` says which part is wrong.
[[nodiscard]] inline Result<LayerScheme> parse_layer_scheme(std::string_view text) {
  std::string_view input = text;
  const bool has_activation = text.find('/') != std::string_view::npos;
  const auto weight = detail::parse_weight(text, detail::take_until(input, '/'));
  if (!weight) return propagate(weight);
  LayerScheme scheme{*weight, {}};
  if (has_activation) {
    scheme.activation = parse_activation(input);
    if (!scheme.activation) return detail::bad_scheme(text, detail::kActivationHint);
  }
  if (const Status fits = check_scheme(scheme, text); !fits) return propagate(fits);
  return scheme;
}

/// The text form, without defaults: parse_layer_scheme(to_text(s)) == s.
[[nodiscard]] inline std::string to_text(const LayerScheme& s) {
  return to_text(s.weight) + (s.activation ? "/" + to_text(*s.activation) : "");
}

}  // namespace kvant
