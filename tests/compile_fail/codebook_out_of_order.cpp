// SPDX-License-Identifier: Apache-2.0
// expect: a codebook's levels ascend
#include <array>

#include "kvant/numeric/codebook.hpp"

struct Levels {
  static constexpr std::array<float, 3> kLevels{-1.0f, 1.0f, 0.5f};
};
auto code = kvant::Codebook<Levels>::encode(1.0f);
