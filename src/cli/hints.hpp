// SPDX-License-Identifier: Apache-2.0
// What a user of the program can do about an error of the library, which knows no options.
#pragma once

#include <array>
#include <string_view>

#include "kvant/core/error.hpp"

namespace kvant::cli {

struct Hint {
  ErrorCode code;
  std::string_view text;
};

inline constexpr std::array kHints{
    Hint{ErrorCode::bad_scheme, "'kvant list schemes' and 'kvant list formats' show what there is"},
    Hint{ErrorCode::exists, "--force replaces it"},
    Hint{ErrorCode::nonfinite, "--nonfinite zero or keep accepts them"},
    Hint{ErrorCode::scale_overflow, "--nonfinite keep accepts what it can hold"},
};

/// The hint for an error; empty where there is none.
[[nodiscard]] constexpr std::string_view hint_for(ErrorCode code) noexcept {
  for (const Hint& hint : kHints)
    if (hint.code == code) return hint.text;
  return {};
}

}  // namespace kvant::cli
