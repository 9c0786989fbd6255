// SPDX-License-Identifier: Apache-2.0
// expect: MatrixView
#include "kvant/tensor/matrix.hpp"

void write(kvant::MatrixView<float>);
void read(kvant::MatrixView<const float> view) { write(view); }
