// SPDX-License-Identifier: Apache-2.0
// flags: -ffast-math
// expect: cannot be compiled with -ffast-math
#include "kvant/numeric/rounding.hpp"
