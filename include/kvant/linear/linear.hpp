// SPDX-License-Identifier: Apache-2.0
// A packed layer and how to run it: the type that a host embeds.
//
//   kvant::Linear layer = kvant::Linear::from(quantized).value();
//   kvant::Status ok = layer.multiply(x, y, kvant::runtime());   // y = x * W^T + bias
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/kernels/layout.hpp"
#include "kvant/linear/activations.hpp"
#include "kvant/linear/pack.hpp"
#include "kvant/linear/packed_weight.hpp"
#include "kvant/quant/qlinear.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// Where outputs go, [tokens, features]: float32, bf16 or fp16, rounded to nearest even.
class OutputRows {
 public:
  OutputRows(MatrixView<float> y) noexcept  // NOLINT: a view
      : f32_(y.data()), rows_(y.rows()), cols_(y.cols()), stride_(y.stride()) {}
  /// Contract: `format` is bf16 or fp16.
  OutputRows(MatrixView<std::uint16_t> y, FormatId format)
      : f16_(y.data()),
        type_(format == format_id<bf16> ? kernels::OutputType::bf16 : kernels::OutputType::fp16),
        rows_(y.rows()),
        cols_(y.cols()),
        stride_(y.stride()) {
    expects(format == format_id<bf16> || format == format_id<fp16>, "16-bit outputs are bf16 or fp16");
  }
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t cols() const noexcept { return cols_; }

  void set(kernels::GemmArgs& args) const noexcept {
    args.y = f32_;
    args.y16 = f16_;
    args.y_type = type_;
    args.ldy = stride_;
  }

 private:
  float* f32_ = nullptr;
  std::uint16_t* f16_ = nullptr;
  kernels::OutputType type_ = kernels::OutputType::f32;
  std::size_t rows_, cols_, stride_;
};

/// What becomes of a product p = x * W^T + bias: y = scale * p, or y + scale * p.
struct Epilogue {
  float scale = 1.0f;
  bool accumulate = false;
};

/// How a layer computes, of one that rounds its inputs.
enum class Arithmetic : std::uint8_t {
  as_scheme,  ///< on what its scheme makes of inputs
  floats,     ///< on inputs as they are
};

class Linear {
 public:
  Linear() = default;

  /// Packs a quantized layer. Errors: those of check(), for a matrix that was made by hand; bad_shape (the bias); usage
  /// (parameters of inputs that are not finite); unsupported (parts that packed layers do not hold).
  [[nodiscard]] static Result<Linear> from(const QLinear& layer, const Context& context = {}) {
    if (const Status ok = check_has_no_parts(layer); !ok) return propagate(ok);
    if (const Status ok = check_parts(layer.weight.rows, layer.bias, layer.inputs); !ok) return propagate(ok);
    auto packed = pack(layer.weight, context);
    if (!packed) return propagate(packed);
    Linear result;
    result.bias_ = layer.bias;
    result.inputs_ = layer.inputs;
    result.packed_ = std::move(*packed);
    return result;
  }

  /// A float layer, kept as float32 or as bfloat16 panels. Contract: `format` is fp32 or bf16, and `bias` is empty or
  /// has one number for each row.
  [[nodiscard]] static Linear from_float(MatrixView<const float> w, FormatId format, std::vector<float> bias = {},
                                         const Context& context = {}) {
    expects(format == format_id<fp32> || format == format_id<bf16>, "float layers are fp32 or bf16");
    expects(bias.empty() || bias.size() == w.rows(), "a bias has one number for each row");
    Linear result;
    result.bias_ = std::move(bias);
    result.packed_ = format == format_id<bf16> ? pack_bf16(w, context) : pack_f32(w, context);
    return result;
  }

  /// A layer on packed bytes that someone else holds, such as a mapped file: they are neither copied nor changed, and
  /// stay where they are while the layer or a copy of it lives. Errors: those of check(PackedWeight, bytes) and, for
  /// the bias and the inputs, of from().
  [[nodiscard]] static Result<Linear> over(PackedWeight weight, std::span<const unsigned char> bytes,
                                           std::vector<float> bias = {}, const LayerInputs& inputs = {}) {
    if (const Status ok = check(weight, bytes); !ok) return propagate(ok);
    if (const Status ok = check_parts(weight.shape.n, bias, inputs); !ok) return propagate(ok);
    Linear result;
    result.bias_ = std::move(bias);
    result.inputs_ = inputs;
    result.packed_ = std::move(weight);
    result.packed_.bytes = {};
    result.borrowed_ = bytes;
    return result;
  }

