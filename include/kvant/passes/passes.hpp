// SPDX-License-Identifier: Apache-2.0
// The list of methods. Adding one is a header with its Config and body, and its name here.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "kvant/core/by_name.hpp"
#include "kvant/passes/pass.hpp"
#include "kvant/passes/rtn.hpp"

namespace kvant {

template <Quantizer... Q>
struct QuantizerList {
  static constexpr std::size_t kSize = sizeof...(Q);
};

using AllQuantizers = QuantizerList<Rtn>;

struct QuantizerInfo {
  std::string_view name;
  std::string_view summary;
  bool rowwise;
  Needs needs;
};

namespace detail {
template <Quantizer... Q>
constexpr std::array<QuantizerInfo, sizeof...(Q)> make_quantizer_table(QuantizerList<Q...>) noexcept {
  return {QuantizerInfo{Q::kName, Q::kSummary, Q::kRowwise, Q::kNeeds}...};
}
}  // namespace detail

inline constexpr auto kQuantizers = detail::make_quantizer_table(AllQuantizers{});

/// One method of a list, with its options, chosen at run time.
template <class List>
class AnyQuantizerOf;
template <Quantizer... Q>
class AnyQuantizerOf<QuantizerList<Q...>> {
 public:
  /// The first of the list.
  AnyQuantizerOf() = default;
  template <class T>
  requires((std::same_as<T, Q> || ...)) AnyQuantizerOf(T method) : method_(std::move(method)) {}

  /// The method of a text, NAME or NAME:OPTION=VALUE,OPTION=VALUE. Errors: `usage`.
  [[nodiscard]] static Result<AnyQuantizerOf> parse(std::string_view text) {
    const std::size_t colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    const std::string_view options = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    return make_by_name<AnyQuantizerOf, Q...>("method", name, [&](auto& config) {
      return set_options(config, options, "the method '" + std::string(name) + "'");
    });
  }

  [[nodiscard]] std::string_view name() const noexcept {
    return std::visit([](const auto& q) { return std::string_view(q.kName); }, method_);
  }
  [[nodiscard]] bool rowwise() const noexcept {
    return std::visit([](const auto& q) { return bool{q.kRowwise}; }, method_);
  }
  /// What it has to know of a layer's inputs.
  [[nodiscard]] Needs needs() const noexcept {
    return std::visit([](const auto& q) { return Needs{q.kNeeds}; }, method_);
  }
  /// Sets options, as parse() does.
  [[nodiscard]] Status set(std::string_view options) {
    return std::visit(
        [&](auto& q) { return set_options(q.config, options, "the method '" + std::string(q.kName) + "'"); }, method_);
  }
  /// Calls visitor(name, field, help) for each option.
  template <class Visitor>
  void visit(Visitor&& visitor) {
    std::visit([&](auto& q) { std::remove_reference_t<decltype(q)>::Config::visit(q.config, visitor); }, method_);
  }
  [[nodiscard]] Result<QLinear> operator()(const LayerInput& layer, const LayerScheme& scheme,
                                           const Context& context) const {
    return std::visit([&](const auto& q) { return q(layer, scheme, context); }, method_);
  }

 private:
  std::variant<Q...> method_;
};
using AnyQuantizer = AnyQuantizerOf<AllQuantizers>;

}  // namespace kvant
