// SPDX-License-Identifier: Apache-2.0
#include "kvant/measure/bench.hpp"

#include <charconv>
#include <iterator>
#include <new>
#include <span>
#include <utility>

#include "bench_case.hpp"
#include "kvant/pipeline/plan.hpp"
#include "limits.hpp"
#include "machine_load.hpp"

namespace kvant::measure {
namespace {

constexpr std::size_t kMostRows = 65536;
constexpr std::size_t kMostInputs = 65536;
constexpr std::size_t kMostOutputs = std::size_t{1} << 20;
constexpr double kBusy = 0.05;  ///< processors at which a machine is not idle

/// A number from 1 to `most` at the front of `text`, which it takes off.
std::optional<std::size_t> take_number(std::string_view& text, std::size_t most) noexcept {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 1 || value > most) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, char c) noexcept {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

std::string in_quotes(std::string_view text) { return "'" + std::string(text.substr(0, 100)) + "'"; }

std::string one_decimal(double x) {
  const auto tenths = static_cast<long long>(x * 10 + 0.5);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

/// Cases of the same number of rows contend with each other.
Status measure_all(std::span<const BenchCase> cases, const BenchOptions& options, Limits& limits, const NextTurn& next,
                   BenchReport& report) {
  for (auto first = cases.begin(); first != cases.end();) {
    const auto last = std::find_if(first, cases.end(), [&](const BenchCase& c) { return c.m != first->m; });
    auto rows = measure(std::span(first, last), options, limits, next);
    if (!rows) return propagate(rows);
    std::move(rows->begin(), rows->end(), std::back_inserter(report.rows));
    first = last;
  }
  return {};
}

/// Layers, then conversions, so that the weights of only one kind are held.
Status bench_shape(const LayerShape& shape, const BenchOptions& options, const Context& context, Limits& limits,
                   const NextTurn& next, BenchReport& report) {
  for (const auto make : {&linear_cases, &conversion_cases}) {
    const auto cases = make(shape, options, context);
    if (!cases) return propagate(cases);
    if (const Status ok = measure_all(*cases, options, limits, next, report); !ok) return ok;
  }
  return {};
}

Result<BenchReport> bench_all(const BenchOptions& options, const Context& context, pipeline::Progress& progress) {
  if (options.rounds == 0) return fail(ErrorCode::usage, "0 rounds measure nothing, expected at least 1");
  for (const LayerShape& s : options.shapes)
    if (s.n == 0 || s.k == 0 || s.n > kMostOutputs || s.k > kMostInputs)
      return fail(ErrorCode::usage, "a shape is " + std::to_string(s.n) + "x" + std::to_string(s.k) +
                                        ", expected 1x1 to " + std::to_string(kMostOutputs) + "x" +
                                        std::to_string(kMostInputs));
  for (const std::size_t m : options.row_counts)
    if (m == 0 || m > kMostRows)
      return fail(ErrorCode::usage, std::to_string(m) + " input rows, expected 1 to " + std::to_string(kMostRows));
  const MachineLoad load;
  Limits limits(context);
  BenchReport report;
  report.tier = context.kernels().tier;
  report.threads = context.concurrency();
  const std::uint64_t total = options.shapes.size() * (options.row_counts.size() + 1);
  std::uint64_t done = 0;
  for (const LayerShape& shape : options.shapes) {
    const std::string name = std::to_string(shape.n) + "x" + std::to_string(shape.k);
    std::optional<std::size_t> rows;
    const NextTurn next = [&](const BenchCase& c) {
      if (rows != c.m) ++done;
      rows = c.m;
      return progress.advance(name + (c.m != 0 ? ", M = " + std::to_string(c.m) : ", conversions"), done - 1, total);
    };
    if (!progress.advance(name, done, total)) return fail(ErrorCode::interrupted, "interrupted");
    if (const Status ok = bench_shape(shape, options, context, limits, next, report); !ok) return propagate(ok);
  }
  if (report.rows.empty())
    return fail(ErrorCode::usage,
                "nothing to measure: " + in_quotes(options.op) + " is the name of no op and no scheme");
  if (!progress.advance("limits of the machine", total, total)) return fail(ErrorCode::interrupted, "interrupted");
  report.peaks = limits.all_peaks(options.rounds, options.seconds);
  report.reads = limits.all_reads(options.rounds, options.seconds);
  report.busy_elsewhere = load.busy_elsewhere();
  if (report.busy_elsewhere > kBusy)
    progress.warn("the machine is not idle: other processes kept " + one_decimal(report.busy_elsewhere) +
                  " processors busy, so times are too long and only shares of a limit mean something");
  return report;
}

}  // namespace

Result<LayerShape> parse_layer_shape(std::string_view text) {
  std::string_view rest = text;
  const auto n = take_number(rest, kMostOutputs);
  if (n && take(rest, 'x'))
    if (const auto k = take_number(rest, kMostInputs); k && rest.empty()) return LayerShape{*n, *k};
  return fail(ErrorCode::usage, in_quotes(text) + " is no shape; expected NxK, as 4096x4096, of at most " +
                                    std::to_string(kMostOutputs) + "x" + std::to_string(kMostInputs));
}

Result<std::vector<LayerShape>> layer_shapes(const io::Weights& weights) {
  const bool quantized =
      std::ranges::any_of(weights.list(), [](const io::WeightInfo& w) { return w.scheme.has_value(); });
  pipeline::Plan plan;
  if (!quantized) {
    auto made = pipeline::make_plan(weights, {{*parse_scheme("int8-channel"), {}}, {}});
    if (!made) return propagate(made);
    plan = std::move(*made);
  }
  std::vector<LayerShape> shapes;
  for (std::size_t i = 0; i < weights.list().size(); ++i) {
    const io::WeightInfo& w = weights.list()[i];
    if (quantized ? !w.scheme.has_value() : plan.tensors[i].action != pipeline::Action::quantize) continue;
    const LayerShape shape{w.rows(), w.cols()};
    const bool measurable = shape.n >= 1 && shape.n <= kMostOutputs && shape.k >= 1 && shape.k <= kMostInputs;
    if (measurable && std::ranges::find(shapes, shape) == shapes.end()) shapes.push_back(shape);
  }
  if (shapes.empty())
    return fail(ErrorCode::no_model, "has no linear layers to measure", {weights.path_text(), {}, {}});
  return shapes;
}

Result<std::vector<std::size_t>> parse_row_counts(std::string_view text) {
  std::vector<std::size_t> counts;
  std::string_view rest = text;
  do {
    const auto count = take_number(rest, kMostRows);
    if (!count || std::ranges::find(counts, *count) != counts.end())
      return fail(ErrorCode::usage, in_quotes(text) + " is no list of different numbers from 1 to " +
                                        std::to_string(kMostRows) + ", as 1,4,16");
    counts.push_back(*count);
  } while (take(rest, ','));
  if (!rest.empty()) return fail(ErrorCode::usage, in_quotes(text) + " is no list of numbers, as 1,4,16");
  return counts;
}

Result<BenchReport> bench(const BenchOptions& options, const Context& context, pipeline::Progress& progress) try {
  return bench_all(options, context, progress);
} catch (const std::bad_alloc&) {
  return fail(ErrorCode::out_of_memory,
              "no memory for the copies of the weights; measure smaller shapes, or fewer ops");
}

}  // namespace kvant::measure
