// SPDX-License-Identifier: Apache-2.0
// The cases of `kvant bench` under Google Benchmark: bench_linear [--benchmark_OPTION=VALUE…] [NxK…]
// KVANT_TIER chooses the kernels, the processor affinity of the process (taskset) the number of threads.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "kvant/kernels/tiers.hpp"
#include "pipeline/bench_case.hpp"

namespace {

using namespace kvant;
using namespace kvant::pipeline;

constexpr double kLongestLimit = 0.5;  // seconds

/// Times one case; right after it its limits, for as long.
void run_case(benchmark::State& state, const BenchCase& c, Limits& limits) {
  if (const Status ok = c.check(); !ok) return state.SkipWithError(describe(ok.error()).c_str());
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state)
    if (const Status ok = c.run(); !ok) return state.SkipWithError(describe(ok.error()).c_str());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double calls = static_cast<double>(state.iterations());
  const double gops = c.operations * calls / seconds * 1e-9;
  const double gb_per_s = c.bytes * calls / seconds * 1e-9;
  const double length = std::min(seconds, kLongestLimit);
  state.counters["GOP/s"] = gops;
  state.counters["GB/s"] = gb_per_s;
  state.counters["percent_of_read"] = 100 * gb_per_s / limits.measure_read(length);
  if (const Peak* peak = c.arithmetic ? limits.peak_for(*c.arithmetic) : nullptr)
    state.counters["percent_of_peak"] = 100 * gops / limits.measure(*peak, length);
}

int run_shape(const LayerShape& shape, const BenchOptions& options, Limits& limits) {
  const auto cases = linear_cases(shape, options, runtime());
  if (!cases) return std::fprintf(stderr, "bench_linear: %s\n", describe(cases.error()).c_str()), 1;
  for (const BenchCase& c : *cases) {
    const std::string name =
        c.scheme + " " + std::to_string(c.n) + "x" + std::to_string(c.k) + " m:" + std::to_string(c.m);
    benchmark::RegisterBenchmark(name.c_str(), [&c, &limits](benchmark::State& state) { run_case(state, c, limits); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::ClearRegisteredBenchmarks();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  BenchOptions options;
  if (argc > 1) options.shapes.clear();
  for (int i = 1; i < argc; ++i) {
    const auto shape = parse_layer_shape(argv[i]);
    if (!shape) return std::fprintf(stderr, "bench_linear: %s\n", describe(shape.error()).c_str()), 2;
    options.shapes.push_back(*shape);
  }
  Limits limits(runtime());
  for (const LayerShape& shape : options.shapes)
    if (const int failed = run_shape(shape, options, limits); failed != 0) return failed;
  return 0;
}
