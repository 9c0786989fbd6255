// SPDX-License-Identifier: Apache-2.0
// The library's own copy of the generic tier: same text as generic.hpp, but compiled with the library's flags only.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kvant/kernels/kernels.hpp"
#include "kvant/kernels/layout.hpp"
#include "kvant/numeric/formats.hpp"

namespace kvant::kernels {
namespace {

#include "kvant/kernels/generic.inl"

}  // namespace

void use_generic(Kernels& table) noexcept { table = kTable; }

}  // namespace kvant::kernels
