// SPDX-License-Identifier: Apache-2.0
// Rotary positions and the ways in which families stretch them to longer contexts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kvant/io/debug_mode.hpp"

namespace kvant::nn {

enum class RopeScaling : std::uint8_t { none, linear, dynamic, llama3, yarn, longrope };
inline constexpr std::string_view kRopeScalingNames[]{"default", "linear", "dynamic", "llama3", "yarn", "longrope"};

/// Angles of one kind of rotation: position * frequency, where frequency i of plain ones is theta^(-2 i / dims).
/// Sources: Su et al. 2021, "RoFormer"; Peng et al. 2023, "YaRN"; Ding et al. 2024, "LongRoPE"; what Llama 3.1 and
/// Hugging Face's transformers make of `rope_scaling`.
struct Rope {
  std::size_t dims = 0;  ///< elements of a head that are rotated; even
  double theta = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;           ///< how many times longer than the original context
  std::size_t original = 0;    ///< that context
  double low_frequency = 1;    ///< of llama3: turns within the original context, below which frequencies are divided
  double high_frequency = 4;   ///< … and above which they are kept
  double fast = 32, slow = 1;  ///< of yarn: likewise, above and below
  bool whole_dims = true;      ///< of yarn: its bounds are rounded to whole dimensions
  std::vector<double> short_factors{}, long_factors{};  ///< of longrope: divisors up to the original context, beyond
  double magnitude = 1;                                 ///< factor of cosines and sines

  friend bool operator==(const Rope&, const Rope&) = default;
};

/// Whether frequencies are others for longer sequences.
[[nodiscard]] bool depends_on_context(const Rope& rope) noexcept;

/// The dims / 2 frequencies for sequences of up to `context` tokens. Dynamic and longrope ones depend on it: a sequence
/// keeps those of the context that its cache was made for, so that it does not matter in how many calls it comes.
[[nodiscard]] std::vector<double> rope_frequencies(const Rope& rope, std::size_t context);

}  // namespace kvant::nn
