// SPDX-License-Identifier: Apache-2.0
// How many cases a sweep has: a million, or what the environment says.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace kvant::test {

inline constexpr std::size_t kUsualTestCases = 1000000;

/// KVANT_TEST_CASES, at least 2. The presets of sanitizers and of the emulator set fewer, scripts/soak.sh sets more.
inline std::size_t test_cases() {
  const char* text = std::getenv("KVANT_TEST_CASES");
  if (text == nullptr || *text == '\0') return kUsualTestCases;
  char* end = nullptr;
  const unsigned long long cases = std::strtoull(text, &end, 10);
  if (*end != '\0' || cases < 2) {
    std::fprintf(stderr, "KVANT_TEST_CASES is '%s', expected a number of at least 2\n", text);
    std::abort();
  }
  return static_cast<std::size_t>(cases);
}

/// A long test of all combinations takes every one, or every fifth where fewer cases than usual are asked for.
inline unsigned test_stride() { return test_cases() < kUsualTestCases ? 5 : 1; }

}  // namespace kvant::test
