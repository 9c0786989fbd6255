// SPDX-License-Identifier: Apache-2.0
#include "caches.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>

namespace kvant::measure {
namespace {

std::size_t configured(int name) noexcept {
  const long value = ::sysconf(name);
  return value > 0 ? static_cast<std::size_t>(value) : 0;
}

/// A file of a cache's folder in /sys holds a number, perhaps with K behind it; 0 where there is none.
std::size_t cache_property(int index, const char* name) noexcept {
  std::array<char, 80> path{};
  std::snprintf(path.data(), path.size(), "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.data(), "r"), &std::fclose);
  std::size_t value = 0;
  return file != nullptr && std::fscanf(file.get(), "%zu", &value) == 1 ? value : 0;
}

}  // namespace

std::size_t cache_bytes(int level) noexcept {
  // Not from the C library first: glibc 2.36 gives the level 3 of AMD processors several times its size. Of level 1,
  // data comes before instructions.
  for (int index = 0; cache_property(index, "level") != 0; ++index)
    if (cache_property(index, "level") == static_cast<std::size_t>(level)) return 1024 * cache_property(index, "size");
  return configured(level == 1 ? _SC_LEVEL1_DCACHE_SIZE : level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE);
}

std::size_t beyond_caches() noexcept {
  constexpr std::size_t kLeast = std::size_t{256} << 20;
  const std::size_t memory = configured(_SC_PHYS_PAGES) * configured(_SC_PAGESIZE);
  return std::max(std::min(4 * cache_bytes(3), memory / 32), kLeast);
}

}  // namespace kvant::measure
