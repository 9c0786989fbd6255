// SPDX-License-Identifier: Apache-2.0
// A packed layer and how to run it: the type that a host embeds.
//
//   kvant::Linear layer = kvant::Linear::from(quantized).value();
//   kvant::Status ok = layer.multiply(x, y, kvant::runtime());   // y = x * W^T + bias
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/linear/layout.hpp"
#include "kvant/linear/pack.hpp"
#include "kvant/quant/fake_quantize.hpp"
#include "kvant/quant/qlinear.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

class Linear {
 public:
  Linear() = default;

  /// Packs a quantized layer. A scheme without a packed layout keeps its codes and decodes rows when it runs. Errors:
  /// those of check(), for a matrix that was made by hand; bad_shape (the bias); usage (parameters of inputs that are
  /// not finite).
  [[nodiscard]] static Result<Linear> from(QLinear layer) {
    if (const Status ok = check(layer.weight); !ok) return propagate(ok);
    if (!(layer.input.scale > 0.0f) || !is_finite(layer.input.scale))
      return fail(ErrorCode::usage, "the scale of a layer's inputs is no finite number above 0");
    Linear result;
    result.n_ = layer.weight.rows;
    result.k_ = layer.weight.cols;
    result.scheme_ = layer.weight.scheme;
    result.bias_ = std::move(layer.bias);
    result.input_ = layer.input;
    if (!result.bias_.empty() && result.bias_.size() != result.n_)
      return fail(ErrorCode::bad_shape, "a bias of " + std::to_string(result.bias_.size()) + " elements, expected " +
                                            std::to_string(result.n_));
    if (layout_for(layer.weight)) {
      auto packed = pack(layer.weight);
      if (!packed) return propagate(packed);
      result.packed_ = std::move(*packed);
      result.columns_ = std::move(layer.weight.columns);
    } else {
      result.rows_ = std::move(layer.weight);
    }
    return result;
  }

  /// A float layer, kept as float32 or as bfloat16 panels. Contract: `format` is fp32 or bf16, and `bias` is empty or
  /// has one number for each row.
  [[nodiscard]] static Linear from_float(MatrixView<const float> w, FormatId format, std::vector<float> bias = {}) {
    expects(format == format_id<fp32> || format == format_id<bf16>, "float layers are fp32 or bf16");
    expects(bias.empty() || bias.size() == w.rows(), "a bias has one number for each row");
    Linear result;
    result.n_ = w.rows();
    result.k_ = w.cols();
    result.scheme_.format = format;
    result.bias_ = std::move(bias);
    result.packed_ = format == format_id<bf16> ? pack_bf16(w) : pack_f32(w);
    return result;
  }

  [[nodiscard]] std::size_t out_features() const noexcept { return n_; }
  [[nodiscard]] std::size_t in_features() const noexcept { return k_; }
  [[nodiscard]] const Scheme& scheme() const noexcept { return scheme_; }
  /// The packed bytes, or null where rows are decoded.
  [[nodiscard]] const PackedWeight* packed() const noexcept { return packed_ ? &*packed_ : nullptr; }
  [[nodiscard]] std::uint64_t stored_bits() const noexcept { return kvant::stored_bits(scheme_, n_, k_); }
  /// Whether codes of weights are multiplied by codes of activations; otherwise floats are, even where the scheme
  /// rounds activations first.
  [[nodiscard]] bool runs_on_integers() const noexcept {
    return scheme_.activation == ActivationScheme{} && packed_ && packed_->code_step != 0 &&
           layout_info(packed_->layout).bits <= 8 && group() <= kMaxIntegerGroup;
  }

  /// y[m, out] = x[m, in] * W^T + bias. Under an activation scheme each row of x is first rounded to what its codes
  /// stand for (fake_quantize()); under int8-token products run on the codes: those of amax / 127.5, where amax is the
  /// row's largest finite magnitude; NaN counts as 0 and Inf as the outermost code. `bad_shape` where the views do not
  /// fit. The result does not depend on the context, nor on the other rows of x.
  [[nodiscard]] Status multiply(MatrixView<const float> x, MatrixView<float> y, const Context& context = {}) const {
    if (x.cols() != k_ || y.cols() != n_ || x.rows() != y.rows())
      return fail(ErrorCode::bad_shape, "x is " + shape_text(x.rows(), x.cols()) + " and y " +
                                            shape_text(y.rows(), y.cols()) + ", expected m x " + std::to_string(k_) +
                                            " and m x " + std::to_string(n_));
    if (x.rows() == 0 || n_ == 0) return {};
    const DefaultFpEnvironment standard;
    kernels::GemmArgs args{};
    args.m = x.rows();
    args.n = n_;
    args.k = k_;
    args.y = y.data();
    args.ldy = y.stride();
    args.bias = bias_.empty() ? nullptr : bias_.data();
    Activations activations;
    prepare_activations(x, activations, args, context);
    if (packed_)
      run_packed(args, context);
    else
      run_rows(args, context);
    return {};
  }

