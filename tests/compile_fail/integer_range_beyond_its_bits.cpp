// SPDX-License-Identifier: Apache-2.0
// expect: an integer format has 1 to 8 bits that hold its range
#include "kvant/numeric/integer.hpp"

auto code = kvant::Integer<3, -5, 3>::encode(1.0f);
