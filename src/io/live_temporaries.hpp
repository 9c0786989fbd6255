// SPDX-License-Identifier: Apache-2.0
// The list of temporary names that a signal handler removes.
#pragma once

#include <filesystem>

namespace kvant::io {

/// Puts an absolute path on the list; returns its slot, or -1 where the list is full or the path too long (then only a
/// destructor removes it).
[[nodiscard]] int register_temporary(const std::filesystem::path& path) noexcept;

/// Takes a slot back; -1 does nothing.
void release_temporary(int slot) noexcept;

}  // namespace kvant::io
