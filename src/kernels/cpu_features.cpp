// SPDX-License-Identifier: Apache-2.0
#include "cpu_features.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "kvant/kernels/tiers.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace kvant::kernels {
namespace {

#if defined(__x86_64__)

enum Register : std::uint8_t { eax, ebx, ecx, edx };

/// Register state that the operating system must save for a feature to be usable: bits of XCR0.
enum State : std::uint32_t { kNone = 0, kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000 };

struct Feature {
  std::string_view name;
  std::uint32_t leaf, subleaf;
  Register reg;
  unsigned bit;
  State state;
};

constexpr std::array kFeatures{
    Feature{"sse4.2", 1, 0, ecx, 20, kNone},    Feature{"popcnt", 1, 0, ecx, 23, kNone},
    Feature{"avx", 1, 0, ecx, 28, kYmm},        Feature{"f16c", 1, 0, ecx, 29, kYmm},
    Feature{"fma", 1, 0, ecx, 12, kYmm},        Feature{"avx2", 7, 0, ebx, 5, kYmm},
    Feature{"avxvnni", 7, 1, eax, 4, kYmm},     Feature{"avx512f", 7, 0, ebx, 16, kZmm},
    Feature{"avx512dq", 7, 0, ebx, 17, kZmm},   Feature{"avx512bw", 7, 0, ebx, 30, kZmm},
    Feature{"avx512vl", 7, 0, ebx, 31, kZmm},   Feature{"avx512vbmi", 7, 0, ecx, 1, kZmm},
    Feature{"avx512vnni", 7, 0, ecx, 11, kZmm}, Feature{"avx512bf16", 7, 1, eax, 5, kZmm},
    Feature{"gfni", 7, 0, ecx, 8, kNone},       Feature{"amx_bf16", 7, 0, edx, 22, kTiles},
    Feature{"amx_tile", 7, 0, edx, 24, kTiles}, Feature{"amx_int8", 7, 0, edx, 25, kTiles},
};

std::array<std::uint32_t, 4> cpuid(std::uint32_t leaf, std::uint32_t subleaf) noexcept {
  std::array<std::uint32_t, 4> r{};
  if (__get_cpuid_count(leaf, subleaf, &r[eax], &r[ebx], &r[ecx], &r[edx]) == 0) r = {};
  return r;
}

/// The states that the operating system saves; none where it does not say (OSXSAVE).
std::uint32_t saved_states() noexcept {
  constexpr std::uint32_t kOsxsave = 1u << 27;
  if ((cpuid(1, 0)[ecx] & kOsxsave) == 0) return 0;
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  // Volatile: without it GCC computes this before the test above, and old processors lack the instruction.
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool present(const Feature& f) noexcept {
  return (saved_states() & f.state) == f.state && (cpuid(f.leaf, f.subleaf)[f.reg] >> f.bit & 1) != 0;
}

#elif defined(__aarch64__)

struct Feature {
  std::string_view name;
  unsigned long type;
  unsigned bit;
};

constexpr std::array kFeatures{
    Feature{"asimd", AT_HWCAP, 1}, Feature{"fphp", AT_HWCAP, 9},   Feature{"dotprod", AT_HWCAP, 20},
    Feature{"sve", AT_HWCAP, 22},  Feature{"i8mm", AT_HWCAP2, 13}, Feature{"bf16", AT_HWCAP2, 14},
    Feature{"sme", AT_HWCAP2, 23},
};

bool present(const Feature& f) noexcept { return (getauxval(f.type) >> f.bit & 1) != 0; }

#else

struct Feature {
  std::string_view name;
};
constexpr std::array<Feature, 0> kFeatures{};
bool present(const Feature&) noexcept { return false; }

#endif

bool has_feature(std::string_view name) noexcept {
  for (const Feature& f : kFeatures)
    if (f.name == name) return present(f);
  return false;
}

}  // namespace

bool has_features(std::string_view features, std::string_view* missing) noexcept {
  while (!features.empty()) {
    const std::string_view name = features.substr(0, features.find(' '));
    if (!has_feature(name)) {
      if (missing != nullptr) *missing = name;
      return false;
    }
    features.remove_prefix(name.size() < features.size() ? name.size() + 1 : name.size());
  }
  return true;
}

std::string cpu_features() {
  std::string text;
  for (const Feature& f : kFeatures)
    if (present(f)) text += (text.empty() ? "" : " ") + std::string(f.name);
  return text;
}

}  // namespace kvant::kernels