  /// A layer whose weights are 16-bit floats, as checkpoints mostly have them: bf16 is kept, fp16 becomes float32, both
  /// exactly. Contract: likewise.
  [[nodiscard]] static Linear from_float(MatrixView<const std::uint16_t> w, FormatId format,
                                         std::vector<float> bias = {}, const Context& context = {}) {
    expects(format == format_id<bf16> || format == format_id<fp16>, "16-bit layers are bf16 or fp16");
    expects(bias.empty() || bias.size() == w.rows(), "a bias has one number for each row");
    Linear result;
    result.bias_ = std::move(bias);
    result.packed_ = pack_half(w, format, context);
    return result;
  }

  [[nodiscard]] std::size_t out_features() const noexcept { return packed_.shape.n; }
  [[nodiscard]] std::size_t in_features() const noexcept { return packed_.shape.inputs; }
  [[nodiscard]] LayerScheme scheme() const noexcept { return {packed_.scheme, inputs_.activation}; }
  /// What was packed; without bytes where over() borrows them.
  [[nodiscard]] const PackedWeight& packed() const noexcept { return packed_; }
  [[nodiscard]] const PackedShape& shape() const noexcept { return packed_.shape; }
  /// What kernels read.
  [[nodiscard]] std::span<const unsigned char> bytes() const noexcept {
    return borrowed_.data() != nullptr ? borrowed_ : std::span(packed_.bytes.data(), packed_.bytes.size());
  }
  [[nodiscard]] std::uint64_t stored_bits() const noexcept {
    return kvant::stored_bits(packed_.scheme, out_features(), in_features());
  }
  /// Whether codes of weights are multiplied by codes of activations; otherwise floats are, even where the scheme
  /// rounds activations first.
  [[nodiscard]] bool runs_on_integers(Arithmetic arithmetic = Arithmetic::as_scheme) const noexcept {
    return activation(arithmetic) == ActivationScheme{} && packed_.shape.code_step != 0 &&
           layout().gemm_s8.member != nullptr && packed_.shape.group <= kMaxIntegerGroup;
  }
  /// The slot that multiply() runs on.
  [[nodiscard]] const kernels::NamedSlot<kernels::Gemm>& gemm(
      Arithmetic arithmetic = Arithmetic::as_scheme) const noexcept {
    return runs_on_integers(arithmetic) ? layout().gemm_s8 : layout().gemm_f32;
  }

  /// Makes room in `x` for rows of this layer's inputs, so that multiply() takes no memory in either arithmetic.
  /// `out_of_memory`.
  [[nodiscard]] Status reserve(Activations& x, std::size_t rows) const {
    if (const Status room = x.reserve(rows, input_needs(Arithmetic::as_scheme)); !room) return room;
    return x.reserve(rows, input_needs(Arithmetic::floats));
  }
  /// Bytes of memory for borrow(); SIZE_MAX where no memory could hold them.
  [[nodiscard]] std::size_t scratch_bytes(std::size_t rows) const {
    return Activations::scratch_bytes(rows, all_needs()).value_or(SIZE_MAX);
  }
  /// The same on memory of the caller's, which begins at a multiple of 64: `usage` where it is less than
  /// scratch_bytes(). Takes no memory.
  [[nodiscard]] Status borrow(Activations& x, std::size_t rows, std::span<std::byte> memory) const {
    return x.borrow(rows, all_needs(), memory);
  }

