// SPDX-License-Identifier: Apache-2.0
// expect: a minifloat's fields fit into binary32
#include "kvant/numeric/minifloat.hpp"

auto code = kvant::Minifloat<11, 20, 1023, kvant::Specials::ieee>::encode(1.0f);
