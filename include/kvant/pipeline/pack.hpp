// SPDX-License-Identifier: Apache-2.0
// A checkpoint into a file of packed layers: see io/packed_file.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "kvant/core/error.hpp"
#include "kvant/io/atomic_file.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/pipeline/progress.hpp"

namespace kvant::pipeline {

struct PackJob {
  std::filesystem::path input;
  std::filesystem::path output;  ///< a file
  io::OutputMode mode = io::OutputMode::refuse;
};

struct PackReport {
  std::size_t layers = 0;
  std::size_t tensors = 0;  ///< that stand beside the layers
  std::uint64_t bytes_out = 0;
};

/// Packs every matrix of a checkpoint for the context's tier: quantized weights as their scheme says, float ones as
/// bf16 where they are bf16 and else as fp32. Other floats become F32, everything else is copied. Memory holds one
/// weight and its packed bytes. Errors: those of Weights::open(), check_output() and PackedWriter; interrupted.
[[nodiscard]] Result<PackReport> pack_checkpoint(const PackJob& job, const Context& context, Progress& progress);

}  // namespace kvant::pipeline
