// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "console.hpp"
#include "kvant/io/atomic_file.hpp"
#include "kvant/io/npy.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/passes/rtn.hpp"
#include "verbs.hpp"

namespace kvant::cli {
namespace {

namespace fs = std::filesystem;

/// A weight on the line: an array, or a tensor of a checkpoint.
struct WeightSource {
  fs::path path;
  std::string tensor;  ///< empty for an array
};

/// What exists under the whole name is an array; otherwise the last ':' ends the checkpoint's name.
Result<WeightSource> parse_source(std::string_view name, const std::string& text) {
  std::error_code ignored;
  const std::size_t colon = text.rfind(':');
  if (text.empty() || text == "-") return fail(ErrorCode::usage, fmt::format("{}: '{}' names no file", name, text));
  if (colon == std::string::npos || fs::exists(text, ignored)) return WeightSource{text, ""};
  if (colon == 0 || colon + 1 == text.size())
    return fail(ErrorCode::usage, fmt::format("{}: '{}' is neither MODEL:TENSOR nor a file", name, text));
  return WeightSource{text.substr(0, colon), text.substr(colon + 1)};
}

Where where_of(const WeightSource& source) { return {source.path.string(), source.tensor, {}}; }

Result<Matrix<float>> read_matrix(const fs::path& path, std::string_view letters) {
  const auto array = io::read_npy(path);
  if (!array) return propagate(array);
  if (array->shape.size() != 2)
    return fail(ErrorCode::bad_shape,
                fmt::format("has {} dimensions, expected the 2 of [{}]", array->shape.size(), letters),
                io::where_of(path));
  auto values = array->to_floats();
  if (!values) return propagate(values);
  return Matrix<float>(static_cast<std::size_t>(array->shape[0]), static_cast<std::size_t>(array->shape[1]),
                       std::move(*values));
}

Status check_finite(MatrixView<const float> x, std::string_view why, const Where& where) {
  for (std::size_t r = 0; r < x.rows(); ++r)
    for (std::size_t c = 0; c < x.cols(); ++c)
      if (!is_finite(x(r, c)))
        return fail(ErrorCode::nonfinite,
                    fmt::format("{} at row {}, column {}, expected finite numbers {}", is_nan(x(r, c)) ? "NaN" : "Inf",
                                r, c, why),
                    where);
  return {};
}

tl::unexpected<Error> beyond_storage(std::size_t count, const WeightSource& source) {
  return fail(ErrorCode::scale_overflow,
              fmt::format("{} scales or values exceed their storage type; another one (-scale:fp32) holds them", count),
              where_of(source));
}

/// fp32, bf16 or fp16; the last has no layout of its own and runs as its values in fp32.
Result<Linear> cast_layer(MatrixView<const float> w, const FormatInfo& format, const WeightSource& source) {
  Matrix<float> rounded(w.rows(), w.cols());
  std::size_t overflows = 0;
  for (std::size_t r = 0; r < w.rows(); ++r)
    for (std::size_t c = 0; c < w.cols(); ++c) {
      rounded(r, c) = format.decode(format.encode(w(r, c), {Rounding::nearest_even, Overflow::ieee, 0}));
      if (!is_finite(rounded(r, c))) ++overflows;
    }
  if (overflows != 0) return beyond_storage(overflows, source);
  return Linear::from_float(rounded.view(), format.name == "bf16" ? format_id<bf16> : format_id<fp32>);
}

/// A float weight under a scheme, as `kvant quantize` would store it; without one it stays as it is.
Result<Linear> make_layer(MatrixView<const float> w, FormatId kept, const std::optional<LayerScheme>& scheme,
                          const WeightSource& source, const Context& context) {
  if (!scheme) return Linear::from_float(w, kept, {}, context);
  if (const Status ok = check_finite(w, "where a weight is stored anew", where_of(source)); !ok) return propagate(ok);
  if (scheme->is_cast()) return cast_layer(w, scheme->weight.info(), source);
  auto layer = Rtn{}({source.tensor, w}, *scheme, context);
  if (!layer) return propagate(layer);
  if (layer->weight.clamped_scales != 0) return beyond_storage(layer->weight.clamped_scales, source);
  return Linear::from(*layer, context);
}

/// What a layer's scheme refers to.
using Codebooks = std::vector<std::shared_ptr<const RuntimeCodebook>>;

Result<Linear> read_tensor(const WeightSource& source, const std::optional<LayerScheme>& scheme, const Context& context,
                           Codebooks& codebooks) {
  const auto weights = io::Weights::open(source.path);
  if (!weights) return propagate(weights);
  codebooks = weights->info().codebooks;
  const io::WeightInfo* weight = weights->find(source.tensor);
  if (weight == nullptr)
    return fail(ErrorCode::missing_tensor, "is not in the checkpoint; 'kvant inspect' lists what is", where_of(source));
  if (weight->shape.size() != 2)
    return fail(ErrorCode::bad_shape, fmt::format("has {} dimensions, expected the 2 of [n, k]", weight->shape.size()),
                where_of(source));
  if (!weight->is_quantized()) {
    const auto values = weights->read_float(*weight);
    if (!values) return propagate(values);
    const FormatId kept = weight->dtype == DType::bf16 ? format_id<bf16> : format_id<fp32>;
    return make_layer(values->view(), kept, scheme, source, context);
  }
  if (scheme && *scheme != *weight->scheme)
    return fail(ErrorCode::usage,
                fmt::format("is stored as {}, --scheme asks for {}; 'kvant dequantize' makes floats of it",
                            to_text(*weight->scheme), to_text(*scheme)),
                where_of(source));
  auto codes = weights->read_quantized(*weight);
  if (!codes) return propagate(codes);
  return Linear::from({std::move(*codes), {}, weights->layer_inputs(*weight)}, context);
}

Result<Linear> read_weight(const WeightSource& source, const std::optional<LayerScheme>& scheme, const Context& context,
                           Codebooks& codebooks) {
  if (!source.tensor.empty()) return read_tensor(source, scheme, context, codebooks);
  const auto values = read_matrix(source.path, "n, k");
  if (!values) return propagate(values);
  return make_layer(values->view(), format_id<fp32>, scheme, source, context);
}

class Gemm final : public Command {
 public:
  void define(Options& options) override {
    options.path({"--a", "A.npy", "the inputs, [m, k]"}, a_, Need::required);
    options.custom({"--w", "MODEL:TENSOR|W.npy", "the weight, [n, k]: of a checkpoint, or an array"}, Need::required,
                   "", false, [this](std::string_view name, const std::string& text) -> Status {
                     auto source = parse_source(name, text);
                     if (!source) return propagate(source);
                     source_ = std::move(*source);
                     return {};
                   });
    options.custom({"--scheme", "S", "how to store a float weight, as int4-g128 (kvant list schemes)"}, Need::optional,
                   "as it is", false, [this](std::string_view, const std::string& text) -> Status {
                     const auto scheme = parse_layer_scheme(text);
                     if (!scheme) return propagate(scheme);
                     scheme_ = *scheme;
                     return {};
                   });
    options.path({"-o,--output", "Y.npy", "A times the transpose of W, [m, n] of float32"}, output_, Need::required);
    options.flag({"--force", "", "replace an output that exists"}, force_);
  }

