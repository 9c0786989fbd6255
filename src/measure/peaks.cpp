// SPDX-License-Identifier: Apache-2.0
// Compiled for the baseline processor: the instructions stand in assembly and run where the processor has them.
#include "peaks.hpp"

#include <array>
#include <cmath>

#include "kvant/core/rng.hpp"

namespace kvant::measure {
namespace {

constexpr std::size_t kDataWords = 48;  // three registers of 64 bytes

/// Words whose halves are random, of magnitude 0.5 … 1 as float32 and as bfloat16: sums stay ordinary numbers.
constexpr std::array<std::uint32_t, kDataWords> random_words(bool floats) noexcept {
  std::array<std::uint32_t, kDataWords> words{};
  for (std::size_t i = 0; i < kDataWords; ++i) {
    const auto random = static_cast<std::uint32_t>(mix64(i));
    words[i] = floats ? (random & 0x807f807fu) | 0x3f003f00u : random;
  }
  return words;
}

alignas(64) constexpr auto kFloats = random_words(true);
alignas(64) constexpr auto kBytes = random_words(false);

constexpr std::size_t kChains = 64;

/// What a compiler makes of float32 products and sums for the processor that the library is built for.
void portable_fma(std::size_t turns, const void*) noexcept {
  std::array<float, kChains> sums{};
  const float factor = -0.999f;
  for (std::size_t t = 0; t < turns; ++t)
    for (std::size_t i = 0; i < kChains; ++i) sums[i] = std::fma(sums[i], factor, static_cast<float>(i));
  float total = 0;
  for (const float s : sums) total += s;
  [[maybe_unused]] const volatile float kept = total;
}

#if defined(__x86_64__)

constexpr double kSums = 12;  // independent chains, as many as latency and ports of any processor met so far can use

// `reg` is xmm's larger kin; `first` and `second` are instructions for the sum of number \i. Data: registers 0 to 2;
// register 3 is free.
#define KVANT_PEAK_LOOP(reg, first, second)                                                                      \
  __asm__ volatile(                                                                                              \
      ".irp i,4,5,6,7,8,9,10,11,12,13,14,15\n\tvpxor %%xmm\\i, %%xmm\\i, %%xmm\\i\n\t.endr\n\t"                  \
      "vmovups (%1), %%" reg "0\n\tvmovups 64(%1), %%" reg "1\n\tvmovups 128(%1), %%" reg                        \
      "2\n\t"                                                                                                    \
      "1:\n\t"                                                                                                   \
      ".irp i,4,5,6,7,8,9,10,11,12,13,14,15\n\t" first                                                           \
      "\n\t.endr\n\t"                                                                                            \
      ".irp i,4,5,6,7,8,9,10,11,12,13,14,15\n\t" second                                                          \
      "\n\t.endr\n\t"                                                                                            \
      "dec %0\n\tjnz 1b\n\tvzeroupper"                                                                           \
      : "+r"(turns)                                                                                              \
      : "r"(data)                                                                                                \
      : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

void fma_ymm(std::size_t turns, const void* data) noexcept {
  KVANT_PEAK_LOOP("ymm", "vfmadd231ps %%ymm2, %%ymm0, %%ymm\\i", "vfmadd231ps %%ymm2, %%ymm1, %%ymm\\i");
}
void fma_zmm(std::size_t turns, const void* data) noexcept {
  KVANT_PEAK_LOOP("zmm", "vfmadd231ps %%zmm2, %%zmm0, %%zmm\\i", "vfmadd231ps %%zmm2, %%zmm1, %%zmm\\i");
}
void dpbf16_zmm(std::size_t turns, const void* data) noexcept {
  KVANT_PEAK_LOOP("zmm", "vdpbf16ps %%zmm2, %%zmm0, %%zmm\\i", "vdpbf16ps %%zmm2, %%zmm1, %%zmm\\i");
}
void maddubs_ymm(std::size_t turns, const void* data) noexcept {
  KVANT_PEAK_LOOP("ymm", "vpmaddubsw %%ymm2, %%ymm0, %%ymm3\n\tvpaddw %%ymm3, %%ymm\\i, %%ymm\\i",
                  "vpmaddubsw %%ymm2, %%ymm1, %%ymm3\n\tvpaddw %%ymm3, %%ymm\\i, %%ymm\\i");
}
void dpbusd_vex(std::size_t turns, const void* data) noexcept {
  KVANT_PEAK_LOOP("ymm", "%{vex%} vpdpbusd %%ymm2, %%ymm0, %%ymm\\i", "%{vex%} vpdpbusd %%ymm2, %%ymm1, %%ymm\\i");
}
void dpbusd_evex(std::size_t turns, const void* data) noexcept {
  KVANT_PEAK_LOOP("ymm", "%{evex%} vpdpbusd %%ymm2, %%ymm0, %%ymm\\i", "%{evex%} vpdpbusd %%ymm2, %%ymm1, %%ymm\\i");
}
void dpbusd_zmm(std::size_t turns, const void* data) noexcept {
  KVANT_PEAK_LOOP("zmm", "vpdpbusd %%zmm2, %%zmm0, %%zmm\\i", "vpdpbusd %%zmm2, %%zmm1, %%zmm\\i");
}

#undef KVANT_PEAK_LOOP

/// Two instructions per sum and turn, of so many products each.
constexpr double operations(double products) noexcept { return 2 * 2 * kSums * products; }

#endif

constexpr std::array kPeaks {
  Peak{"std::fma", "", Arithmetic::f32, 2.0 * kChains, &portable_fma},
#if defined(__x86_64__)
      Peak{"vfmadd231ps ymm", "avx2 fma", Arithmetic::f32, operations(8), &fma_ymm},
      Peak{"vfmadd231ps zmm", "avx512f", Arithmetic::f32, operations(16), &fma_zmm},
      Peak{"vdpbf16ps zmm", "avx512f avx512bf16", Arithmetic::bf16, operations(32), &dpbf16_zmm},
      Peak{"vpmaddubsw ymm", "avx2", Arithmetic::s8, operations(32), &maddubs_ymm},
      Peak{"vpdpbusd ymm", "avx2 avxvnni", Arithmetic::s8, operations(32), &dpbusd_vex},
      Peak{"vpdpbusd ymm (EVEX)", "avx512vl avx512vnni", Arithmetic::s8, operations(32), &dpbusd_evex},
      Peak{"vpdpbusd zmm", "avx512f avx512vnni", Arithmetic::s8, operations(64), &dpbusd_zmm},
#endif
};

}  // namespace

std::span<const Peak> peaks() noexcept { return kPeaks; }

void run_peak(const Peak& peak, std::size_t turns) noexcept {
  peak.loop(turns, peak.arithmetic == Arithmetic::s8 ? kBytes.data() : kFloats.data());
}

}  // namespace kvant::measure