  /// y[m, out] = x[m, in] * W^T + bias, or what the epilogue makes of it, of the rows that `x` was given. Under an
  /// activation scheme each row of x is first rounded to what its codes stand for (InputRounder); under int8-token
  /// products run on the codes: those of amax / 127.5, where amax is the row's largest finite magnitude; NaN counts as
  /// 0 and Inf as the outermost code. Takes no memory. Errors: `bad_shape` where the rows do not fit, `usage` where
  /// reserve() was not called. The result does not depend on the context, nor on the other rows of x.
  [[nodiscard]] Status multiply(Activations& x, OutputRows y, const Context& context = {}, Epilogue epilogue = {},
                                Arithmetic arithmetic = Arithmetic::as_scheme) const {
    const InputRows& rows = x.rows();
    if (rows.cols() != in_features() || y.cols() != out_features() || rows.rows() != y.rows())
      return fail(ErrorCode::bad_shape,
                  "x is " + shape_text(rows.rows(), rows.cols()) + " and y " + shape_text(y.rows(), y.cols()) +
                      ", expected m x " + std::to_string(in_features()) + " and m x " + std::to_string(out_features()));
    if (rows.rows() == 0 || out_features() == 0) return {};
    const DefaultFpEnvironment standard;
    kernels::GemmArgs args{};
    args.weights = bytes().data();
    args.shape = &packed_.shape;
    args.m = rows.rows();
    y.set(args);
    args.bias = bias_.empty() ? nullptr : bias_.data();
    args.scale = epilogue.scale;
    args.accumulate = epilogue.accumulate;
    if (const Status ready = x.prepare(input_needs(arithmetic), args, context); !ready) return ready;
    run(args, gemm(arithmetic).member, context);
    return {};
  }

  /// The same, with memory of its own for the call; `out_of_memory` where there is none.
  [[nodiscard]] Status multiply(const InputRows& x, OutputRows y, const Context& context = {}, Epilogue epilogue = {},
                                Arithmetic arithmetic = Arithmetic::as_scheme) const {
    Activations activations;
    if (x.cols() == in_features())
      if (const Status room = reserve(activations, x.rows()); !room) return room;
    activations.assign(x);
    return multiply(activations, y, context, epilogue, arithmetic);
  }

  /// out[i, :] = row ids[i] of W: an embedding lookup. `usage` where an id is out of range.
  [[nodiscard]] Status gather(std::span<const std::int32_t> ids, MatrixView<float> out,
                              const Context& context = {}) const {
    if (out.rows() != ids.size() || out.cols() != in_features())
      return fail(ErrorCode::bad_shape, "out is " + shape_text(out.rows(), out.cols()) + ", expected " +
                                            shape_text(ids.size(), in_features()));
    for (const std::int32_t id : ids)
      if (id < 0 || static_cast<std::size_t>(id) >= out_features())
        return fail(ErrorCode::usage,
                    "id " + std::to_string(id) + " is not one of " + std::to_string(out_features()) + " rows");
    if (ids.empty()) return {};
    const DefaultFpEnvironment standard;
    if (packed_.columns.empty()) {
      gather_stored(ids, out, context);
      return {};
    }
    Matrix<float> stored(ids.size(), packed_.shape.k);
    gather_stored(ids, stored.view(), context);
    for (std::size_t i = 0; i < ids.size(); ++i)
      for (std::size_t c = 0; c < packed_.shape.k; ++c)
        if (packed_.columns[c] != kNoColumn) out(i, packed_.columns[c]) = stored(i, c);
    return {};
  }

 private:
  /// Groups beyond this could overflow the kernels' int32 sums: 65536 * 255 * 128 < 2^31.
  static constexpr std::size_t kMaxIntegerGroup = 65536;

  [[nodiscard]] static Status check_parts(std::size_t rows, const std::vector<float>& bias, const LayerInputs& inputs) {
    if (inputs.activation && !is_valid(*inputs.activation))
      return detail::bad_scheme(to_text(*inputs.activation), detail::kActivationHint);
    if (!(inputs.parameters.scale > 0.0f) || !is_finite(inputs.parameters.scale))
      return fail(ErrorCode::usage, "the scale of a layer's inputs is no finite number above 0");
    if (bias.empty() || bias.size() == rows) return {};
    return fail(ErrorCode::bad_shape,
                "a bias of " + std::to_string(bias.size()) + " elements, expected " + std::to_string(rows));
  }
  [[nodiscard]] static std::string shape_text(std::size_t rows, std::size_t cols) {
    return std::to_string(rows) + " x " + std::to_string(cols);
  }

