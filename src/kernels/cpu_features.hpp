// SPDX-License-Identifier: Apache-2.0
// What this processor can do and the operating system lets programs use.
#pragma once

#include <string>
#include <string_view>

namespace kvant::kernels {

/// Whether every word of `features` (space-separated names, as in cpu_features()) is available; `missing` receives the
/// first that is not.
[[nodiscard]] bool has_features(std::string_view features, std::string_view* missing = nullptr) noexcept;

}  // namespace kvant::kernels
