// SPDX-License-Identifier: Apache-2.0
// Help for tests that compare millions of cases: counts what differs and tells the first few.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

namespace reference {

class Mismatches {
 public:
  explicit Mismatches(std::string what) : what_(std::move(what)) {}
  ~Mismatches() {
    EXPECT_GT(cases_, 0u) << what_ << ": nothing was compared";
    if (count_ != 0) ADD_FAILURE() << what_ << ": " << count_ << " of " << cases_ << " differ, e.g." << text_;
  }
  Mismatches(const Mismatches&) = delete;
  Mismatches& operator=(const Mismatches&) = delete;

  void compare(std::uint32_t got, std::uint32_t expected, float input) {
    ++cases_;
    if (got == expected) return;
    if (++count_ > 5) return;
    char line[160];
    std::snprintf(line, sizeof line, "\n  %a (0x%08x): got 0x%x, expected 0x%x", static_cast<double>(input),
                  std::bit_cast<std::uint32_t>(input), got, expected);
    text_ += line;
  }

 private:
  std::string what_;
  std::string text_;
  std::size_t count_ = 0;
  std::size_t cases_ = 0;
};

inline float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }
inline std::uint32_t to_bits(float x) { return std::bit_cast<std::uint32_t>(x); }

/// `count` random floats: any bit pattern.
inline std::vector<float> random_patterns(std::size_t count, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<float> x(count);
  for (float& v : x) v = from_bits(static_cast<std::uint32_t>(engine()));
  return x;
}

/// `count` random floats, uniform in [-limit, limit].
inline std::vector<float> random_uniform(std::size_t count, float limit, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<float> x(count);
  for (float& v : x)
    v = static_cast<float>((static_cast<double>(engine()) / 2147483648.0 - 1.0) * static_cast<double>(limit));
  return x;
}

}  // namespace reference
