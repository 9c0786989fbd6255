// SPDX-License-Identifier: Apache-2.0
// MXFP4 checkpoints as gpt-oss is published (tests/golden/families): read to the bit, or refused with the reason.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "changed_checkpoint.hpp"
#include "kvant/io/checkpoint.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/weights.hpp"
#include "test_files.hpp"

namespace kvant::io {
namespace {

const std::filesystem::path kFamilies = std::filesystem::path(KVANT_SOURCE_DIR) / "tests/golden/families";
constexpr const char* kModel = "gpt-oss-mxfp4";
constexpr const char* kDown = "model.layers.1.mlp.experts.down_proj";

constexpr std::array<float, 16> kFp4{0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

class GptOssMxfp4 : public test::ChangedCheckpoint {
 protected:
  GptOssMxfp4() : ChangedCheckpoint(kFamilies) {}

  std::string with(const std::string& from, const std::string& to) { return edited(kModel, from, to); }
  std::string changed_tensor(const std::string& name,
                             const std::function<bool(TensorSpec&, std::vector<std::byte>&)>& change) {
    return changed(kModel, [&](TensorSpec& spec, std::vector<std::byte>& bytes) {
      return spec.name != name || change(spec, bytes);
    });
  }
  std::string shaped(const std::string& name, std::vector<std::uint64_t> shape) {
    return changed_tensor(name, [&](TensorSpec& spec, std::vector<std::byte>&) {
      spec.shape = shape;
      return true;
    });
  }
};

TEST_F(GptOssMxfp4, IsReadToTheBitInTheShapeOfItsFloats) {
  const auto model = Weights::open(kFamilies / kModel);
  ASSERT_TRUE(model) << describe(model.error());
  EXPECT_EQ(model->info().convention, "MXFP4 of gpt-oss");
  const auto file = Checkpoint::open(kFamilies / kModel);
  ASSERT_TRUE(file);
  std::size_t quantized = 0;
  for (const WeightInfo& w : model->list()) {
    EXPECT_FALSE(w.name.ends_with("_blocks") || w.name.ends_with("_scales")) << w.name;
    if (!w.scheme) continue;
    ++quantized;
    EXPECT_EQ(to_text(*w.scheme), "mxfp4");
    ASSERT_EQ(w.shape.size(), 3u);
    const std::size_t experts = w.shape[0], in = w.shape[1], out = w.shape[2];
    EXPECT_EQ(w.members(), experts);
    EXPECT_TRUE(w.transposed);
    EXPECT_EQ(w.stored_bytes, experts * in * out / 32 * 17);
    const auto q = model->read_quantized(w);
    ASSERT_TRUE(q);
    EXPECT_EQ(q->rows, experts * out);
    EXPECT_EQ(q->cols, in);
    const auto values = model->read_float(w);
    ASSERT_TRUE(values) << describe(values.error());
    EXPECT_EQ(values->rows(), experts);
    EXPECT_EQ(values->cols(), in * out);
    std::vector<std::uint8_t> blocks(values->size() / 2), scales(values->size() / 32);
    ASSERT_TRUE(file->read_bytes(*file->find(w.name + "_blocks"), 0, std::as_writable_bytes(std::span(blocks))));
    ASSERT_TRUE(file->read_bytes(*file->find(w.name + "_scales"), 0, std::as_writable_bytes(std::span(scales))));
    for (std::size_t e = 0; e < experts; ++e)
      for (std::size_t o = 0; o < out; ++o)
        for (std::size_t i = 0; i < in; ++i) {
          const std::size_t at = (e * out + o) * in + i;
          const int code = i % 2 == 0 ? blocks[at / 2] & 15 : blocks[at / 2] >> 4;
          const float expected = kFp4[static_cast<std::size_t>(code)] * std::ldexp(1.0f, scales[at / 32] - 127);
          ASSERT_EQ(values->row(e)[i * out + o], expected) << w.name << " " << e << " " << o << " " << i;
        }
  }
  EXPECT_EQ(quantized, 4u);
}

TEST_F(GptOssMxfp4, SaysWhatOfAConfigurationIsNotRead) {
  EXPECT_EQ(with("\"quant_method\"", "\"new_key\": null, \"quant_method\""), "success");
  EXPECT_EQ(with("\"quant_method\"", "\"new_key\": 1, \"quant_method\""), "unsupported");
  EXPECT_EQ(with("\"quant_method\"", "\"dequantize\": true, \"quant_method\""), "success");
}

TEST_F(GptOssMxfp4, RefusesTensorsThatDoNotFit) {
  const std::string blocks = std::string(kDown) + "_blocks", scales = std::string(kDown) + "_scales";
  const auto drop = [](TensorSpec&, std::vector<std::byte>&) { return false; };
  EXPECT_EQ(changed_tensor(blocks, drop), "bad_metadata");
  EXPECT_EQ(changed_tensor(scales, drop), "bad_metadata");
  EXPECT_EQ(shaped(blocks, {4, 32, 1, 32}), "bad_metadata");
  EXPECT_EQ(shaped(blocks, {4, 32, 4, 8}), "bad_metadata");
  EXPECT_EQ(shaped(blocks, {128, 2, 16}), "bad_metadata");
  EXPECT_EQ(shaped(blocks, {4, 64, 1, 16}), "bad_metadata") << "which its scales contradict";
  EXPECT_EQ(shaped(scales, {4, 64, 1}), "bad_metadata");
  EXPECT_EQ(shaped(scales, {128, 2}), "bad_metadata");
  for (const DType dtype : {DType::i8, DType::f8_e8m0}) {
    const auto typed = [&](TensorSpec& spec, std::vector<std::byte>&) {
      spec.dtype = dtype;
      return true;
    };
    EXPECT_EQ(changed_tensor(blocks, typed), "bad_metadata");
    EXPECT_EQ(changed_tensor(scales, typed), "bad_metadata");
  }
  EXPECT_EQ(changed_tensor(scales,
                           [](TensorSpec&, std::vector<std::byte>& bytes) {
                             bytes[3] = std::byte{255};  // NaN
                             return true;
                           }),
            "nonfinite");
  const auto renamed = [&](const std::string& from, const std::string& to) {
    return changed_tensor(from, [&](TensorSpec& spec, std::vector<std::byte>&) {
      spec.name = to;
      return true;
    });
  };
  EXPECT_EQ(renamed("model.norm.weight", kDown), "bad_metadata") << "as floats, too";
  EXPECT_EQ(renamed("model.norm.weight", "other_scales"), "bad_metadata");
  EXPECT_EQ(renamed("model.norm.weight", "other_blocks"), "bad_metadata");
}

TEST_F(GptOssMxfp4, RefusesShapesThatOverflow) {
  const auto empty = [](std::vector<std::uint64_t> shape) {
    return [shape](TensorSpec& spec, std::vector<std::byte>& bytes) {
      spec.shape = shape;
      bytes.clear();
      return true;
    };
  };
  const std::string blocks = std::string(kDown) + "_blocks";
  EXPECT_EQ(changed_tensor(blocks, empty({0, 32, 2, 16})), "bad_metadata");
  EXPECT_EQ(changed_tensor(blocks, empty({4, 0, std::uint64_t{1} << 57, 16})), "bad_metadata");
}

}  // namespace
}  // namespace kvant::io
