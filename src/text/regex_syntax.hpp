// SPDX-License-Identifier: Apache-2.0
// From Oniguruma's regular expressions (Ruby syntax), which tokenizer.json is written in, to PCRE2's.
#pragma once

#include <string>
#include <string_view>

#include "kvant/core/error.hpp"

namespace kvant::text {

/// The same expression for PCRE2 under UTF, MULTILINE and NEWLINE_LF. A construct is passed on only where both engines
/// are known to agree; what differs in detail is spelt out (\s and U+180E, \v, \d), the rest is `unsupported`.
[[nodiscard]] Result<std::string> to_pcre2(std::string_view oniguruma);

}  // namespace kvant::text
