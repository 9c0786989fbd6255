// SPDX-License-Identifier: Apache-2.0
// How fast layers run here, and how close that comes to what this machine can do at all.
//
// Contenders take turns in one process, and next to every turn the machine's limits are measured for as long: a loop of
// the same kind of instruction on random data in registers, and a loop that reads memory. So a share of a limit stays
// true where clocks change or others work on the machine too. A result is compared with the generic tier's, bit for
// bit, before its time counts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/pipeline/progress.hpp"

namespace kvant::measure {

/// The size of a linear layer: n output features, k input features.
struct LayerShape {
  std::size_t n = 0;
  std::size_t k = 0;
  friend constexpr bool operator==(const LayerShape&, const LayerShape&) = default;
};

/// `NxK`, as `4096x4096`: n up to 1048576, k up to 65536. `usage` otherwise.
[[nodiscard]] Result<LayerShape> parse_layer_shape(std::string_view text);

/// The different shapes of a checkpoint's linear layers, in the order of its weights: of those that are quantized, or
/// else of those that `quantize` takes unless told otherwise. `no_model` where it has none.
[[nodiscard]] Result<std::vector<LayerShape>> layer_shapes(const io::Weights& weights);

/// Numbers of input rows, as `1,4,16`, each from 1 to 65536. `usage` otherwise.
[[nodiscard]] Result<std::vector<std::size_t>> parse_row_counts(std::string_view text);

struct BenchOptions {
  std::vector<LayerShape> shapes{{4096, 4096}, {14336, 4096}};
  std::vector<std::size_t> row_counts{1, 4, 16, 128, 512};
  std::string op = ".*";         ///< PCRE2: the whole of a kernel's name (`gemm_w4_s8`) or of a scheme (`int4-g128`)
  std::size_t rounds = 5;        ///< turns of each contender
  double seconds = 0.02;         ///< a turn repeats calls until this time has passed
  std::size_t weight_bytes = 0;  ///< each contender rotates copies of its weights, a layer at least 4, that together
                                 ///< take this; 0: what no cache holds
};

/// A contender's figures. Rates are those of the median turn; shares are medians of each turn's own share.
struct BenchRow {
  std::string op;                              ///< the kernel
  std::string scheme;                          ///< what the layer is stored as
  std::size_t n = 0, k = 0, m = 0;             ///< m: input rows; 0 for conversions between floats and codes
  double seconds_min = 0, seconds_median = 0;  ///< per call
  double gops = 0;                             ///< 2 * m * n * k operations per call; conversions: n * k weights
  std::string peak;                            ///< the instruction whose rate is the limit; empty where none fits
  std::optional<double> percent_of_peak;
  double gb_per_s = 0;  ///< of packed weights; conversions: of the floats, read or written
  double percent_of_read = 0;
  std::optional<double> times_fp32;  ///< how much faster than the fp32 layer of this run, turn by turn

  /// The share of the limit that binds: by the roofline, the nearer one.
  [[nodiscard]] double percent_of_limit() const noexcept {
    return percent_of_peak ? std::max(*percent_of_peak, percent_of_read) : percent_of_read;
  }
  [[nodiscard]] bool memory_bound() const noexcept { return percent_of_limit() == percent_of_read; }
};

/// The rate of one instruction, on all threads of the run.
struct BenchPeak {
  std::string_view name;
  double gops = 0;
};

/// What the threads of the run read per second, 10^9 bytes; none where the size of a cache is unknown.
struct BenchReads {
  std::optional<double> l2, l3;
  double memory = 0, memory_one_thread = 0;
};

struct BenchReport {
  std::string_view tier;
  unsigned threads = 0;
  std::vector<BenchPeak> peaks;
  BenchReads reads;
  std::vector<BenchRow> rows;
  double busy_elsewhere = 0;  ///< processors that other processes kept busy meanwhile
};

/// Measures fp32, bf16, int8 and int4 layers of every shape and number of rows, through Linear::multiply, so with the
/// quantization of activations; then conversions of every shape between floats and codes. Warns where the machine is
/// not idle. Errors: `usage` (op matches nothing, no rounds), `bad_pattern`, `threshold` (a kernel's result is not the
/// generic tier's), `interrupted`, `out_of_memory`.
[[nodiscard]] Result<BenchReport> bench(const BenchOptions& options, const Context& context,
                                        pipeline::Progress& progress);

}  // namespace kvant::measure
