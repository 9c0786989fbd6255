// SPDX-License-Identifier: Apache-2.0
// Runs code under every floating-point environment that a host program could have set: each rounding direction, with
// and without flush-to-zero and denormals-are-zero.
#pragma once

#include <array>
#include <cfenv>
#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace reference {

struct FpMode {
  const char* name;
  int rounding;
  bool flush;
};

inline constexpr std::array kFpModes{
    FpMode{"nearest", FE_TONEAREST, false},       FpMode{"upward", FE_UPWARD, false},
    FpMode{"downward", FE_DOWNWARD, false},       FpMode{"toward zero", FE_TOWARDZERO, false},
    FpMode{"nearest, flush", FE_TONEAREST, true}, FpMode{"upward, flush", FE_UPWARD, true},
    FpMode{"downward, flush", FE_DOWNWARD, true}, FpMode{"toward zero, flush", FE_TOWARDZERO, true},
};

/// Flush-to-zero and denormals-are-zero, for the calling thread.
inline void flush_subnormals() {
#if defined(__SSE__)
  _mm_setcsr(_mm_getcsr() | 0x8040u);
#elif defined(__aarch64__)
  std::uint64_t fpcr = 0;
  asm volatile("mrs %0, fpcr" : "=r"(fpcr));
  asm volatile("msr fpcr, %0" : : "r"(fpcr | (std::uint64_t{1} << 24)));
#endif
}

class ScopedFpMode {
 public:
  explicit ScopedFpMode(const FpMode& mode) {
    std::fegetenv(&saved_);
    std::fesetround(mode.rounding);
    if (mode.flush) flush_subnormals();
  }
  ~ScopedFpMode() { std::fesetenv(&saved_); }
  ScopedFpMode(const ScopedFpMode&) = delete;
  ScopedFpMode& operator=(const ScopedFpMode&) = delete;

 private:
  std::fenv_t saved_;
};

/// Whether ScopedFpMode can flush subnormals on this machine.
inline constexpr bool kCanFlush =
#if defined(__SSE__) || defined(__aarch64__)
    true;
#else
    false;
#endif

/// Sums and products that tell which mode is on. All operands are volatile, or the compiler would compute after the
/// mode has changed again.
inline float one_plus_tiny() {
  volatile float one = 1.0f;
  volatile float tiny = 0x1p-30f;
  volatile float sum = one + tiny;
  return sum;
}
inline float one_minus_tiny() {
  volatile float one = 1.0f;
  volatile float tiny = 0x1p-30f;
  volatile float difference = one - tiny;
  return difference;
}
inline float smallest_times_one() {
  volatile float smallest = 0x1p-149f;
  volatile float one = 1.0f;
  volatile float product = smallest * one;
  return product;
}

}  // namespace reference
