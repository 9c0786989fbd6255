// SPDX-License-Identifier: Apache-2.0
// The limits that a contender is held against, measured by the threads that run it.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "bandwidth.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/measure/bench.hpp"
#include "peaks.hpp"

namespace kvant::measure {

class Limits {
 public:
  /// For the kernels and threads of `context`, which must outlive this. Throws std::bad_alloc.
  explicit Limits(const Context& context) : context_(&context) {}

  /// The fastest loop of that arithmetic among the instructions that the context's tier is compiled for; nullptr where
  /// there is none.
  [[nodiscard]] const Peak* peak_for(Arithmetic arithmetic) const noexcept;

  /// 10^9 operations per second of all threads over at least `seconds`. Contract: the processor has the instruction.
  [[nodiscard]] double measure(const Peak& peak, double seconds) const;
  /// 10^9 bytes per second that all threads read from memory over at least `seconds`.
  [[nodiscard]] double measure_read(double seconds) { return read_.memory(*context_, seconds) * 1e-9; }

  /// Medians of `rounds` measurements: every instruction that this processor has, and every level of memory.
  [[nodiscard]] std::vector<BenchPeak> all_peaks(std::size_t rounds, double seconds) const;
  [[nodiscard]] BenchReads all_reads(std::size_t rounds, double seconds);

 private:
  const Context* context_;
  ReadBandwidth read_;
};

/// The middle value, or the mean of the two in the middle. Contract: not empty.
[[nodiscard]] double median(std::vector<double> values);

}  // namespace kvant::measure
