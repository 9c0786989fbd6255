// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>

#include "bench_case.hpp"

namespace kvant::measure {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kLongestPeak = 0.5;  ///< seconds; heat shows within this time

/// What the turns of a case gave.
struct Samples {
  std::vector<double> seconds, of_peak, of_read;
};

struct Turn {
  double seconds;  ///< per call
  double total;
};

Result<Turn> take_turn(const BenchCase& c, double at_least) {
  std::size_t calls = 0;
  double elapsed = 0;
  const auto start = Clock::now();
  while (elapsed < at_least || calls == 0) {
    if (const Status ok = c.run(); !ok) return propagate(ok);
    ++calls;
    elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  }
  return Turn{elapsed / static_cast<double>(calls), elapsed};
}

/// A turn and, right after it and for as long, its limits.
Status take_sample(const BenchCase& c, const BenchOptions& options, Limits& limits, Samples& samples) {
  const auto turn = take_turn(c, options.seconds);
  if (!turn) return propagate(turn);
  samples.seconds.push_back(turn->seconds);
  if (const Peak* peak = c.arithmetic ? limits.peak_for(*c.arithmetic) : nullptr) {
    const double rate = limits.measure(*peak, std::min(turn->total, kLongestPeak));
    samples.of_peak.push_back(c.operations / turn->seconds * 1e-9 / rate);
  }
  samples.of_read.push_back(c.bytes / turn->seconds * 1e-9 / limits.measure_read(options.seconds));
  return {};
}

/// How much faster a case is than the reference, from pairs of turns that followed each other.
std::optional<double> times_faster(const Samples* reference, const Samples& samples) {
  if (reference == nullptr) return std::nullopt;
  std::vector<double> ratios;
  for (std::size_t r = 0; r < samples.seconds.size(); ++r) ratios.push_back(reference->seconds[r] / samples.seconds[r]);
  return median(std::move(ratios));
}

BenchRow row_of(const BenchCase& c, const Samples& samples, const Samples* reference, const Limits& limits) {
  BenchRow row;
  row.op = c.op;
  row.scheme = c.scheme;
  row.n = c.n;
  row.k = c.k;
  row.m = c.m;
  row.seconds_min = *std::ranges::min_element(samples.seconds);
  row.seconds_median = median(samples.seconds);
  row.gops = c.operations / row.seconds_median * 1e-9;
  row.gb_per_s = c.bytes / row.seconds_median * 1e-9;
  row.percent_of_read = 100 * median(samples.of_read);
  if (!samples.of_peak.empty()) {
    row.peak = limits.peak_for(*c.arithmetic)->name;
    row.percent_of_peak = 100 * median(samples.of_peak);
  }
  row.times_fp32 = times_faster(reference, samples);
  return row;
}

}  // namespace

Result<std::vector<BenchRow>> measure(std::span<const BenchCase> cases, const BenchOptions& options, Limits& limits,
                                      const NextTurn& next) {
  for (const BenchCase& c : cases)
    if (const Status ok = c.check(); !ok) return propagate(ok);
  std::vector<Samples> samples(cases.size());
  for (std::size_t round = 0; round < options.rounds; ++round)
    for (std::size_t i = 0; i < cases.size(); ++i) {
      if (!next(cases[i])) return fail(ErrorCode::interrupted, "interrupted");
      if (const Status ok = take_sample(cases[i], options, limits, samples[i]); !ok) return propagate(ok);
    }
  const auto fp32 = std::ranges::find(cases, "fp32", &BenchCase::scheme);
  const Samples* reference = fp32 != cases.end() ? &samples[static_cast<std::size_t>(fp32 - cases.begin())] : nullptr;
  std::vector<BenchRow> rows;
  for (std::size_t i = 0; i < cases.size(); ++i) rows.push_back(row_of(cases[i], samples[i], reference, limits));
  return rows;
}

}  // namespace kvant::measure
