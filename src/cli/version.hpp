// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace kvant::cli {

[[nodiscard]] std::string_view version() noexcept;
/// The commit that was built, "unknown" outside a repository.
[[nodiscard]] std::string_view commit() noexcept;
[[nodiscard]] std::string_view compiler() noexcept;

}  // namespace kvant::cli
