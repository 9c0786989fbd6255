// SPDX-License-Identifier: Apache-2.0
// Prints the thresholds of one recorded distribution and the bits of logarithms, for comparing compilers, flags and
// machines (quantize_flags.sh), and fails where a threshold is not the recorded one.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "../../calibrate/options.hpp"
#include "distributions.hpp"
#include "kvant/core/log.hpp"

int main() {
  int failures = 0;
  const std::vector<float> x = golden::observers::values("weights", golden::observers::kWeights.size());
  for (const golden::observers::Threshold& t : golden::observers::kThresholds) {
    if (t.distribution != "weights" || t.batches == 1) continue;
    auto observer = observer_test::make(t.observer, t.options);
    const std::size_t size = x.size() / t.batches;
    for (std::size_t i = 0; i < t.batches; ++i) observer->observe(std::span(x).subspan(i * size, size));
    const kvant::Range range = observer->range(kvant::format_info(*kvant::format_from_name(t.format)), t.symmetry);
    const auto low = std::bit_cast<std::uint32_t>(range.low);
    const auto high = std::bit_cast<std::uint32_t>(range.high);
    std::printf("%s %s %s %08x %08x\n", std::string(t.observer).c_str(), std::string(t.options).c_str(),
                std::string(t.format).c_str(), static_cast<unsigned>(low), static_cast<unsigned>(high));
    failures += low != t.low || high != t.high ? 1 : 0;
  }
  std::uint64_t hash = 0;
  for (int n = 1; n < 100000; ++n)
    hash = kvant::mix64(hash ^ std::bit_cast<std::uint64_t>(kvant::portable_log2(static_cast<double>(n) / 333)));
  std::printf("log2 %016llx\n", static_cast<unsigned long long>(hash));
  return failures == 0 ? 0 : 1;
}
