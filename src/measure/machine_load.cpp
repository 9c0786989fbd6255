// SPDX-License-Identifier: Apache-2.0
#include "machine_load.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>

namespace kvant::measure {
namespace {

/// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, in clock ticks.
double busy_seconds() noexcept {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/stat", "r"), &std::fclose);
  std::array<unsigned long long, 8> t{};
  if (file == nullptr || std::fscanf(file.get(), "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2],
                                     &t[3], &t[4], &t[5], &t[6], &t[7]) != 8)
    return 0;
  return static_cast<double>(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double own_seconds() noexcept {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

MachineLoad::Sample MachineLoad::now() noexcept {
  return {std::chrono::steady_clock::now(), busy_seconds(), own_seconds()};
}

double MachineLoad::busy_elsewhere() const noexcept {
  const Sample end = now();
  const double seconds = std::chrono::duration<double>(end.time - start_.time).count();
  const double others = (end.everybody - start_.everybody) - (end.own - start_.own);
  return seconds > 0 ? std::max(0.0, others / seconds) : 0;
}

}  // namespace kvant::measure
