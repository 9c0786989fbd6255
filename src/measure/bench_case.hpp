// SPDX-License-Identifier: Apache-2.0
// Contenders, and the rounds in which they are measured.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/measure/bench.hpp"
#include "limits.hpp"

namespace kvant::measure {

/// One contender: what a call does, what that takes, and how to know that it is right.
struct BenchCase {
  std::string op;      ///< the kernel
  std::string scheme;  ///< what it works on; `fp32` is what the others are compared with
  std::size_t n = 0, k = 0, m = 0;
  std::optional<Arithmetic> arithmetic;  ///< whose peak is its limit
  double operations = 0;                 ///< multiplications and additions of a call
  double bytes = 0;                      ///< that a call has to read from memory
  std::function<Status()> run;           ///< one call; the next one takes another copy of the data
  std::function<Status()> check;         ///< one call whose result is compared; `threshold` where it is wrong
};

/// fp32, bf16, int8 and int4 layers of synthetic weights, those that options.op names, for every number of rows. All of
/// them are held at once; each rotates over copies of options.weight_bytes. `context` must outlive them.
[[nodiscard]] Result<std::vector<BenchCase>> linear_cases(const LayerShape& shape, const BenchOptions& options,
                                                          const Context& context);

/// Conversions between floats and codes of synthetic weights, those that options.op names: encoding with plain scales,
/// decoding, and quantizing with searched scales. Bytes are those of the floats, operations are weights. Likewise.
[[nodiscard]] Result<std::vector<BenchCase>> conversion_cases(const LayerShape& shape, const BenchOptions& options,
                                                              const Context& context);

/// Called before each turn; false ends the measurement with `interrupted`.
using NextTurn = std::function<bool(const BenchCase&)>;

/// Checks every case, then measures all of them in turns, options.rounds times.
[[nodiscard]] Result<std::vector<BenchRow>> measure(std::span<const BenchCase> cases, const BenchOptions& options,
                                                    Limits& limits, const NextTurn& next);

}  // namespace kvant::measure
