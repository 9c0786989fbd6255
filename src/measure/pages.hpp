// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace kvant::measure {

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Asks for huge pages where this memory fills them, whether it was written before or not: what is measured and what it
/// is compared with then have the same. Where the system has none, nothing happens.
inline void ask_for_huge_pages(const void* data, std::size_t bytes) noexcept {
#if defined(__linux__)
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t first = (address + kHugePage - 1) / kHugePage * kHugePage;
  const std::uintptr_t end = (address + bytes) / kHugePage * kHugePage;
  if (first >= end) return;
  ::madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, since Linux 6.1
  ::madvise(reinterpret_cast<void*>(first), end - first, kCollapse);
#else
  static_cast<void>(data);
  static_cast<void>(bytes);
#endif
}

}  // namespace kvant::measure
