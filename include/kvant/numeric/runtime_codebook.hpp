// SPDX-License-Identifier: Apache-2.0
// A codebook that is made at run time: levels from a file, or learned from weights.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/numeric/codebook.hpp"
#include "kvant/numeric/format.hpp"

namespace kvant {

/// 2 to 256 levels, ascending; a code is the index of its level, a tie goes to the lower one, NaN to the level nearest
/// to zero. It must outlive every scheme, matrix and layer that names it by `id()`, and has no text form: schemes of it
/// are made from parts. Checkpoints hold its levels beside the codes, under its name (is_storable_codebook).
class RuntimeCodebook {
 public:
  /// Errors: `usage` where there are too few or too many levels, or they do not ascend or are not finite.
  [[nodiscard]] static Result<RuntimeCodebook> make(std::string name, std::vector<float> levels) {
    if (levels.size() < 2 || levels.size() > 256)
      return fail(ErrorCode::usage, "a codebook of " + std::to_string(levels.size()) + " levels, expected 2 to 256");
    std::vector<std::int32_t> thresholds;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      if (!is_finite(levels[i])) return fail(ErrorCode::usage, "level " + std::to_string(i) + " is not finite");
      if (i == 0) continue;
      if (order_key(levels[i - 1]) >= order_key(levels[i]))
        return fail(ErrorCode::usage, "level " + std::to_string(i) + " is not above the one before it");
      thresholds.push_back(order_key(midpoint_threshold(levels[i - 1], levels[i])));
    }
    return RuntimeCodebook(std::move(name), std::move(levels), std::move(thresholds));
  }

  RuntimeCodebook(RuntimeCodebook&& other) noexcept = default;
  RuntimeCodebook& operator=(RuntimeCodebook&& other) noexcept = default;
  RuntimeCodebook(const RuntimeCodebook&) = delete;
  RuntimeCodebook& operator=(const RuntimeCodebook&) = delete;
  ~RuntimeCodebook() = default;

  [[nodiscard]] FormatId id() const noexcept { return {FormatId::kCustom, &parts_->info}; }
  [[nodiscard]] const std::string& name() const noexcept { return parts_->name; }
  [[nodiscard]] const std::vector<float>& levels() const noexcept { return parts_->levels; }

 private:
  struct Parts {  // whose address stays when the codebook is moved
    std::string name;
    std::vector<float> levels;
    std::vector<std::int32_t> thresholds;
    FormatInfo info{};
  };

  RuntimeCodebook(std::string name, std::vector<float> levels, std::vector<std::int32_t> thresholds)
      : parts_(new Parts{std::move(name), std::move(levels), std::move(thresholds)}) {
    FormatInfo& info = parts_->info;
    const float least = parts_->levels.front();
    const float most = parts_->levels.back();
    info.name = parts_->name;
    info.bits = static_cast<unsigned>(std::bit_width(parts_->levels.size() - 1));
    info.kind = FormatKind::codebook;
    info.is_signed = is_negative(least);
    info.max = order_key(magnitude(least)) > order_key(most) ? magnitude(least) : most;
    info.thresholds = parts_->thresholds.data();
    info.threshold_count = static_cast<unsigned>(parts_->thresholds.size());
    info.levels = parts_->levels.data();
  }

  std::unique_ptr<Parts> parts_;
};

}  // namespace kvant