  [[nodiscard]] const LayoutInfo& layout() const noexcept { return layout_info(packed_.shape.layout); }

  [[nodiscard]] std::optional<ActivationScheme> activation(Arithmetic arithmetic) const noexcept {
    return arithmetic == Arithmetic::as_scheme ? inputs_.activation : std::nullopt;
  }

  [[nodiscard]] std::array<InputNeeds, 2> all_needs() const noexcept {
    return {input_needs(Arithmetic::as_scheme), input_needs(Arithmetic::floats)};
  }
  [[nodiscard]] InputNeeds input_needs(Arithmetic arithmetic) const noexcept {
    const bool integers = runs_on_integers(arithmetic);
    return {.inputs = in_features(),
            .columns = packed_.columns,
            .stored = packed_.shape.k,
            .group = packed_.shape.group,
            .activation = activation(arithmetic),
            .parameters = inputs_.parameters,
            .integers = integers,
            .sums = (packed_.shape.has_zeros || packed_.shape.has_offsets) && !integers};
  }

  /// Columns are cut into runs of panels, and rows too where there are fewer runs than threads could use.
  void run(const kernels::GemmArgs& args, kernels::Gemm kernels::Kernels::*slot, const Context& context) const {
    const kernels::Gemm kernel = context.kernels().*slot;
    const std::size_t all = panels(packed_.shape);
    const std::size_t chunk = chunk_of(all, context);
    const std::size_t runs = ceil_div(all, chunk);
    const std::size_t blocks = row_blocks(args.m, runs, context);
    context.for_each(runs * blocks, [&](std::size_t i) noexcept {
      kernels::GemmArgs part = args;
      part.panel_begin = i % runs * chunk;
      part.panel_end = std::min(all, part.panel_begin + chunk);
      const std::size_t row = args.m * (i / runs) / blocks;
      part.m = args.m * (i / runs + 1) / blocks - row;
      skip_rows(part, row, kernels::generic::groups_of(packed_.shape));
      kernel(part);
    });
  }

  static void skip_rows(kernels::GemmArgs& args, std::size_t rows, std::size_t groups) noexcept {
    const auto skip = [](auto*& p, std::size_t elements) {
      if (p != nullptr) p += elements;
    };
    skip(args.a_f32, rows * args.lda);
    skip(args.a_s8, rows * args.lda);
    skip(args.a_scales, rows);
    skip(args.a_sums_f32, rows * groups);
    skip(args.a_sums_s32, rows * groups);
    skip(args.y, rows * args.ldy);
    skip(args.y16, rows * args.ldy);
  }

  void gather_stored(std::span<const std::int32_t> ids, MatrixView<float> out, const Context& context) const {
    (context.kernels().*layout().gather.member)({.weights = bytes().data(),
                                                 .shape = &packed_.shape,
                                                 .ids = ids.data(),
                                                 .count = ids.size(),
                                                 .out = out.data(),
                                                 .ldo = out.stride()});
  }

  /// Panels per task: enough for a kernel to run several panels side by side, few enough to balance threads.
  [[nodiscard]] static std::size_t chunk_of(std::size_t panels, const Context& context) noexcept {
    const std::size_t tasks = std::size_t{8} * context.concurrency();
    return std::max<std::size_t>(4, ceil_div(panels, tasks));
  }
  /// Blocks of rows for each run of panels: two tasks for each thread, but no fewer than 16 rows, for which weights are
  /// read once.
  [[nodiscard]] static std::size_t row_blocks(std::size_t m, std::size_t runs, const Context& context) noexcept {
    constexpr std::size_t kLeast = 16;
    const std::size_t tasks = std::size_t{2} * context.concurrency();
    if (context.concurrency() == 1 || runs >= tasks || m < 2 * kLeast) return 1;
    return std::min(m / kLeast, ceil_div(tasks, runs));
  }

  std::vector<float> bias_;
  LayerInputs inputs_;
  PackedWeight packed_;
  std::span<const unsigned char> borrowed_;  ///< where the bytes are someone else's
};

}  // namespace kvant
