// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "bench_case.hpp"
#include "bench_data.hpp"
#include "caches.hpp"
#include "io/name_pattern.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/core/number_text.hpp"
#include "kvant/core/rng.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/quant/encode.hpp"

namespace kvant::measure {
namespace {

constexpr std::array<std::string_view, 11> kSchemes{
    "fp32",
    "bf16",
    "int8-channel",
    "int8-channel/int8-token",
    "fp8_e4m3fn-channel",
    "mxfp8_e4m3fn",
    "fp6_e3m2-g32",
    "int4-g128",
    "int4-g128/int8-token",
    "int4-g32",
    "int4-g32/int8-token",
};
constexpr std::size_t kLeastCopies = 4;

// The generic tier takes about 3 ns per product where the compiler knows no FMA: some 10 ms per check.
constexpr std::size_t kCheckedProducts = std::size_t{4} << 20;
constexpr std::size_t kCheckedRows = 3;
constexpr std::size_t kCheckedFeatures = 96;

/// Inputs and outputs, shared by the cases of a shape, which run one at a time.
struct Activations {
  Matrix<float> x, y;
};

/// A layer, several times over, and one of a few of its output features that the generic tier can run in no time.
struct Layer {
  std::vector<Linear> copies;
  std::size_t next = 0;
  std::vector<std::size_t> features;
  Linear sample;
};

Matrix<float> gather(MatrixView<const float> from, std::span<const std::size_t> rows) {
  Matrix<float> out(rows.size(), from.cols());
  for (std::size_t i = 0; i < rows.size(); ++i) std::ranges::copy(from.row(rows[i]), out.row(i).begin());
  return out;
}

Result<Linear> make_linear(MatrixView<const float> w, const LayerScheme& scheme, const Context& context) {
  if (scheme.is_cast()) return Linear::from_float(w, scheme.weight.format, {}, context);
  auto q = quantize(w, scheme.weight, {}, context);
  if (!q) return propagate(q);
  return Linear::from({std::move(*q), {}, {scheme.activation, {}}}, context);
}

double bytes_of(const Linear& layer) { return static_cast<double>(layer.bytes().size()); }

/// One call with unwritable values in the sampled places, then those places bit by bit.
Status check(Layer& layer, std::string_view op, std::size_t m, Activations& data, const Context& context) {
  const std::vector<std::size_t> rows = spread(m, kCheckedRows);
  for (const std::size_t r : rows)
    for (const std::size_t f : layer.features) data.y(r, f) = std::numeric_limits<float>::quiet_NaN();
  const MatrixView<const float> x = data.x.view();
  if (const Status ok = layer.copies[0].multiply(x.rows(0, m), data.y.view().rows(0, m), context); !ok) return ok;
  Matrix<float> expected(rows.size(), layer.features.size());
  if (const Status ok = layer.sample.multiply(gather(x, rows).view(), expected.view()); !ok) return ok;
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::size_t j = 0; j < layer.features.size(); ++j) {
      const float found = data.y(rows[i], layer.features[j]);
      if (std::bit_cast<std::uint32_t>(found) == std::bit_cast<std::uint32_t>(expected(i, j))) continue;
      return fail(ErrorCode::threshold,
                  std::string(op) + " of tier " + context.kernels().tier + " is wrong on " +
                      to_text(layer.sample.scheme()) + ", " + std::to_string(layer.copies[0].out_features()) + "x" +
                      std::to_string(layer.copies[0].in_features()) + ", " + std::to_string(m) + " rows: row " +
                      std::to_string(rows[i]) + ", column " + std::to_string(layer.features[j]) + " is " +
                      number_text(found) + ", expected " + number_text(expected(i, j)) +
                      " as on the generic tier; this is a defect of kvant");
    }
  return {};
}

BenchCase make_case(const std::shared_ptr<Layer>& layer, std::size_t m, const std::shared_ptr<Activations>& data,
                    const Context& context) {
  const Linear& first = layer->copies[0];
  const std::string_view op = first.gemm().name;
  BenchCase c;
  c.op = op;
  c.scheme = to_text(first.scheme());
  c.n = first.out_features();
  c.k = first.in_features();
  c.m = m;
  c.arithmetic = first.runs_on_integers() ? Arithmetic::s8 : Arithmetic::f32;
  c.operations = 2.0 * static_cast<double>(m) * static_cast<double>(c.n) * static_cast<double>(c.k);
  c.bytes = bytes_of(first);
  c.run = [=, &context] {
    layer->next = (layer->next + 1) % layer->copies.size();
    const MatrixView<const float> x = data->x.view();
    return layer->copies[layer->next].multiply(x.rows(0, m), data->y.view().rows(0, m), context);
  };
  c.check = [=, &context] { return check(*layer, layer->copies[0].gemm().name, m, *data, context); };
  return c;
}

}  // namespace

Result<std::vector<BenchCase>> linear_cases(const LayerShape& shape, const BenchOptions& options,
                                            const Context& context) {
  const auto pattern = io::NamePattern::compile(options.op);
  if (!pattern) return propagate(pattern);
  std::vector<BenchCase> cases;
  if (options.row_counts.empty()) return cases;
  const std::size_t most = *std::ranges::max_element(options.row_counts);
  const auto data =
      std::make_shared<Activations>(Activations{synthetic(most, shape.k, 1, context), Matrix<float>(most, shape.n)});
  const Matrix<float> weight = synthetic(shape.n, shape.k, 1u << 20, context);
  const std::size_t enough = options.weight_bytes != 0 ? options.weight_bytes : beyond_caches();
  std::vector<std::shared_ptr<Layer>> layers;
  for (const std::string_view text : kSchemes) {
    const auto scheme = parse_layer_scheme(text);
    if (!scheme) return propagate(scheme);
    const auto layer = std::make_shared<Layer>();
    const std::size_t checked = kCheckedProducts / (shape.k * kCheckedRows);
    layer->features = spread(shape.n, std::clamp<std::size_t>(checked, 3, kCheckedFeatures));
    auto sample = make_linear(gather(weight.view(), layer->features).view(), *scheme, Context{});
    if (!sample) return propagate(sample);
    layer->sample = std::move(*sample);
    const auto by_op = pattern->matches(layer->sample.gemm().name);
    if (!by_op) return propagate(by_op);
    const auto by_scheme = pattern->matches(text);
    if (!by_scheme) return propagate(by_scheme);
    if (!*by_op && !*by_scheme) continue;
    auto whole = make_linear(weight.view(), *scheme, context);
    if (!whole) return propagate(whole);
    const auto copies = static_cast<std::size_t>(static_cast<double>(enough) / bytes_of(*whole)) + 1;
    layer->copies.assign(std::clamp(copies, kLeastCopies, kMostCopies), *whole);
    for (const Linear& copy : layer->copies) ask_for_huge_pages(copy.bytes().data(), copy.bytes().size());
    layers.push_back(layer);
  }
  for (const std::size_t m : options.row_counts)
    for (const auto& layer : layers) cases.push_back(make_case(layer, m, data, context));
  return cases;
}

}  // namespace kvant::measure
