// SPDX-License-Identifier: Apache-2.0
// How large caches and memory are.
#pragma once

#include <cstddef>

namespace kvant::measure {

/// Bytes of the data cache of a level from 1 to 3; 0 where the system does not tell.
[[nodiscard]] std::size_t cache_bytes(int level) noexcept;

/// What no cache holds: 4 x the last level and at least 256 MiB, but at most a 32nd of memory, since several buffers of
/// that size are needed at once.
[[nodiscard]] std::size_t beyond_caches() noexcept;

}  // namespace kvant::measure
