// SPDX-License-Identifier: Apache-2.0
// What a user of the program can do about an error of the library, which knows no options.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"

namespace kvant::cli {

struct Hint {
  ErrorCode code;
  std::string_view verbs;  ///< that have what it names, with a space around each; empty: all
  std::string_view text;
};

inline constexpr std::array kHints{
    Hint{ErrorCode::bad_scheme, "", "'kvant list schemes' and 'kvant list formats' show what there is"},
    Hint{ErrorCode::exists, " quantize dequantize pack cast decode gemm ", "--force replaces it"},
    Hint{ErrorCode::nonfinite, " quantize dequantize ", "--nonfinite zero or keep accepts them"},
    Hint{ErrorCode::scale_overflow, " quantize dequantize ", "--nonfinite keep accepts what it can hold"},
};

/// The hint for an error of a verb; empty where there is none. A number of a file's own that is not finite is no
/// weight's.
[[nodiscard]] inline std::string_view hint_for(const Error& error, std::string_view verb) {
  if (error.code == ErrorCode::nonfinite && error.message.starts_with("scale ")) return {};
  for (const Hint& hint : kHints)
    if (hint.code == error.code &&
        (hint.verbs.empty() || hint.verbs.find(" " + std::string(verb) + " ") != std::string_view::npos))
      return hint.text;
  return {};
}

}  // namespace kvant::cli
