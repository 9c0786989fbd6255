// SPDX-License-Identifier: Apache-2.0
// Prints the hashes of quantize_cases.hpp, for comparing compilers, flags and machines (quantize_flags.sh), and fails
// where they depend on the floating-point environment or the threads of the program. `--record` prints the table.
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "../reference/executors.hpp"
#include "../reference/fp_modes.hpp"
#include "quantize_cases.hpp"

namespace {

int check(const golden::Case& c, bool search, const kvant::Matrix<float>& w, std::uint64_t expected) {
  int failures = 0;
  const auto compare = [&](std::uint64_t got, const char* where, const char* mode) {
    if (got == expected) return;
    ++failures;
    std::fprintf(stderr, "%s search=%d: %016llx instead of %016llx %s '%s'\n", c.scheme, search,
                 static_cast<unsigned long long>(got), static_cast<unsigned long long>(expected), where, mode);
  };
  for (const reference::FpMode& mode : reference::kFpModes) {
    std::uint64_t got = 0;
    {
      const reference::ScopedFpMode scoped(mode);
      got = golden::hash_of(c, search, w);
    }
    compare(got, "under", mode.name);
    // A host's threads may have an environment of their own.
    reference::ThreadedExecutor threads(2, [&mode] {
      std::fesetround(mode.rounding);
      if (mode.flush) reference::flush_subnormals();
    });
    compare(golden::hash_of(c, search, w, kvant::Context(kvant::kernels::generic::kTable, threads)), "on threads under",
            mode.name);
  }
  return failures;
}

/// quantize_hashes.inc as it should be.
void record(const kvant::Matrix<float>& w) {
  std::puts("// SPDX-License-Identifier: Apache-2.0");
  std::puts("// Recorded by `quantize_hash --record`. Another hash is another file: say why in the commit.");
  std::printf("inline constexpr std::uint64_t kWeightsHash = 0x%016llxu;\n",
              static_cast<unsigned long long>(golden::hash_of(w)));
  std::puts("inline constexpr std::array kCases{");
  for (const golden::Case& c : golden::kCases)
    std::printf("    Case{\"%s\", 0x%016llxu, 0x%016llxu},\n", c.scheme,
                static_cast<unsigned long long>(golden::hash_of(c, false, w)),
                static_cast<unsigned long long>(golden::hash_of(c, true, w)));
  std::puts("};");
}

}  // namespace

int main(int argc, char** argv) {
  const kvant::Matrix<float> w = golden::weights();
  if (argc > 1 && std::strcmp(argv[1], "--record") == 0) {
    record(w);
    return 0;
  }
  int failures = 0;
  for (const golden::Case& c : golden::kCases) {
    const std::uint64_t plain = golden::hash_of(c, false, w);
    const std::uint64_t searched = golden::hash_of(c, true, w);
    std::printf("%s %016llx %016llx\n", c.scheme, static_cast<unsigned long long>(plain),
                static_cast<unsigned long long>(searched));
    failures += check(c, false, w, plain) + check(c, true, w, searched);
  }
  return failures == 0 ? 0 : 1;
}