  Status run(Console& console) override {
    const io::OutputMode mode = force_ ? io::OutputMode::replace : io::OutputMode::refuse;
    const fs::path inputs[] = {a_, source_.path};
    if (const Status ok = io::check_output(inputs, output_, io::OutputKind::file, mode); !ok) return ok;
    const auto runtime = make_runtime(console.options());
    if (!runtime) return propagate(runtime);
    const Context& context = runtime->context();
    const auto a = read_matrix(a_, "m, k");
    if (!a) return propagate(a);
    Codebooks codebooks;
    const auto layer = read_weight(source_, scheme_, context, codebooks);
    if (!layer) return propagate(layer);
    if (a->cols() != layer->in_features())
      return fail(ErrorCode::bad_shape,
                  fmt::format("is {} x {}, expected m x {} for a weight of {} x {}", a->rows(), a->cols(),
                              layer->in_features(), layer->out_features(), layer->in_features()),
                  io::where_of(a_));
    if (layer->scheme().activation)
      if (const Status ok = check_finite(a->view(), "where activations are quantized", io::where_of(a_)); !ok)
        return ok;
    Matrix<float> y(a->rows(), layer->out_features());
    if (const Status ok = layer->multiply(a->view(), y.view(), context); !ok) return ok;
    const std::uint64_t shape[] = {y.rows(), y.cols()};
    if (const Status ok = io::write_npy(output_, {y.data(), y.size()}, shape, mode); !ok) return ok;
    print(*layer, y.rows(), context.kernels().tier, console);
    return {};
  }

 private:
  static void print(const Linear& layer, std::size_t m, std::string_view tier, Console& console) {
    const std::string_view op = layer.gemm().name;
    if (console.json()) {
      io::Json json = document("gemm");
      json.set("n", layer.out_features()).set("k", layer.in_features()).set("m", m).set("tier", tier).set("op", op);
      json.set("scheme", to_text(layer.scheme()));
      console.print_json(json);
    } else {
      console.print(fmt::format("{} x {} times {} x {}, {} by {} of tier {}\n", m, layer.in_features(),
                                layer.in_features(), layer.out_features(), to_text(layer.scheme()), op, tier));
    }
  }

  fs::path a_, output_;
  WeightSource source_;
  std::optional<LayerScheme> scheme_;
  bool force_ = false;
};

}  // namespace

constinit const Verb kGemm{
    "gemm",
    "--a A.npy --w MODEL:TENSOR|W.npy -o Y.npy",
    "Multiplies arrays by a weight as a layer does: Y = A W^T, on packed weights.",
    {"kvant gemm --a a.npy --w tiny-int4:model.layers.0.mlp.up_proj.weight -o y.npy",
     "kvant gemm --a a.npy --w w.npy --scheme int8-channel/int8-token -o y.npy --json"},
    [] { return std::unique_ptr<Command>(std::make_unique<Gemm>()); },
};

}  // namespace kvant::cli
