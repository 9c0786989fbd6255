// SPDX-License-Identifier: Apache-2.0
// The generic tier: portable C++, the definition of correct for every other tier (see generic.inl, written for
// readers).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kvant/kernels/kernels.hpp"
#include "kvant/kernels/layout.hpp"
#include "kvant/numeric/formats.hpp"

namespace kvant::kernels::generic {

#include "kvant/kernels/generic.inl"

}  // namespace kvant::kernels::generic
