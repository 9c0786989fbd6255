// SPDX-License-Identifier: Apache-2.0
// flags: -ffinite-math-only
// expect: cannot be compiled with -ffast-math
#include "kvant/numeric/rounding.hpp"
