// SPDX-License-Identifier: Apache-2.0
// Checkpoint in, checkpoint out: quantize and dequantize, streaming, atomically.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/atomic_file.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/passes/passes.hpp"
#include "kvant/pipeline/plan.hpp"
#include "kvant/pipeline/progress.hpp"
#include "kvant/quant/distortion.hpp"
#include "kvant/quant/encode.hpp"

namespace kvant::pipeline {

/// What different schemes are in matrices that engines join, as q, k and v of a layer.
enum class Join : std::uint8_t { warn, error };

struct QuantizeJob {
  std::filesystem::path input;
  std::filesystem::path output;
  PlanOptions plan;
  AnyQuantizer method{};  ///< with its options; round-to-nearest unless another is chosen
  NonFinite nonfinite = NonFinite::error;
  Join join = Join::warn;
  io::OutputMode mode = io::OutputMode::refuse;
  bool dry_run = false;  ///< plan and sizes only
};

struct TensorReport {
  TensorPlan plan;
  std::vector<std::uint64_t> shape;
  std::uint64_t stored_bits = 0;  ///< of a quantized tensor
  Distortion distortion;          ///< of a quantized or cast tensor, as the file stores it, over what is finite
  std::uint64_t nonfinite = 0;    ///< NaN and Inf of a quantized or cast tensor, which became 0 or were kept
  std::uint64_t clamped = 0;      ///< scales that were clamped to their type; casts: values that became Inf
};

struct QuantizeReport {
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  double bits_per_weight = 0;  ///< over quantized tensors; 0 where there are none
  double seconds = 0;
  std::string convention;  ///< "compressed-tensors" or "kvant"
  std::string why;         ///< for "kvant": what compressed-tensors cannot express
  std::vector<TensorReport> tensors;
  std::vector<std::string> warnings;
};

/// Quantizes a checkpoint: tensor by tensor and within it by bands of rows, so that memory holds no more than a band
/// of floats and what a tensor-wide scale needs. The output appears whole or not at all.
[[nodiscard]] Result<QuantizeReport> quantize_checkpoint(const QuantizeJob& job, const Context& context,
                                                         Progress& progress);

struct DequantizeJob {
  std::filesystem::path input;
  std::filesystem::path output;
  FormatId dtype;                          ///< fp32, bf16 or fp16; quantized tensors become that, all others are copied
  NonFinite nonfinite = NonFinite::error;  ///< `keep` accepts values beyond `dtype`, too, as Inf
  io::OutputMode mode = io::OutputMode::refuse;
};

struct DequantizeReport {
  std::uint64_t bytes_out = 0;
  std::vector<std::string> tensors;  ///< those that were dequantized
  std::vector<std::string> warnings;
};

/// Writes the values that a quantized checkpoint stands for. `unsupported` where nothing in it is quantized;
/// `nonfinite` and `scale_overflow` by policy, as quantize_checkpoint().
[[nodiscard]] Result<DequantizeReport> dequantize_checkpoint(const DequantizeJob& job, const Context& context,
                                                             Progress& progress);

}  // namespace kvant::pipeline