  /// out[i, :] = row ids[i] of W: an embedding lookup. `usage` where an id is out of range.
  [[nodiscard]] Status rows(std::span<const std::int32_t> ids, MatrixView<float> out,
                            const Context& context = {}) const {
    if (out.rows() != ids.size() || out.cols() != k_)
      return fail(ErrorCode::bad_shape,
                  "out is " + shape_text(out.rows(), out.cols()) + ", expected " + shape_text(ids.size(), k_));
    for (const std::int32_t id : ids)
      if (id < 0 || static_cast<std::size_t>(id) >= n_)
        return fail(ErrorCode::usage, "id " + std::to_string(id) + " is not one of " + std::to_string(n_) + " rows");
    if (ids.empty()) return {};
    const DefaultFpEnvironment standard;
    if (!packed_) {
      const Grid grid(rows_.scheme, context.kernels());
      for (std::size_t i = 0; i < ids.size(); ++i)
        dequantize_row(rows_, grid, static_cast<std::size_t>(ids[i]), out.row(i));
      return {};
    }
    const PackedWeight& p = *packed_;
    const kernels::GatherArgs args{
        p.bytes.data(), p.panel_stride(), n_,         k_,         p.group,    p.scales_f32, p.has_zeros,
        p.zero,         p.levels.data(),  ids.data(), ids.size(), out.data(), out.stride()};
    const kernels::Kernels& table = context.kernels();
    const std::array<kernels::Gather, kLayouts.size()> slots{table.gather_f32, table.gather_bf16, table.gather_w8,
                                                             table.gather_w4,  table.gather_w2,   table.gather_w1};
    slots[static_cast<std::size_t>(p.layout)](args);
    for (std::size_t i = 0; i < ids.size(); ++i) restore_columns(columns_, out.row(i));
    return {};
  }

 private:
  /// Groups beyond this could overflow the kernels' int32 sums: 65536 * 255 * 128 < 2^31.
  static constexpr std::size_t kMaxIntegerGroup = 65536;

  /// Copies of the activations in the form that a kernel wants.
  struct Activations {
    std::vector<float> padded;
    std::vector<float> sums;
    std::vector<std::int8_t> codes;
    std::vector<float> scales;
    std::vector<std::int32_t> integer_sums;
  };

  [[nodiscard]] static std::string shape_text(std::size_t rows, std::size_t cols) {
    return std::to_string(rows) + " x " + std::to_string(cols);
  }
  [[nodiscard]] std::size_t group() const noexcept { return packed_ && packed_->group != 0 ? packed_->group : k_; }

  void prepare_activations(MatrixView<const float> x, Activations& a, kernels::GemmArgs& args,
                           const Context& context) const {
    const std::size_t m = x.rows();
    const std::size_t padded = round_up(k_, kernels::kActivationPadding);
    const bool int8 = scheme_.activation == ActivationScheme{};
    Matrix<float> rounded;
    if (scheme_.activation && !int8) {
      rounded = fake_quantize(x, *scheme_.activation, input_, context);
      x = rounded.view();
    }
    args.a_f32 = x.data();
    args.lda = x.stride();
    if (!columns_.empty() || rounded.size() != 0 || (k_ != padded && !runs_on_integers())) {
      a.padded.resize(m * padded);
      context.for_each(m, [&](std::size_t i) {
        for (std::size_t c = 0; c < k_; ++c) a.padded[i * padded + c] = x(i, columns_.empty() ? c : columns_[c]);
      });
      args.a_f32 = a.padded.data();
      args.lda = padded;
    }
    const std::size_t groups = k_ != 0 ? ceil_div(k_, group()) : 0;
    if (int8) {
      quantize_rows(a, args, padded, groups, context);
      if (runs_on_integers()) return;
    }
    if (packed_ && packed_->has_zeros) {
      a.sums.resize(m * groups);
      for (std::size_t i = 0; i < m; ++i)
        for (std::size_t c = 0; c < k_; ++c) a.sums[i * groups + c / group()] += args.a_f32[i * args.lda + c];
      args.a_sums_f32 = a.sums.data();
    }
  }

