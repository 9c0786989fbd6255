// SPDX-License-Identifier: Apache-2.0
// expect: no matching function
#include "kvant/quant/encode.hpp"

auto q = kvant::quantize<float>(kvant::MatrixView<const float>{}, kvant::PerChannel{});
