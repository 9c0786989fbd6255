// SPDX-License-Identifier: Apache-2.0
// The recorded models of golden/families: tiny random ones of every family, with ids and what transformers makes of
// them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <iterator>
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
inline constexpr std::array<std::string_view, 1> kLater{"granitemoe"};

/// Folders whose cases hold ids of tokens and an output of this name, and no pictures.
inline std::vector<std::string> golden_folders(std::string_view output, std::string_view without) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden)) {
    if (!entry.is_directory() || std::ranges::count(kLater, entry.path().filename().string()) != 0) continue;
    const auto recorded = io::Weights::open_as_stored(entry.path() / "case.safetensors");
    const auto has = [&](std::string_view name) { return recorded && recorded->find(std::string(name)) != nullptr; };
    if ((has("ids") || has("decoder_ids")) && has(output) && !has(without) && !has("pixels"))
      names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

/// Those whose models kvant runs as decoders, and those of encoders.
inline std::vector<std::string> golden_decoders() { return golden_folders("logits", "hidden"); }
inline std::vector<std::string> golden_encoders() { return golden_folders("hidden", "pixels"); }
inline std::vector<std::string> golden_models() {
  auto names = golden_decoders();
  std::ranges::copy(golden_encoders(), std::back_inserter(names));
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

/// What was recorded of a model; outputs that its case lacks are empty.
struct GoldenCase {
  explicit GoldenCase(const std::string& name) {
    const auto file = io::Weights::open_as_stored(kGolden / name / "case.safetensors");
    source = read_ids(*file, "encoder_ids");
    ids = read_ids(*file, source.empty() ? "ids" : "decoder_ids");
    types = read_ids(*file, "token_type_ids");
    logits = read_rows(*file, "logits");
    hidden = read_rows(*file, "hidden");
    pooled = read_rows(*file, "pooled");
  }

  /// A cache for the ids, which holds the source where there is one.
  [[nodiscard]] KvCache cache(const Model& model) const {
    KvCache cache = *KvCache::make(model.config(), ids.size(), source.size());
    if (!source.empty()) {
      const Status done = model.encode(source, cache, {});
      EXPECT_TRUE(done) << describe(done.error());
    }
    return cache;
  }
  [[nodiscard]] SequenceRows rows(KvCache& cache) const { return {ids, &cache, types}; }

  std::vector<std::int32_t> source, ids, types;
  Matrix<float> logits, hidden, pooled;

 private:
  static std::vector<std::int32_t> read_ids(const io::Weights& file, const std::string& name) {
    std::vector<std::int32_t> ids;
    const io::WeightInfo* stored = file.find(name);
    if (stored == nullptr) return ids;
    std::vector<std::byte> bytes(stored->stored_bytes);
    EXPECT_TRUE(file.read_bytes(*stored, 0, bytes));
    for (std::size_t i = 0; i < bytes.size(); i += 8) {
      std::int64_t id = 0;
      std::memcpy(&id, &bytes[i], 8);
      ids.push_back(static_cast<std::int32_t>(id));
    }
    return ids;
  }
  static Matrix<float> read_rows(const io::Weights& file, const std::string& name) {
    const io::WeightInfo* stored = file.find(name);
    return stored != nullptr ? *file.read_float(*stored) : Matrix<float>();
  }
};

/// The largest difference, as a part of the largest recorded number.
inline double relative_error(const Matrix<float>& found, const Matrix<float>& recorded) {
  EXPECT_EQ(found.size(), recorded.size());
  float worst = 0;
  float largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    worst = std::max(worst, std::abs(found.data()[i] - recorded.data()[i]));
    largest = std::max(largest, std::abs(recorded.data()[i]));
  }
  return static_cast<double>(worst / largest);
}

/// That of all outputs.
inline double error_of(const Model& model, const GoldenCase& recorded) {
  double error = 0;
  Workspace work;
  const std::size_t count = recorded.ids.size();
  const auto check = [&](const Status& done, const Matrix<float>& found, const Matrix<float>& expected) {
    EXPECT_TRUE(done) << describe(done.error());
    error = std::max(error, relative_error(found, expected));
  };
  if (recorded.logits.size() != 0) {
    KvCache cache = recorded.cache(model);
    Matrix<float> logits(count, model.config().vocabulary);
    check(model.forward(std::array{recorded.rows(cache)}, logits.view(), work, {}), logits, recorded.logits);
  }
  if (recorded.hidden.size() == 0) return error;
  KvCache cache = recorded.cache(model);
  Matrix<float> states(count, model.config().hidden);
  check(model.hidden_states(std::array{recorded.rows(cache)}, states.view(), work, {}), states, recorded.hidden);
  if (recorded.pooled.size() == 0) return error;
  Matrix<float> pooled(1, model.config().hidden);
  check(model.pooled_of(states.view().rows(0, 1), pooled.view(), {}), pooled, recorded.pooled);
  return error;
}

/// A model, its checkpoint and its case.
struct GoldenModel {
  explicit GoldenModel(const std::string& name)
      : weights(*open_golden(name)), model(*Model::load(weights, {})), recorded(name) {}
  io::Weights weights;
  Model model;
  GoldenCase recorded;
};

}  // namespace kvant::nn::test
