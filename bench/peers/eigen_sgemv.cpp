// SPDX-License-Identifier: Apache-2.0
#include "eigen_sgemv.hpp"

#include <Eigen/Core>

void eigen_sgemv(const float* w, std::size_t n, std::size_t k, const float* x, float* y) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto rows = static_cast<Eigen::Index>(n);
  const auto cols = static_cast<Eigen::Index>(k);
  Eigen::Map<Eigen::VectorXf>(y, rows).noalias() =
      Eigen::Map<const RowMajor>(w, rows, cols) * Eigen::Map<const Eigen::VectorXf>(x, cols);
}
