// SPDX-License-Identifier: Apache-2.0
// Stacks: matrices of one shape, one above the other, as the experts of a layer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "kvant/core/contract.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// The elements of a stack of `members` matrices with each of them transposed. Contract: they divide its rows.
template <class T>
[[nodiscard]] std::vector<std::remove_const_t<T>> transpose_each(MatrixView<T> stack, std::size_t members) {
  expects(members != 0 ? stack.rows() % members == 0 : stack.rows() == 0, "members that divide the rows");
  const std::size_t rows = members != 0 ? stack.rows() / members : 0;
  std::vector<std::remove_const_t<T>> out(stack.size());
  for (std::size_t m = 0; m < members; ++m) {
    const auto turned = transpose(stack.rows(m * rows, rows));
    std::copy_n(turned.data(), turned.size(), out.data() + m * turned.size());
  }
  return out;
}

}  // namespace kvant
