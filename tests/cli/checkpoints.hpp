// SPDX-License-Identifier: Apache-2.0
// Small checkpoints for the tests of the command line.
#pragma once

#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/io/safetensors.hpp"

namespace kvant::cli::test {

/// The embedded model, in bfloat16.
inline const std::filesystem::path kTiny = std::filesystem::path(KVANT_SOURCE_DIR) / "models/tiny";

/// A real model in float32, with token ids beside it; empty without test data.
inline std::filesystem::path stories() {
  const std::filesystem::path data = io::test::test_data();
  return data.empty() ? data : data / "lm/stories260K-hf";
}

/// A float tensor: shape and a function of the element's index.
struct FloatTensor {
  std::vector<std::uint64_t> shape;
  float (*value)(std::size_t) = [](std::size_t i) { return std::sin(0.7f * static_cast<float>(i)); };
};

using FloatTensors = std::map<std::string, FloatTensor>;

/// Writes the tensors as F32. An existing file is replaced.
inline void write_checkpoint(const std::filesystem::path& path, const FloatTensors& tensors) {
  std::vector<io::TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, DType::f32, tensor.shape});
  auto writer = io::SafetensorsWriter::create(path, specs, {{"made", "by a test"}}, io::OutputMode::replace);
  ASSERT_TRUE(writer) << describe(writer.error());
  for (const auto& [name, tensor] : tensors) {
    std::uint64_t count = 1;
    for (const std::uint64_t d : tensor.shape) count *= d;
    std::vector<float> values;
    for (std::size_t i = 0; i < count; ++i) values.push_back(tensor.value(i));
    ASSERT_TRUE(writer->write(name, 0, std::as_bytes(std::span(values))));
  }
  ASSERT_TRUE(writer->commit());
}

/// Two matrices that are quantized by default, and a norm that is not.
inline FloatTensors usual_tensors() {
  return {{"layers.0.up.weight", {{48, 96}}}, {"layers.1.down.weight", {{32, 64}}}, {"norm.weight", {{64}}}};
}

/// A file of `rows` x 16384 zeros in F32 that takes no room on disk: big enough that a run can be interrupted.
inline void write_sparse_checkpoint(const std::filesystem::path& path, std::uint64_t rows) {
  constexpr std::uint64_t kCols = 16384;
  const std::uint64_t bytes = rows * kCols * 4;
  std::string header = R"({"big.weight":{"dtype":"F32","shape":[)" + std::to_string(rows) + "," +
                       std::to_string(kCols) + R"(],"data_offsets":[0,)" + std::to_string(bytes) + "]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::ofstream(path, std::ios::binary) << io::test::safetensors_bytes(header, "");
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(8 + header.size() + bytes)), 0);
}

}  // namespace kvant::cli::test
