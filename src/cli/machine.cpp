// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <limits>
#include <string_view>

#include "measure/caches.hpp"

namespace kvant::cli {
namespace {

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

/// What follows `key` on its line of a text file of /proc.
std::string field(const char* file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t at = line.find_first_not_of(" \t:", key.size());
    return at == std::string::npos ? "" : line.substr(at);
  }
  return "";
}

std::string first_line(const char* file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

std::uint64_t number(std::string_view text, std::uint64_t otherwise) {
  std::uint64_t value = 0;
  return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc{} ? value : otherwise;
}

std::uint64_t soft_limit(int resource) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return kNone;
  return limit.rlim_cur;
}

std::uint64_t configured(int name) {
  const long value = ::sysconf(name);
  return value > 0 ? static_cast<std::uint64_t>(value) : 0;
}

}  // namespace

std::uint64_t peak_rss_bytes() {
  // getrusage() also counts what the process that started this one held; VmHWM does not.
  if (const std::uint64_t kib = number(field("/proc/self/status", "VmHWM"), 0); kib > 0) return kib * 1024;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

std::string cpu_name() {
  std::string name = field("/proc/cpuinfo", "model name");
  if (name.empty()) name = first_line("/proc/device-tree/model");
  return name;
}

CacheSizes cache_sizes() { return {measure::cache_bytes(1), measure::cache_bytes(2), measure::cache_bytes(3)}; }

std::string huge_pages() {
  const std::string line = first_line("/sys/kernel/mm/transparent_hugepage/enabled");  // "always [madvise] never"
  const std::size_t open = line.find('[');
  const std::size_t close = line.find(']');
  return open == std::string::npos || close == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
}

std::vector<Limit> memory_limits() {
  const std::uint64_t physical = configured(_SC_PHYS_PAGES) * configured(_SC_PAGESIZE);
  std::uint64_t group = number(first_line("/sys/fs/cgroup/memory.max"), kNone);
  if (group == kNone) group = number(first_line("/sys/fs/cgroup/memory/memory.limit_in_bytes"), kNone);
  return {{"physical_memory", physical},
          {"control_group_memory", group < physical ? group : kNone},
          {"address_space", soft_limit(RLIMIT_AS)},
          {"file_size", soft_limit(RLIMIT_FSIZE)}};
}

}  // namespace kvant::cli
