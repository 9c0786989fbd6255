// SPDX-License-Identifier: Apache-2.0
// What the machine and the process are, read from the operating system; zero and empty where it does not say.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvant::cli {

/// The largest memory that this process has held, in bytes.
[[nodiscard]] std::uint64_t peak_rss_bytes();
[[nodiscard]] std::string cpu_name();

struct CacheSizes {
  std::uint64_t l1_data, l2, l3;
};
[[nodiscard]] CacheSizes cache_sizes();

/// The mode of transparent huge pages: always, madvise or never.
[[nodiscard]] std::string huge_pages();

struct Limit {
  const char* name;
  std::uint64_t bytes;  ///< UINT64_MAX: none
};
/// Physical memory, and what rlimits and the control group leave of address space, memory and file size.
[[nodiscard]] std::vector<Limit> memory_limits();

}  // namespace kvant::cli
