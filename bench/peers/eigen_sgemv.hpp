// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

/// y[n] = w[n, k] * x[k], all float32, by Eigen compiled for this very processor.
void eigen_sgemv(const float* w, std::size_t n, std::size_t k, const float* x, float* y);
