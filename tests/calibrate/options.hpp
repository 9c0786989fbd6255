// SPDX-License-Identifier: Apache-2.0
// Observers by name and options as text, `profile=ort,bins=512`: what a command line would do with their visitors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <type_traits>

#include "../support/leading_number.hpp"
#include "kvant/calibrate/observers.hpp"

namespace observer_test {

/// The observer with those options; each must exist.
inline kvant::Result<kvant::AnyObserver> make(std::string_view name, std::string_view options) {
  std::size_t used = 0;
  auto made = kvant::make_observer(name, [&]<class Field>(std::string_view field, Field& value, std::string_view) {
    const std::string all = "," + std::string(options) + ",";
    const std::size_t at = all.find("," + std::string(field) + "=");
    if (at == std::string::npos) return;
    const std::size_t begin = at + field.size() + 2;
    const std::string text = all.substr(begin, all.find(',', begin) - begin);
    ++used;
    if constexpr (std::is_enum_v<Field>) {
      const auto names = option_names(value);
      const auto found = std::find(names.begin(), names.end(), text);
      if (found == names.end()) std::abort();
      value = static_cast<Field>(found - names.begin());
    } else {
      value = static_cast<Field>(kvant::test::leading_number(text));
    }
  });
  const auto wanted = options.empty() ? 0 : 1 + std::count(options.begin(), options.end(), ',');
  if (used != static_cast<std::size_t>(wanted)) std::abort();
  return made;
}

}  // namespace observer_test
