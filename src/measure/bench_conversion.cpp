// SPDX-License-Identifier: Apache-2.0
// Contenders between floats and codes: encoding with plain scales, decoding, and searching scales.
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "bench_case.hpp"
#include "bench_data.hpp"
#include "caches.hpp"
#include "io/name_pattern.hpp"
#include "kvant/quant/encode.hpp"

namespace kvant::measure {
namespace {

constexpr std::array<std::string_view, 20> kSchemes{"fp16",
                                                    "bf16",
                                                    "fp8_e4m3fn-channel",
                                                    "fp8_e5m2-channel",
                                                    "fp6_e3m2-channel",
                                                    "fp6_e2m3-channel",
                                                    "fp4_e2m1-g32",
                                                    "int8-channel",
                                                    "int4-g128",
                                                    "int4-g32",
                                                    "int3-g64",
                                                    "int2-g64",
                                                    "nf4-g64",
                                                    "iq4_nl-g32",
                                                    "mxfp8_e4m3fn",
                                                    "mxfp4",
                                                    "mxint8",
                                                    "nvfp4",
                                                    "is4",
                                                    "is2"};
constexpr std::array<std::string_view, 8> kSearched{"int8-channel", "int4-g128", "int4-g32", "nf4-g64",
                                                    "mxfp4",        "nvfp4",     "is4",      "is2"};
constexpr std::size_t kLeastCopies = 2;
constexpr std::size_t kCheckedWeights = std::size_t{1} << 16;
constexpr std::size_t kSearchedWeights = std::size_t{1} << 17;
constexpr std::size_t kRowsPerTask = 16;

/// Floats that no cache holds, read and written in turn by the cases of a shape, which run one at a time.
struct Floats {
  std::vector<Matrix<float>> in, out;
  std::size_t next = 0;
  std::size_t turn() noexcept { return next = (next + 1) % in.size(); }
};

bool is_half(std::string_view scheme) { return scheme == "fp16" || scheme == "bf16"; }

/// Contract: the text is one of those above.
Scheme scheme_of(std::string_view text) { return *parse_scheme(text); }

std::string_view kind_of(std::string_view scheme) {
  const FormatInfo& format = scheme_of(scheme).info();
  return format.thresholds != nullptr ? "codebook" : format.kind == FormatKind::integer ? "integer" : "minifloat";
}

/// Names of the kernels that do most of the work.
std::string encoder_of(std::string_view scheme) {
  return is_half(scheme) ? "narrow_" + std::string(scheme) : "encode_" + std::string(kind_of(scheme));
}
std::string decoder_of(std::string_view scheme) {
  return is_half(scheme) ? "widen_" + std::string(scheme) : std::string("decode");
}
std::string searcher_of(std::string_view scheme) { return "fit_" + std::string(kind_of(scheme)); }

/// What a scheme makes of a row, which it keeps, and back; and whether that is what the generic tier would have made.
struct Conversion {
  std::string_view scheme;
  std::function<void(MatrixView<const float>, std::size_t)> encode;
  std::function<void(std::size_t, std::span<float>)> decode;
  std::function<bool(MatrixView<const float>, std::size_t)> is_encoded;
  std::function<bool(std::size_t, std::span<const float>)> is_decoded;
};

template <class T>
bool same_bytes(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

Conversion half_conversion(std::string_view scheme, std::size_t rows, std::size_t cols, const Context& context) {
  using kernels::Kernels;
  const bool is_fp16 = scheme == "fp16";
  const auto narrow = is_fp16 ? &Kernels::narrow_fp16 : &Kernels::narrow_bf16;
  const auto widen = is_fp16 ? &Kernels::widen_fp16 : &Kernels::widen_bf16;
  const auto codes = std::make_shared<std::vector<std::uint16_t>>(rows * cols);
  ask_for_huge_pages(codes->data(), codes->size() * sizeof(std::uint16_t));
  const Kernels& fast = context.kernels();
  const Kernels& slow = kernels::generic::kTable;
  const auto row_of = [=](std::size_t r) { return std::span(*codes).subspan(r * cols, cols); };
  return {scheme,
          [=, &fast](MatrixView<const float> x, std::size_t r) {
            (fast.*narrow)({x.row(r).data(), cols, row_of(r).data()});
          },
          [=, &fast](std::size_t r, std::span<float> out) {
            (fast.*widen)({row_of(r).data(), cols, out.data()});
          },
          [=, &slow](MatrixView<const float> x, std::size_t r) {
            std::vector<std::uint16_t> expected(cols);
            (slow.*narrow)({x.row(r).data(), cols, expected.data()});
            return same_bytes<std::uint16_t>(row_of(r), expected);
          },
          [=, &slow](std::size_t r, std::span<const float> found) {
            std::vector<float> expected(cols);
            (slow.*widen)({row_of(r).data(), cols, expected.data()});
            return same_bytes<float>(found, expected);
          }};
}

/// Schemes whose scales each lie in one row.
Result<Conversion> grid_conversion(std::string_view text, MatrixView<const float> x, const Context& context) {
  const Scheme scheme = scheme_of(text);
  auto quantized = quantize(x, scheme, {}, context);
  if (!quantized) return propagate(quantized);
  const auto q = std::make_shared<QMatrix>(std::move(*quantized));
  ask_for_huge_pages(q->codes.data(), q->codes.size());
  const auto grid_on = [&](const kernels::Kernels& table) {
    const Grid grid(scheme, table);
    return scheme.scales.has_matrix_number() ? grid.under(q->scales[1].values[0], q->reciprocal) : grid;
  };
  const Grid fast = grid_on(context.kernels());
  const Grid slow = grid_on(kernels::generic::kTable);
  const auto encode = [q](const Grid& grid, MatrixView<const float> weight, std::size_t r) {
    return detail::quantize_band(grid, detail::band_at(weight, q->scheme.granularity, r), {}, *q).has_value();
  };
  return Conversion{text,
                    [=](MatrixView<const float> weight, std::size_t r) { static_cast<void>(encode(fast, weight, r)); },
                    [=](std::size_t r, std::span<float> out) { dequantize_row(*q, fast, r, out); },
                    [=](MatrixView<const float> weight, std::size_t r) {
                      const auto row = [&] { return std::span(q->codes).subspan(r * q->cols, q->cols); };
                      const std::vector<std::uint8_t> codes(row().begin(), row().end());
                      const std::vector<float> scales = q->scales[0].values;
                      const std::vector<std::int16_t> zeros = q->zero_points;
                      return encode(slow, weight, r) && std::ranges::equal(codes, row()) &&
                             scales == q->scales[0].values && zeros == q->zero_points;
                    },
                    [=](std::size_t r, std::span<const float> found) {
                      std::vector<float> expected(found.size());
                      dequantize_row(*q, slow, r, std::span(expected));
                      return same_bytes<float>(found, expected);
                    }};
}

/// Calls body(row) for every row, in tasks of some rows each.
template <class Body>
void for_each_row(std::size_t rows, const Context& context, Body body) {
  context.for_each(ceil_div(rows, kRowsPerTask), [&](std::size_t task) {
    for (std::size_t r = task * kRowsPerTask; r < std::min(rows, (task + 1) * kRowsPerTask); ++r) body(r);
  });
}

BenchCase blank_case(std::string_view op, std::string_view scheme, std::size_t n, std::size_t k) {
  BenchCase c;
  c.op = op;
  c.scheme = scheme;
  c.n = n;
  c.k = k;
  c.operations = static_cast<double>(n * k);
  c.bytes = 4 * c.operations;
  return c;
}

/// One call, then some rows: a case's check.
template <class IsRight>
std::function<Status()> check_of(const BenchCase& c, const Context& context, IsRight is_right) {
  return [=, op = c.op, scheme = c.scheme, n = c.n, k = c.k, run = c.run, &context]() -> Status {
    if (const Status ok = run(); !ok) return ok;
    for (const std::size_t r : spread(n, std::max<std::size_t>(kCheckedWeights / k, 3)))
      if (!is_right(r))
        return fail(ErrorCode::threshold, op + " of tier " + context.kernels().tier + " is wrong on " + scheme +
                                              ", row " + std::to_string(r) + "; this is a defect of kvant");
    return {};
  };
}

BenchCase encode_case(const std::shared_ptr<Conversion>& conversion, const std::shared_ptr<Floats>& floats,
                      const Context& context) {
  const std::size_t n = floats->in[0].rows();
  BenchCase c = blank_case(encoder_of(conversion->scheme), conversion->scheme, n, floats->in[0].cols());
  c.run = [=, &context]() -> Status {
    const MatrixView<const float> x = floats->in[floats->turn()].view();
    for_each_row(n, context, [&](std::size_t r) { conversion->encode(x, r); });
    return {};
  };
  c.check =
      check_of(c, context, [=](std::size_t r) { return conversion->is_encoded(floats->in[floats->next].view(), r); });
  return c;
}

BenchCase decode_case(const std::shared_ptr<Conversion>& conversion, const std::shared_ptr<Floats>& floats,
                      const Context& context) {
  const std::size_t n = floats->in[0].rows();
  BenchCase c = blank_case(decoder_of(conversion->scheme), conversion->scheme, n, floats->in[0].cols());
  c.run = [=, &context]() -> Status {
    const MatrixView<float> y = floats->out[floats->turn()].view();
    for_each_row(n, context, [&](std::size_t r) { conversion->decode(r, y.row(r)); });
    return {};
  };
  c.check =
      check_of(c, context, [=](std::size_t r) { return conversion->is_decoded(r, floats->out[floats->next].row(r)); });
  return c;
}

BenchCase search_case(std::string_view text, const std::shared_ptr<Floats>& floats, const Context& context) {
  const Scheme scheme = scheme_of(text);
  const std::size_t k = floats->in[0].cols();
  const std::size_t n = std::clamp<std::size_t>(kSearchedWeights / k, 1, floats->in[0].rows());
  BenchCase c = blank_case(searcher_of(text), text, n, k);
  QuantizeOptions options;
  options.search = true;
  const auto result = std::make_shared<QMatrix>();
  c.run = [=, &context]() -> Status {
    auto q = quantize(floats->in[0].view().rows(0, n), scheme, options, context);
    if (!q) return propagate(q);
    *result = std::move(*q);
    return {};
  };
  const auto expected = std::make_shared<QMatrix>();
  c.check = check_of(c, context, [=](std::size_t r) {
    if (expected->codes.empty())
      *expected = quantize(floats->in[0].view().rows(0, n), scheme, options).value_or(QMatrix{});
    const std::size_t first = r * k;
    return std::ranges::equal(expected->scales, result->scales, {}, &ScaleLevel::values, &ScaleLevel::values) &&
           expected->zero_points == result->zero_points &&
           same_bytes<std::uint8_t>(std::span(expected->codes).subspan(first, k),
                                    std::span(result->codes).subspan(first, k));
  });
  return c;
}

}  // namespace

Result<std::vector<BenchCase>> conversion_cases(const LayerShape& shape, const BenchOptions& options,
                                                const Context& context) {
  const auto pattern = io::NamePattern::compile(options.op);
  if (!pattern) return propagate(pattern);
  Status failed;
  const auto wanted = [&](std::string_view name) {
    const auto matched = pattern->matches(name);
    if (!matched) failed = propagate(matched);
    return matched.value_or(false);
  };
  const auto floats = std::make_shared<Floats>();
  const auto fill_once = [&] {
    const std::size_t enough = options.weight_bytes != 0 ? options.weight_bytes : beyond_caches();
    const std::size_t copies =
        std::clamp(ceil_div(enough, shape.n * shape.k * sizeof(float)), kLeastCopies, kMostCopies);
    for (std::size_t i = floats->in.size(); i < copies; ++i) {
      floats->in.push_back(synthetic(shape.n, shape.k, (1 + i) << 20, context));
      floats->out.emplace_back(shape.n, shape.k);
      ask_for_huge_pages(floats->out.back().data(), shape.n * shape.k * sizeof(float));
    }
  };
  std::vector<BenchCase> cases, decoders;
  for (const std::string_view scheme : kSchemes) {
    const bool encodes = wanted(scheme) || wanted(encoder_of(scheme));
    const bool decodes = wanted(scheme) || wanted(decoder_of(scheme));
    if (!encodes && !decodes) continue;
    fill_once();
    auto conversion = is_half(scheme) ? half_conversion(scheme, shape.n, shape.k, context)
                                      : grid_conversion(scheme, floats->in[0].view(), context);
    if (!conversion) return propagate(conversion);
    const auto shared = std::make_shared<Conversion>(std::move(*conversion));
    if (encodes) cases.push_back(encode_case(shared, floats, context));
    if (decodes) decoders.push_back(decode_case(shared, floats, context));
  }
  std::ranges::move(decoders, std::back_inserter(cases));
  for (const std::string_view scheme : kSearched) {
    if (!wanted(scheme) && !wanted(searcher_of(scheme))) continue;
    fill_once();
    cases.push_back(search_case(scheme, floats, context));
  }
  if (!failed) return propagate(failed);
  return cases;
}

}  // namespace kvant::measure
