// SPDX-License-Identifier: Apache-2.0
// flags: -Werror=unused-result
// expect: parse_scheme
#include "kvant/quant/scheme.hpp"

void parse() { kvant::parse_scheme("int4-g128"); }
