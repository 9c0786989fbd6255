// SPDX-License-Identifier: Apache-2.0
// The list of methods. Adding one is a header with its Config and body, and its name here.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

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

}  // namespace kvant
