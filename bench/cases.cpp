// SPDX-License-Identifier: Apache-2.0
// The cases of `kvant bench` under Google Benchmark: bench_cases [--benchmark_OPTION=VALUE…] [NxK]
// KVANT_TIER chooses the kernels, the processor affinity of the process (taskset) the number of threads.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iterator>
#include <string>
#include <vector>

#include "kvant/kernels/tiers.hpp"
#include "measure/bench_case.hpp"

namespace {

using namespace kvant;
using namespace kvant::measure;

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

std::string name_of(const BenchCase& c) {
  const std::string shape = std::to_string(c.n) + "x" + std::to_string(c.k);
  return c.m != 0 ? c.scheme + " " + shape + " m:" + std::to_string(c.m) : c.op + " " + c.scheme + " " + shape;
}

void register_case(const BenchCase& c, Limits& limits) {
  benchmark::RegisterBenchmark(name_of(c).c_str(),
                               [&c, &limits](benchmark::State& state) { run_case(state, c, limits); })
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const auto shape = parse_layer_shape(argc > 1 ? argv[1] : "4096x4096");
  if (!shape) return std::fprintf(stderr, "bench_cases: %s\n", describe(shape.error()).c_str()), 2;
  Limits limits(runtime());
  std::vector<BenchCase> cases;
  for (const auto make : {&linear_cases, &conversion_cases}) {
    auto made = make(*shape, {}, runtime());
    if (!made) return std::fprintf(stderr, "bench_cases: %s\n", describe(made.error()).c_str()), 1;
    std::ranges::move(*made, std::back_inserter(cases));
  }
  for (const BenchCase& c : cases) register_case(c, limits);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
