// SPDX-License-Identifier: Apache-2.0
// A known floating-point environment for arithmetic that decides codes, whatever the host program has set.
#pragma once

#include <atomic>
#include <cfenv>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace kvant {

/// While it lives, the calling thread rounds to nearest even, keeps subnormals (no flush to zero, no denormals are
/// zero) and traps nothing; then the caller's environment is back, status flags included. The environment belongs to a
/// thread: a worker needs its own.
///
/// Compilers may move arithmetic on values that they hold in registers across it; what is loaded from memory after
/// the constructor and stored before the destructor, or passed through computed(), stays between them.
class DefaultFpEnvironment {
 public:
  DefaultFpEnvironment() noexcept {
    take();
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~DefaultFpEnvironment() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    give_back();
  }
  DefaultFpEnvironment(const DefaultFpEnvironment&) = delete;
  DefaultFpEnvironment& operator=(const DefaultFpEnvironment&) = delete;

 private:
#if defined(__x86_64__)
  // One register decides all arithmetic on float and double, and reading it costs little: fegetenv() would take 50 ns
  // for the x87 unit too, which nothing here uses.
  void take() noexcept {
    constexpr unsigned kDefault = 0x1f80, kFlags = 0x3f;
    caller_ = _mm_getcsr();
    if ((caller_ & ~kFlags) != kDefault) _mm_setcsr(kDefault);
  }
  void give_back() noexcept {
    if (_mm_getcsr() != caller_) _mm_setcsr(caller_);
  }
  unsigned caller_;
#else
  void take() noexcept {
    std::fegetenv(&caller_);
    std::fesetenv(FE_DFL_ENV);
  }
  void give_back() noexcept { std::fesetenv(&caller_); }
  std::fenv_t caller_;
#endif
};

/// `value`, computed by the time this returns. For results that a function hands back in registers while a
/// DefaultFpEnvironment lives, which a compiler could else round after the caller's environment is back.
template <class T>
[[nodiscard]] T computed(T value) noexcept {
  asm volatile("" : "+m"(value) : : "memory");
  return value;
}

}  // namespace kvant
