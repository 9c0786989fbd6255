// SPDX-License-Identifier: Apache-2.0
#include "bandwidth.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <new>

#include "caches.hpp"
#include "kernels/cpu_features.hpp"
#include "kvant/core/checked.hpp"
#include "pages.hpp"

namespace kvant::measure {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kChunk = kHugePage;  ///< what a thread reads at a time
constexpr std::size_t kBatch = 32;         ///< chunks between two looks at the clock
constexpr std::size_t kStep = 1024;        ///< bytes that a loop reads per turn

double seconds_since(Clock::time_point start) noexcept {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Each of these reads a multiple of kStep bytes.

void read_words(const unsigned char* data, std::size_t bytes) noexcept {
  std::array<std::uint64_t, kStep / 8> words{};
  std::array<std::uint64_t, 16> sums{};
  for (std::size_t at = 0; at < bytes; at += kStep) {
    std::memcpy(words.data(), data + at, kStep);
    for (std::size_t i = 0; i < words.size(); ++i) sums[i % sums.size()] ^= words[i];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t s : sums) total ^= s;
  [[maybe_unused]] const volatile std::uint64_t kept = total;
}

#if defined(__x86_64__)

// Two streams read a little faster than one, and four much slower (measured on Zen 5).
#define KVANT_READ_LOOP(reg, width)                                    \
  const std::size_t half = bytes / 2;                                  \
  const unsigned char* const end = data + half;                        \
  __asm__ volatile(                                                    \
      "1:\n\t"                                                         \
      ".irp i,0,1,2,3,4,5,6,7\n\tvmovups \\i*" width "(%0), %%" reg    \
      "\\i\n\t.endr\n\t"                                               \
      ".irp i,0,1,2,3,4,5,6,7\n\tvmovups \\i*" width "(%0,%2), %%" reg \
      "\\i\n\t.endr\n\t"                                               \
      "add $8*" width ", %0\n\tcmp %1, %0\n\tjb 1b\n\tvzeroupper"      \
      : "+r"(data)                                                     \
      : "r"(end), "r"(half)                                            \
      : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7")

void read_ymm(const unsigned char* data, std::size_t bytes) noexcept { KVANT_READ_LOOP("ymm", "32"); }
void read_zmm(const unsigned char* data, std::size_t bytes) noexcept { KVANT_READ_LOOP("zmm", "64"); }

#undef KVANT_READ_LOOP

#endif

auto best_read() noexcept {
#if defined(__x86_64__)
  if (kernels::has_features("avx512f")) return &read_zmm;
  if (kernels::has_features("avx")) return &read_ymm;
#endif
  return &read_words;
}

unsigned char* allocate(std::size_t bytes) {
  void* const p = ::operator new (bytes, std::align_val_t{kHugePage});
  ask_for_huge_pages(p, bytes);
  std::memset(p, 0x5a, bytes);  // pages that nobody wrote are one page of zeros
  return static_cast<unsigned char*>(p);
}

}  // namespace

void ReadBandwidth::Free::operator()(unsigned char* p) const noexcept {
  ::operator delete (p, std::align_val_t{kHugePage});
}

ReadBandwidth::ReadBandwidth()
    : read_(best_read()), size_(round_up(beyond_caches(), kBatch * kChunk)), data_(allocate(size_)) {}

double ReadBandwidth::memory(const Context& context, double seconds) {
  double bytes = 0;
  double elapsed = 0;
  for (const auto start = Clock::now(); elapsed < seconds || bytes == 0; elapsed = seconds_since(start)) {
    context.for_each(kBatch, [&](std::size_t i) { read_(data_.get() + (next_ + i) * kChunk, kChunk); });
    next_ = (next_ + kBatch) % (size_ / kChunk);
    bytes += static_cast<double>(kBatch * kChunk);
  }
  return bytes / elapsed;
}

double ReadBandwidth::cached(std::size_t bytes, const Context& context, double seconds) const {
  const std::size_t threads = context.concurrency();
  const std::size_t own = std::max(std::min(bytes, size_ / threads) / kStep, std::size_t{1}) * kStep;
  const std::size_t turns = ceil_div(kBatch * kChunk, own);
  double total = 0;
  double elapsed = 0;
  for (const auto start = Clock::now(); elapsed < seconds || total == 0; elapsed = seconds_since(start)) {
    context.for_each(threads, [&](std::size_t i) {
      for (std::size_t t = 0; t < turns; ++t) read_(data_.get() + i * own, own);
    });
    total += static_cast<double>(threads * turns * own);
  }
  return total / elapsed;
}

}  // namespace kvant::measure