  /// int8 codes of rows, and where they are not multiplied themselves, what they stand for.
  void quantize_rows(Activations& a, kernels::GemmArgs& args, std::size_t padded, std::size_t groups,
                     const Context& context) const {
    a.codes.resize(args.m * padded);
    a.scales.resize(args.m);
    a.integer_sums.resize(args.m * groups);
    context.for_each(args.m, [&](std::size_t i) {
      context.kernels().quantize_rows_s8({args.a_f32 + i * args.lda, 1, k_, args.lda, group(),
                                          a.codes.data() + i * padded, padded, a.scales.data() + i,
                                          a.integer_sums.data() + i * groups});
    });
    args.a_s8 = a.codes.data();
    args.a_scales = a.scales.data();
    args.a_sums_s32 = a.integer_sums.data();
    args.lda = padded;
    if (runs_on_integers()) return;
    a.padded.resize(args.m * padded);
    for (std::size_t i = 0; i < a.padded.size(); ++i)
      a.padded[i] = static_cast<float>(a.codes[i]) * a.scales[i / padded];
    args.a_f32 = a.padded.data();
  }

  void run_packed(kernels::GemmArgs args, const Context& context) const {
    const PackedWeight& p = *packed_;
    args.weights = p.bytes.data();
    args.panel_stride = p.panel_stride();
    args.group = p.group;
    args.scales_f32 = p.scales_f32;
    args.has_zeros = p.has_zeros;
    args.zero = p.zero;
    args.code_step = p.code_step;
    args.levels = p.levels.data();
    const kernels::Kernels& table = context.kernels();
    using Slots = std::array<kernels::Gemm, kLayouts.size()>;
    const Slots floats{table.gemm_f32_f32, table.gemm_bf16_f32, table.gemm_w8_f32,
                       table.gemm_w4_f32,  table.gemm_w2_f32,   table.gemm_w1_f32};
    const Slots integers{nullptr, nullptr, table.gemm_w8_s8, table.gemm_w4_s8, table.gemm_w2_s8, table.gemm_w1_s8};
    const kernels::Gemm gemm = (runs_on_integers() ? integers : floats)[static_cast<std::size_t>(p.layout)];
    const std::size_t chunk = chunk_of(p.panels(), context);
    context.for_each(ceil_div(p.panels(), chunk), [&](std::size_t i) {
      kernels::GemmArgs part = args;
      part.panel_begin = i * chunk;
      part.panel_end = std::min(p.panels(), (i + 1) * chunk);
      gemm(part);
    });
  }

  /// Decodes 32 rows at a time into a float panel and multiplies by it.
  void run_rows(const kernels::GemmArgs& args, const Context& context) const {
    const Grid grid(rows_.scheme, context.kernels());
    const std::size_t panels = ceil_div(n_, std::size_t{32});
    context.for_each(panels, [&](std::size_t panel) {
      const std::size_t first = panel * 32;
      Matrix<float> block(std::min<std::size_t>(32, n_ - first), k_);
      for (std::size_t r = 0; r < block.rows(); ++r) dequantize_row(rows_, grid, first + r, block.row(r));
      const PackedWeight p = pack_f32(block.view());
      kernels::GemmArgs part = args;
      part.weights = p.bytes.data();
      part.panel_stride = p.panel_stride();
      part.panel_begin = 0;
      part.panel_end = 1;
      part.n = block.rows();
      part.y = args.y + first;
      part.bias = args.bias != nullptr ? args.bias + first : nullptr;
      context.kernels().gemm_f32_f32(part);
    });
  }

  /// Panels per task: enough for a kernel to run several panels side by side, few enough to balance threads.
  [[nodiscard]] static std::size_t chunk_of(std::size_t panels, const Context& context) noexcept {
    const std::size_t tasks = std::size_t{8} * context.concurrency();
    return std::max<std::size_t>(4, ceil_div(panels, tasks));
  }

  std::size_t n_ = 0;
  std::size_t k_ = 0;
  Scheme scheme_;
  std::vector<float> bias_;
  InputParameters input_;
  std::vector<std::uint32_t> columns_;  ///< what is stored as input c is input columns_[c]; empty: in their own order
  std::optional<PackedWeight> packed_;
  QMatrix rows_;
};

}  // namespace kvant
