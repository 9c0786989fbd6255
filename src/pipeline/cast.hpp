// SPDX-License-Identifier: Apache-2.0
// Matrices in float formats of 16 and 32 bits, as files store them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "kvant/core/contract.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant::pipeline {

/// Rounded to nearest, ties to even; what is beyond the format becomes Inf.
class CastMatrix {
 public:
  /// Contract: the format is fp32, fp16 or bf16. `context` must outlive this.
  CastMatrix(MatrixView<const float> values, FormatId format, const Context& context)
      : cols_(values.cols()), format_(&format_info(format)), kernels_(&context.kernels()) {
    expects(format == format_id<fp32> || format == format_id<fp16> || format == format_id<bf16>, "fp32, fp16 or bf16");
    is_fp16_ = format == format_id<fp16>;
    if (format_->bits == 32)
      floats_.resize(values.rows() * cols_);
    else
      halfs_.resize(values.rows() * cols_);
    context.for_each(values.rows(), [&](std::size_t r) { encode_row(values.row(r), r); });
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return format_->bits == 32 ? std::as_bytes(std::span(floats_)) : std::as_bytes(std::span(halfs_));
  }

  void decode_row(std::size_t r, std::span<float> out) const noexcept {
    if (format_->bits == 32)
      std::memcpy(out.data(), floats_.data() + r * cols_, out.size_bytes());
    else
      (is_fp16_ ? kernels_->widen_fp16 : kernels_->widen_bf16)({halfs_.data() + r * cols_, out.size(), out.data()});
  }

 private:
  void encode_row(std::span<const float> row, std::size_t r) {
    if (format_->bits == 32)
      for (std::size_t c = 0; c < cols_; ++c)
        floats_[r * cols_ + c] = fp32::decode(fp32::encode(row[c], {Rounding::nearest_even, Overflow::ieee, 0}));
    else
      (is_fp16_ ? kernels_->narrow_fp16 : kernels_->narrow_bf16)({row.data(), cols_, halfs_.data() + r * cols_});
  }

  std::size_t cols_;
  const FormatInfo* format_;
  const kernels::Kernels* kernels_;
  bool is_fp16_ = false;
  std::vector<float> floats_;
  std::vector<std::uint16_t> halfs_;
};

}  // namespace kvant::pipeline
