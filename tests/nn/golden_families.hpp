// SPDX-License-Identifier: Apache-2.0
// The recorded models of golden/families: tiny random ones of every family, with ids and what transformers makes of
// them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvant/io/weights.hpp"
#include "kvant/nn/model.hpp"

namespace kvant::nn::test {

inline const std::filesystem::path kGolden = std::filesystem::path(KVANT_SOURCE_DIR) / "tests/golden/families";

/// Recorded already, but not computed yet.
inline constexpr std::array<std::string_view, 5> kLater{"bert-mlm", "distilbert", "granitemoe", "modernbert",
                                                        "roberta"};

/// Folders whose models kvant runs as decoders of token ids.
inline std::vector<std::string> golden_decoders() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden)) {
    if (!entry.is_directory() || std::ranges::count(kLater, entry.path().filename().string()) != 0) continue;
    const auto recorded = io::Weights::open_as_stored(entry.path() / "case.safetensors");
    if (recorded && recorded->find("ids") != nullptr && recorded->find("logits") != nullptr &&
        recorded->find("pixels") == nullptr)
      names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

/// A folder's name as that of a test.
inline std::string golden_name(const testing::TestParamInfo<std::string>& folder) {
  std::string name = folder.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

/// Another source whose layers take their inputs as they are: of quantized models the weights alone were recorded.
class FloatInputs final : public io::WeightSource {
 public:
  explicit FloatInputs(io::Weights weights) : weights_(std::move(weights)) {}
  [[nodiscard]] const io::SourceInfo& info() const noexcept override { return weights_.info(); }
  [[nodiscard]] const std::vector<io::WeightInfo>& list() const noexcept override { return weights_.list(); }
  [[nodiscard]] Result<QMatrix> read_quantized(const io::WeightInfo& weight) const override {
    return weights_.read_quantized(weight);
  }
  [[nodiscard]] LayerInputs layer_inputs(const io::WeightInfo&) const override { return {}; }
  [[nodiscard]] Result<Matrix<float>> read_rows(const io::WeightInfo& weight, std::uint64_t first_row,
                                                std::uint64_t rows) const override {
    return weights_.read_rows(weight, first_row, rows);
  }
  [[nodiscard]] Status read_bytes(const io::WeightInfo& weight, std::uint64_t first,
                                  std::span<std::byte> out) const override {
    return weights_.read_bytes(weight, first, out);
  }
  [[nodiscard]] std::span<const std::byte> mapped(const io::WeightInfo& weight) const noexcept override {
    return weights_.mapped(weight);
  }

 private:
  io::Weights weights_;
};

inline Result<io::Weights> open_golden(const std::string& name) {
  auto weights = io::Weights::open(kGolden / name);
  if (!weights) return weights;
  return io::Weights(std::make_unique<FloatInputs>(std::move(*weights)));
}

inline Result<Model> load_golden(const std::string& name) {
  const auto weights = open_golden(name);
  if (!weights) return propagate(weights);
  return Model::load(*weights, {});
}

/// What was recorded of a decoder.
struct GoldenCase {
  explicit GoldenCase(const std::string& name) {
    const auto file = io::Weights::open_as_stored(kGolden / name / "case.safetensors");
    const io::WeightInfo& stored = *file->find("ids");
    std::vector<std::byte> bytes(stored.stored_bytes);
    EXPECT_TRUE(file->read_bytes(stored, 0, bytes));
    for (std::size_t i = 0; i < bytes.size(); i += 8) {
      std::int64_t id = 0;
      std::memcpy(&id, &bytes[i], 8);
      ids.push_back(static_cast<std::int32_t>(id));
    }
    logits = *file->read_float(*file->find("logits"));
  }
  std::vector<std::int32_t> ids;
  Matrix<float> logits;
};

/// A decoder, its checkpoint and the ids of its case.
struct GoldenModel {
  explicit GoldenModel(const std::string& name)
      : weights(*open_golden(name)), model(*Model::load(weights, {})), ids(GoldenCase(name).ids) {}
  io::Weights weights;
  Model model;
  std::vector<std::int32_t> ids;
};

}  // namespace kvant::nn::test
