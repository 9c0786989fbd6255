// SPDX-License-Identifier: Apache-2.0
// What each tier's file offers: a function that overwrites the slots it does better.
#pragma once

#include "kvant/kernels/kernels.hpp"

namespace kvant::kernels {

void use_generic(Kernels& table) noexcept;
void use_avx2(Kernels& table) noexcept;
void use_avx512(Kernels& table) noexcept;
void use_neon(Kernels& table) noexcept;

}  // namespace kvant::kernels
