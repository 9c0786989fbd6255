// SPDX-License-Identifier: Apache-2.0
// The extremes: nothing is clipped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kvant/calibrate/extremes.hpp"
#include "kvant/calibrate/observer.hpp"

namespace kvant {

struct MinMaxConfig {
  [[nodiscard]] Status check() const { return {}; }
  friend bool operator==(const MinMaxConfig&, const MinMaxConfig&) = default;

  template <class Self, class Visitor>
  static void visit(Self&, Visitor&&) {}
};

/// The least and the largest value, as torch's MinMaxObserver and llm-compressor's static_minmax. Exact, and the same
/// for any order of pieces and merges. 32 bytes.
class MinMax {
 public:
  using Config = MinMaxConfig;
  static constexpr std::string_view kName = "min_max";
  static constexpr std::string_view kSummary = "the least and the largest value; clips nothing";

  explicit MinMax(const Config& config = {}) noexcept : config_(config) {}

  [[nodiscard]] const Config& config() const noexcept { return config_; }
  void observe(std::span<const float> values) noexcept { extremes_.observe(values); }
  [[nodiscard]] Status merge(const MinMax& other) noexcept {
    extremes_.merge(other.extremes_);
    return {};
  }
  [[nodiscard]] Range range(const FormatInfo&, Symmetry) const noexcept { return extremes_.range(); }
  [[nodiscard]] std::uint64_t count() const noexcept { return extremes_.count(); }
  [[nodiscard]] std::uint64_t nonfinite() const noexcept { return extremes_.nonfinite(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return sizeof(*this); }

 private:
  Config config_;
  ObservedExtremes extremes_;
};
static_assert(Observer<MinMax>);

}  // namespace kvant
