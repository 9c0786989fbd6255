// SPDX-License-Identifier: Apache-2.0
#include "limits.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "caches.hpp"
#include "kernels/cpu_features.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/executor.hpp"
#include "kvant/kernels/tiers.hpp"

namespace kvant::measure {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kTurns = 32768;       ///< of a loop per task: about 0.1 ms
constexpr std::size_t kTasksPerThread = 4;  ///< between two looks at the clock

/// Whether each word of `few` stands among the words of `many`.
bool all_among(std::string_view few, std::string_view many) noexcept {
  const auto next_word = [](std::string_view& text) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    return word;
  };
  while (!few.empty()) {
    const std::string_view word = next_word(few);
    bool found = false;
    for (std::string_view rest = many; !rest.empty() && !found;) found = next_word(rest) == word;
    if (!found) return false;
  }
  return true;
}

std::string_view needs_of(std::string_view tier) noexcept {
  for (const kernels::Tier& t : kernels::tiers())
    if (t.name == tier) return t.needs;
  return "";
}

template <class Measure>
double median_of(std::size_t rounds, Measure measure) {
  std::vector<double> values;
  for (std::size_t r = 0; r < rounds; ++r) values.push_back(measure());
  return median(std::move(values));
}

}  // namespace

double median(std::vector<double> values) {
  expects(!values.empty(), "a median of something");
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

const Peak* Limits::peak_for(Arithmetic arithmetic) const noexcept {
  const Peak* best = nullptr;
  const std::string_view available = needs_of(context_->kernels().tier);
  for (const Peak& peak : peaks())
    if (peak.arithmetic == arithmetic && all_among(peak.needs, available)) best = &peak;
  return best;
}

double Limits::measure(const Peak& peak, double seconds) const {
  const std::size_t tasks = kTasksPerThread * context_->concurrency();
  double operations = 0;
  double elapsed = 0;
  const auto start = Clock::now();
  while (elapsed < seconds || operations == 0) {
    context_->for_each(tasks, [&](std::size_t) { run_peak(peak, kTurns); });
    operations += peak.operations * static_cast<double>(kTurns * tasks);
    elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  }
  return operations / elapsed * 1e-9;
}

std::vector<BenchPeak> Limits::all_peaks(std::size_t rounds, double seconds) const {
  std::vector<BenchPeak> all;
  for (const Peak& peak : peaks())
    if (kernels::has_features(peak.needs))
      all.push_back({peak.name, median_of(rounds, [&] { return measure(peak, seconds); })});
  return all;
}

BenchReads Limits::all_reads(std::size_t rounds, double seconds) {
  BenchReads reads;
  const std::size_t l2 = cache_bytes(2);
  const std::size_t l3 = cache_bytes(3);
  const auto cached = [&](std::size_t bytes) {
    return median_of(rounds, [&] { return read_.cached(bytes, *context_, seconds); }) * 1e-9;
  };
  if (l2 != 0) reads.l2 = cached(l2 / 2);
  if (l2 != 0 && l3 != 0) reads.l3 = cached(std::max(l3 / 2 / context_->concurrency(), 2 * l2));
  reads.memory = median_of(rounds, [&] { return measure_read(seconds); });
  SerialExecutor caller;
  const Context one(context_->kernels(), caller);
  reads.memory_one_thread = median_of(rounds, [&] { return read_.memory(one, seconds); }) * 1e-9;
  return reads;
}

}  // namespace kvant::measure
