// SPDX-License-Identifier: Apache-2.0
// expect: IEEE specials need a mantissa bit
#include "kvant/numeric/minifloat.hpp"

auto code = kvant::Minifloat<8, 0, 127, kvant::Specials::ieee>::encode(1.0f);
