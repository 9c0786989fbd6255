// SPDX-License-Identifier: Apache-2.0
// FP8 checkpoints as DeepSeek-V3 is published (tests/golden/families): read to the bit, or refused with the reason.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "changed_checkpoint.hpp"
#include "kvant/io/checkpoint.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/weights.hpp"
#include "test_files.hpp"

namespace kvant::io {
namespace {

const std::filesystem::path kFamilies = std::filesystem::path(KVANT_SOURCE_DIR) / "tests/golden/families";
constexpr const char* kModel = "deepseek-v3-fp8";
constexpr const char* kDown = "model.layers.0.mlp.down_proj.weight";

/// E4M3 by its definition: 1 bit of sign, 4 of exponent with the bias 7, 3 of fraction.
float e4m3(std::uint8_t code) {
  const int exponent = code >> 3 & 15;
  const float fraction = static_cast<float>(code & 7) / 8;
  const float magnitude = exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

class FineGrainedFp8 : public test::ChangedCheckpoint {
 protected:
  FineGrainedFp8() : ChangedCheckpoint(kFamilies) {}

  std::string with(const std::string& from, const std::string& to) { return edited(kModel, from, to); }
  std::string changed_tensor(const std::string& name,
                             const std::function<bool(TensorSpec&, std::vector<std::byte>&)>& change) {
    return changed(kModel, [&](TensorSpec& spec, std::vector<std::byte>& bytes) {
      return spec.name != name || change(spec, bytes);
    });
  }
};

TEST_F(FineGrainedFp8, IsReadToTheBit) {
  const auto model = Weights::open(kFamilies / kModel);
  ASSERT_TRUE(model) << describe(model.error());
  EXPECT_EQ(model->info().convention, "fine-grained FP8");
  EXPECT_TRUE(model->info().not_computed.empty());
  const auto file = Checkpoint::open(kFamilies / kModel);
  ASSERT_TRUE(file);
  std::size_t quantized = 0;
  for (const WeightInfo& w : model->list()) {
    EXPECT_FALSE(w.name.ends_with("_scale_inv")) << w.name;
    if (!w.scheme) continue;
    ++quantized;
    EXPECT_EQ(to_text(*w.scheme), "fp8_e4m3fn-b128x128-scale:fp32/fp8_e4m3fn-g128") << w.name;
    const auto values = model->read_float(w);
    ASSERT_TRUE(values) << describe(values.error());
    std::vector<std::uint8_t> codes(values->size());
    std::vector<float> scales((values->rows() + 127) / 128 * ((values->cols() + 127) / 128));
    ASSERT_TRUE(file->read_bytes(*file->find(w.name), 0, std::as_writable_bytes(std::span(codes))));
    ASSERT_TRUE(file->read_bytes(*file->find(w.name + "_scale_inv"), 0, std::as_writable_bytes(std::span(scales))));
    EXPECT_EQ(w.stored_bytes, codes.size() + 4 * scales.size());
    for (std::size_t r = 0; r < values->rows(); ++r)
      for (std::size_t c = 0; c < values->cols(); ++c)
        ASSERT_EQ((*values)(r, c),
                  e4m3(codes[r * values->cols() + c]) * scales[r / 128 * ((values->cols() + 127) / 128) + c / 128])
            << w.name << " " << r << " " << c;
  }
  EXPECT_EQ(quantized, 2 * 5 + 3 + 3 * 9u);
  const auto stored = Weights::open_as_stored(kFamilies / kModel);
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->info().convention, "fine-grained FP8");
}

TEST_F(FineGrainedFp8, ReadsScalesInOtherTypes) {
  for (const auto& [dtype, ones, text] :
       {std::tuple{DType::bf16, std::vector<std::uint8_t>{0x80, 0x3f, 0x80, 0x3f}, "-scale:bf16"},
        std::tuple{DType::f16, std::vector<std::uint8_t>{0, 0x3c, 0, 0x3c}, ""},
        std::tuple{DType::f8_e8m0, std::vector<std::uint8_t>{127, 127}, "-scale:e8m0"}}) {
    EXPECT_EQ(changed_tensor(std::string(kDown) + "_scale_inv",
                             [&, &dtype = dtype, &ones = ones](TensorSpec& spec, std::vector<std::byte>& bytes) {
                               spec.dtype = dtype;
                               bytes.resize(ones.size());
                               std::memcpy(bytes.data(), ones.data(), ones.size());
                               return true;
                             }),
              "success");
    const auto model = Weights::open(folder_ / "m");
    ASSERT_TRUE(model);
    EXPECT_EQ(to_text(model->find(kDown)->scheme->weight), std::string("fp8_e4m3fn-b128x128") + text);
  }
}

TEST_F(FineGrainedFp8, SaysWhatOfAConfigurationIsNotRead) {
  EXPECT_EQ(with("\"fmt\"", "\"new_key\": null, \"fmt\""), "success");
  EXPECT_EQ(with("\"fmt\"", "\"new_key\": 1, \"fmt\""), "unsupported");
  EXPECT_EQ(with("\"fmt\"", "\"modules_to_not_convert\": [\"lm_head\"], \"fmt\""), "success");
  EXPECT_EQ(with("\"e4m3\"", "\"e5m2\""), "unsupported");
  EXPECT_EQ(with("\"fmt\": \"e4m3\"", "\"fmt\": null"), "success");
  EXPECT_EQ(with("\"dynamic\"", "\"sometimes\""), "unsupported");
  EXPECT_EQ(with("\"dynamic\"", "1"), "unsupported");
  EXPECT_EQ(with("\"weight_block_size\"", "\"ignored_layers\""), "unsupported");
  for (const char* block : {"[128]", "[0, 128]", "[128, -1]", "[128, 1e300]", "[128, 18446744073709551615]",
                            "[128, 128, 128]", "\"128x128\"", "{}"})
    EXPECT_EQ(
        with("\"weight_block_size\"", "\"weight_block_size\": " + std::string(block) + ", \"modules_to_not_convert\""),
        "bad_config")
        << block;
  EXPECT_EQ(with("\"weight_block_size\"", "\"weight_block_size\": [64, 64], \"modules_to_not_convert\""),
            "bad_metadata");
}

TEST_F(FineGrainedFp8, LeavesOutInputsThatItDoesNotCompute) {
  const auto left_out = [&] { return Weights::open(folder_ / "m")->info().not_computed; };
  EXPECT_EQ(with("\"dynamic\"", "\"static\""), "success");
  EXPECT_EQ(left_out(), "static input activations in blocks");
  EXPECT_EQ(with("\"fmt\"", "\"scale_fmt\": \"ue8m0\", \"fmt\""), "success");
  EXPECT_EQ(left_out(), "input activations under scales of the scale_fmt 'ue8m0'");
  EXPECT_EQ(with("\"fmt\"", "\"scale_fmt\": \"float\", \"fmt\""), "success");
  EXPECT_EQ(left_out(), "");
}

TEST_F(FineGrainedFp8, RefusesTensorsThatDoNotFit) {
  const std::string scale = std::string(kDown) + "_scale_inv";
  const auto drop = [](TensorSpec&, std::vector<std::byte>&) { return false; };
  EXPECT_EQ(changed_tensor(kDown, drop), "bad_metadata");
  EXPECT_EQ(changed_tensor(scale, drop), "bad_metadata") << "codes without scales are no numbers";
  const auto shaped = [](std::vector<std::uint64_t> shape) {
    return [shape](TensorSpec& spec, std::vector<std::byte>&) {
      spec.shape = shape;
      return true;
    };
  };
  EXPECT_EQ(changed_tensor(scale, shaped({2, 1})), "bad_metadata");
  EXPECT_EQ(changed_tensor(scale, shaped({2})), "bad_metadata");
  EXPECT_EQ(changed_tensor(kDown, shaped({136, 40})), "bad_metadata");
  EXPECT_EQ(changed_tensor(kDown, shaped({1, 40, 136})), "bad_metadata");
  EXPECT_EQ(changed_tensor(kDown, shaped({40 * 136})), "bad_metadata");
  const auto typed = [](DType dtype) {
    return [dtype](TensorSpec& spec, std::vector<std::byte>&) {
      spec.dtype = dtype;
      return true;
    };
  };
  for (const DType dtype : {DType::f8_e5m2, DType::u8, DType::i8})
    EXPECT_EQ(changed_tensor(kDown, typed(dtype)), "bad_metadata");
  for (const DType dtype : {DType::i32, DType::u32}) EXPECT_EQ(changed_tensor(scale, typed(dtype)), "bad_metadata");
  EXPECT_EQ(changed_tensor(scale,
                           [](TensorSpec&, std::vector<std::byte>& bytes) {
                             bytes[6] = std::byte{0x80}, bytes[7] = std::byte{0x7f};  // Inf
                             bytes[4] = bytes[5] = std::byte{0};
                             return true;
                           }),
            "nonfinite");
  for (const char* suffix : {".weight_scale", ".weight_scale_2", ".input_scale", ".activation_scale"})
    EXPECT_EQ(changed_tensor("model.norm.weight",
                             [&](TensorSpec& spec, std::vector<std::byte>&) {
                               spec.name = std::string("model.layers.0.mlp.down_proj") + suffix;
                               return true;
                             }),
              "bad_metadata")
        << suffix;
}

}  // namespace
}  // namespace kvant::io
