// SPDX-License-Identifier: Apache-2.0
// What strtod() and strtof() do, in every locale.
#pragma once

#include <charconv>
#include <string_view>

namespace kvant::test {

/// The number that `text` begins with; 0 where there is none.
template <class T = double>
T leading_number(std::string_view text) {
  T value{};
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace kvant::test
