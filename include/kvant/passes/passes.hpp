// SPDX-License-Identifier: Apache-2.0
// The list of methods. Adding one is a header with its Config and body, and its name here.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

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
};

namespace detail {
template <Quantizer... Q>
constexpr std::array<QuantizerInfo, sizeof...(Q)> make_quantizer_table(QuantizerList<Q...>) noexcept {
  return {QuantizerInfo{Q::kName, Q::kSummary, Q::kRowwise}...};
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

  /// The method of that name with its default options, or nothing.
  [[nodiscard]] static std::optional<AnyQuantizerOf> find(std::string_view name) {
    std::optional<AnyQuantizerOf> found;
    static_cast<void>(((Q::kName == name && (found.emplace(Q{}), true)) || ...));
    return found;
  }

  [[nodiscard]] std::string_view name() const noexcept {
    return std::visit([](const auto& q) { return std::string_view(q.kName); }, method_);
  }
  [[nodiscard]] bool rowwise() const noexcept {
    return std::visit([](const auto& q) { return bool{q.kRowwise}; }, method_);
  }
  /// Calls visitor(name, field, help) for each option.
  template <class Visitor>
  void visit(Visitor&& visitor) {
    std::visit([&](auto& q) { std::remove_reference_t<decltype(q)>::Config::visit(q.config, visitor); }, method_);
  }
  [[nodiscard]] Result<QLinear> operator()(const LayerInput& layer, const Scheme& scheme,
                                           const Context& context) const {
    return std::visit([&](const auto& q) { return q(layer, scheme, context); }, method_);
  }

 private:
  std::variant<Q...> method_;
};
using AnyQuantizer = AnyQuantizerOf<AllQuantizers>;

}  // namespace kvant
