// SPDX-License-Identifier: Apache-2.0
// Numbers as text that does not depend on the locale, which std::to_string of a float and streams do.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <string>

namespace kvant {

/// The shortest decimal text that reads back as `x`.
template <std::floating_point T>
[[nodiscard]] inline std::string number_text(T x) {
  std::array<char, 32> buffer{};
  return {buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), x).ptr};
}

}  // namespace kvant
