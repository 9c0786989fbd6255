// SPDX-License-Identifier: Apache-2.0
#include "kvant/kernels/tiers.hpp"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "cpu_features.hpp"
#include "kvant/core/error.hpp"
#include "kvant/kernels/kernels.hpp"
#include "tables.hpp"

namespace kvant::kernels {
namespace {

struct Row {
  std::string_view name;
  std::string_view needs;
  void (*use)(Kernels&) noexcept;
  /// What has to be asked for once before the tier's instructions may run, such as a permission of the kernel; null:
  /// nothing. False where it is refused.
  bool (*prepare)() noexcept = nullptr;
  /// Slots that keep within rounding of the definition instead of giving its bits, space-separated.
  std::string_view inexact{};
};

/// The list of tiers, worst first: each starts from the table of the one above it. The build says which it holds.
constexpr std::array kRows {
  Row{"generic", "", &use_generic},
#if defined(KVANT_TIER_AVX2)
      Row{"avx2", "avx2 fma f16c", &use_avx2},
#endif
#if defined(KVANT_TIER_AVX512)
      Row{"avx512", "avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512vnni", &use_avx512},
#endif
#if defined(KVANT_TIER_NEON)
      Row{"neon", "asimd dotprod", &use_neon},
#endif
};

struct Built {
  std::array<Tier, kRows.size()> tiers{};
  std::array<Kernels, kRows.size()> tables{};

  Built() noexcept {
    Kernels table{};
    for (std::size_t i = 0; i < kRows.size(); ++i) {
      const Row& row = kRows[i];
      tiers[i] = {row.name, row.needs, has_features(row.needs) && (row.prepare == nullptr || row.prepare()),
                  row.inexact};
      // Even the function that fills a table is compiled for its tier.
      if (tiers[i].runnable) kRows[i].use(table);
      tables[i] = table;
    }
  }
};

const Built& built() noexcept {
  static const Built kBuilt;
  return kBuilt;
}

std::string names() {
  std::string text;
  for (const Tier& tier : tiers()) text += (text.empty() ? "" : ", ") + std::string(tier.name);
  return text;
}

}  // namespace

std::span<const Tier> tiers() noexcept { return built().tiers; }

Result<const Kernels*> find_tier(std::string_view name) {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].name != name) continue;
    if (built().tiers[i].runnable) return &built().tables[i];
    std::string_view missing;
    if (has_features(kRows[i].needs, &missing))
      return fail(ErrorCode::unsupported,
                  "tier '" + std::string(name) + "' needs a permission that the operating system refuses");
    return fail(ErrorCode::unsupported, "tier '" + std::string(name) + "' needs the processor feature '" +
                                            std::string(missing) + "', which this machine lacks");
  }
  return fail(ErrorCode::unsupported,
              "there is no tier '" + std::string(name) + "' in this build; it holds " + names());
}

Result<ActiveTier> active() {
  const char* forced = std::getenv("KVANT_TIER");
  if (forced != nullptr && *forced != '\0') {
    const Result<const Kernels*> table = find_tier(forced);
    if (!table) return fail(table.error().code, "KVANT_TIER: " + table.error().message);
    return ActiveTier{*table, std::string(forced) + ": KVANT_TIER asks for it"};
  }
  std::size_t best = kRows.size() - 1;
  std::string lacking;
  for (; !tiers()[best].runnable; --best) lacking += "; " + find_tier(kRows[best].name).error().message;
  return ActiveTier{&built().tables[best],
                    std::string(kRows[best].name) + ": the best tier that this machine runs" + lacking};
}

}  // namespace kvant::kernels
