// SPDX-License-Identifier: Apache-2.0
// Checkpoints that the library compressed-tensors has written (tests/golden/conventions), read to the bit, or refused
// with the reason.
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "changed_checkpoint.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/quant/fake_quantize.hpp"
#include "test_files.hpp"

namespace kvant::io {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::TemporaryFolder;

const fs::path kFixtures = fs::path(KVANT_SOURCE_DIR) / "tests/golden/conventions/compressed_tensors";

const Json& expected() {
  static const Json json = *read_json_file(kFixtures / "expected.json", {.max_depth = 16});
  return *json.find("fixtures");
}

/// The checksum of zlib, by its definition.
std::string crc32(std::span<const float> values) {
  std::uint32_t crc = 0xffffffffu;
  for (const std::byte b : std::as_bytes(values)) {
    crc ^= std::to_integer<std::uint32_t>(b);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0u);
  }
  std::string text(8, '0');
  for (std::size_t i = 0; i < 8; ++i) text[7 - i] = "0123456789abcdef"[~crc >> (4 * i) & 15];
  return text;
}

std::vector<std::string> fixtures(bool refused) {
  std::vector<std::string> names;
  for (const Json::Member& m : expected().members())
    if ((m.value.find("refuse") != nullptr) == refused) names.push_back(m.key);
  return names;
}

/// What a reader may refuse, and this one does: the words that its message holds.
const std::map<std::string, std::string> kNotRead{
    {"mxfp6a16", "mxfp6-pack-quantized"},
    {"dense", "quantization_status 'frozen'"},
    {"compression-config", "compression_config"},
};

TEST(CompressedTensors, ReadsEveryWeightOfTheLibrarysFilesToTheBit) {
  std::size_t weights = 0;
  for (const std::string& name : fixtures(false)) {
    const auto model = Weights::open(kFixtures / name);
    if (const auto reason = kNotRead.find(name); reason != kNotRead.end()) {
      ASSERT_EQ(code_of(model), "unsupported") << name;
      EXPECT_NE(model.error().message.find(reason->second), std::string::npos) << describe(model.error());
      continue;
    }
    ASSERT_TRUE(model) << name << ": " << describe(model.error());
    std::size_t quantized = 0;
    for (const WeightInfo& w : model->list()) quantized += w.scheme.has_value();
    const Json& list = *expected().find(name)->find("weights");
    EXPECT_EQ(quantized, list.members().size()) << name;
    for (const Json::Member& m : list.members()) {
      const WeightInfo* w = model->find(m.key);
      ASSERT_NE(w, nullptr) << name << " " << m.key;
      const auto values = model->read_float(*w);
      ASSERT_TRUE(values) << name << ": " << describe(values.error());
      EXPECT_EQ(values->rows(), m.value.find("shape")->items()[0].as_uint64());
      EXPECT_EQ(values->cols(), m.value.find("shape")->items()[1].as_uint64());
      EXPECT_EQ(crc32({values->data(), values->size()}), *m.value.find("crc32")->as_string())
          << name << " " << m.key << " begins with " << (*values)(0, 0) << ", " << (*values)(0, 1);
      ++weights;
    }
  }
  EXPECT_GT(weights, 400u);
}

TEST(CompressedTensors, RefusesWhatItCannotHonour) {
  for (const std::string& name : fixtures(true)) {
    const auto model = Weights::open(kFixtures / name);
    EXPECT_EQ(code_of(model), "unsupported") << name;
    if (!model) {
      EXPECT_FALSE(model.error().message.empty());
    }
  }
}

TEST(CompressedTensors, RoundsActivationsToTheBit) {
  const auto file = SafetensorsFile::open(kFixtures / "activations.safetensors");
  ASSERT_TRUE(file);
  std::map<std::string, TensorInfo> tensors;
  for (const TensorInfo& t : file->tensors()) tensors[t.name] = t;
  const auto read = [&](const std::string& name) {
    const TensorInfo* t = &tensors.at(name);
    Matrix<float> out(t->shape[0], t->shape.size() == 2 ? t->shape[1] : 1);
    EXPECT_TRUE(file->read(*t, 0, std::as_writable_bytes(std::span(out.data(), out.size()))));
    return out;
  };
  std::int8_t zero = 0;
  EXPECT_TRUE(file->read(tensors.at("static.input_zero_point"), 0, std::as_writable_bytes(std::span(&zero, 1))));
  const float scale = read("static.input_scale")(0, 0);
  const std::vector<std::tuple<const char*, const char*, InputParameters>> kinds{
      {"int8-token", "int8-token", {}},
      {"int8-token-asym", "int8-token-asym", {}},
      {"int4-token", "int4-token", {}},
      {"int8-g32", "int8-g32", {}},
      {"int8-g32-asym", "int8-g32-asym", {}},
      {"fp8-token", "fp8_e4m3fn-token", {}},
      {"fp8-g16", "fp8_e4m3fn-g16", {}},
      {"int8-static", "int8-tensor-static", {scale, 0}},
      {"int8-static-asym", "int8-tensor-asym-static", {scale, zero}},
      {"fp8-static", "fp8_e4m3fn-tensor-static", {scale, 0}},
      {"mxfp4", "mxfp4", {}},
      {"mxfp8", "mxfp8_e4m3fn", {}},
      {"nvfp4", "nvfp4", {read("nvfp4.input_global_scale")(0, 0), 0}},
  };
  const Matrix<float> x = read("x");
  for (const auto& [name, text, input] : kinds) {
    const auto scheme = parse_activation(text);
    ASSERT_TRUE(scheme) << text;
    const Matrix<float> got = fake_quantize(x.view(), *scheme, input);
    const Matrix<float> expected = read(std::string(name) + ".value");
    ASSERT_EQ(got.size(), expected.size()) << name;
    for (std::size_t r = 0; r < x.rows(); ++r)
      for (std::size_t c = 0; c < x.cols(); ++c)
        EXPECT_EQ(got(r, c), expected(r, c)) << name << " [" << r << ", " << c << "] of " << x(r, c);
  }
}

class ChangedFixture : public test::ChangedCheckpoint {
 protected:
  ChangedFixture() : ChangedCheckpoint(kFixtures) {}
};

TEST_F(ChangedFixture, RefusesWhatAConfigurationSaysAndIsNotRead) {
  const std::string config = test::read_bytes(kFixtures / "int4-g32/config.json");
  EXPECT_EQ(edited("int4-g32", "\"quant_method\"", "\"new_key\": null, \"quant_method\""), "success");
  EXPECT_EQ(edited("int4-g32", "\"quant_method\"", "\"new_key\": 1, \"quant_method\""), "unsupported");
  EXPECT_EQ(edited("int4-g32", "\"num_bits\"", "\"new_key\": \"x\", \"num_bits\""), "unsupported");
  EXPECT_EQ(edited("int4-g32", "\"targets\"", "\"new_key\": [1], \"targets\""), "unsupported");
  EXPECT_EQ(edited("int4-g32", "\"num_bits\": 4", "\"num_bits\": 0"), "bad_config");
  EXPECT_EQ(edited("int4-g32", "\"num_bits\": 4", "\"num_bits\": 9"), "unsupported");
  EXPECT_EQ(edited("int4-g32", "\"num_bits\": 4", "\"num_bits\": 8"), "bad_metadata");
  EXPECT_EQ(edited("int4-g32", "\"group_size\": 32", "\"group_size\": 16"), "bad_metadata");
  EXPECT_EQ(edited("int4-g32", "\"group_size\": 32", "\"group_size\": -2"), "bad_config");
  EXPECT_EQ(edited("int4-g32", "\"strategy\": \"group\"", "\"strategy\": \"channel\""), "bad_config");
  EXPECT_EQ(edited("int4-g32", "\"strategy\": \"group\"", "\"strategy\": \"rows\""), "unsupported");
  EXPECT_EQ(edited("int4-g32", "\"type\": \"int\"", "\"type\": \"complex\""), "bad_config");
  EXPECT_EQ(edited("int4-g32", "\"symmetric\": true", "\"symmetric\": false"), "bad_metadata");
  EXPECT_EQ(edited("int4-g32-asym", "\"symmetric\": false", "\"symmetric\": true"), "bad_metadata");
  EXPECT_EQ(edited("int4-g32", "\"compressed\"", "\"frozen\""), "unsupported");
  EXPECT_EQ(edited("int4-g32", "\"Linear\"", "\"Conv2d\""), "bad_metadata");
  EXPECT_EQ(edited("int4-g32", "\"Linear\"", "\"re:(\""), "bad_config");
  EXPECT_EQ(edited("int4-g32", "\"lm_head\"", "\"re:.*self_attn.*\""), "bad_metadata");
  EXPECT_EQ(edited("int4-g32", "\"Linear\"", "\"re:model\\\\.layers\""), "success");
  EXPECT_EQ(edited("dense-ambiguous", "\"version\": \"0.20.1\"", "\"version\": \"0.20\""), "success");
  for (const char* version : {"null", "\"\"", "\"0\"", "\"next\"", "\"0.\""})
    EXPECT_EQ(edited("dense-ambiguous", "\"version\": \"0.20.1\"", std::string("\"version\": ") + version),
              "unsupported");
}

TEST_F(ChangedFixture, ChecksShapesAndNotOnlySizes) {
  const auto reshaped = [&](const std::string& fixture, const std::string& suffix, std::vector<std::uint64_t> shape) {
    return changed(fixture, [&](TensorSpec& spec, std::vector<std::byte>&) {
      if (spec.name.ends_with("down_proj" + suffix)) spec.shape = shape;
      return true;
    });
  };
  EXPECT_EQ(reshaped("int4-g32", ".weight_scale", {64, 3}), "success");
  EXPECT_EQ(reshaped("int4-g32", ".weight_scale", {3, 64}), "bad_metadata");
  EXPECT_EQ(reshaped("int4-g32", ".weight_scale", {192}), "bad_metadata");
  EXPECT_EQ(reshaped("int4-g32", ".weight_packed", {96, 8}), "bad_metadata");
  EXPECT_EQ(reshaped("int4-g32-asym", ".weight_zero_point", {3, 8}), "bad_metadata");
  EXPECT_EQ(reshaped("fp8-dynamic", ".weight_scale", {1, 32}), "bad_metadata");
  EXPECT_EQ(reshaped("fp8-dynamic", ".weight_scale", {32}), "success");
}

TEST_F(ChangedFixture, RefusesTensorsThatAreMissingOrLeftOver) {
  const auto without = [&](const std::string& fixture, const std::string& suffix) {
    return changed(fixture, [&](TensorSpec& spec, std::vector<std::byte>&) { return !spec.name.ends_with(suffix); });
  };
  EXPECT_EQ(without("int4-g32", "down_proj.weight_scale"), "bad_metadata");
  EXPECT_EQ(without("int4-g32", "down_proj.weight_packed"), "bad_metadata");
  EXPECT_EQ(without("int4-g32", "down_proj.weight_shape"), "bad_metadata");
  EXPECT_EQ(without("int4-g32-asym", "down_proj.weight_zero_point"), "bad_metadata");
  EXPECT_EQ(without("nvfp4a16", "down_proj.weight_global_scale"), "bad_metadata");
  EXPECT_EQ(without("w8a8-static", "down_proj.input_scale"), "bad_metadata");
  EXPECT_EQ(without("fp8-dynamic", "down_proj.weight_scale"), "bad_metadata");
  for (const char* suffix : {".weight_scale_2", ".weight_zero_point", ".weight_new"})
    EXPECT_EQ(changed("int4-g32",
                      [&](TensorSpec& spec, std::vector<std::byte>& bytes) {
                        if (!spec.name.ends_with("up_proj.bias") && spec.name.ends_with("norm.weight") &&
                            spec.name.find("layers.0.input") != std::string::npos) {
                          spec.name = std::string("model.layers.0.mlp.down_proj") + suffix;
                          bytes[0] = std::byte{1};
                        }
                        return true;
                      }),
              "bad_metadata")
        << suffix;
}

TEST_F(ChangedFixture, RefusesScalesAndCodesThatMeanNothing) {
  EXPECT_EQ(changed("fp8-dynamic",
                    [](TensorSpec& spec, std::vector<std::byte>& bytes) {
                      if (spec.name.ends_with("down_proj.weight_scale"))
                        bytes[1] = std::byte{0xff}, bytes[0] = std::byte{0x80};
                      return true;
                    }),
            "nonfinite");
  EXPECT_EQ(changed("nvfp4a16",
                    [](TensorSpec& spec, std::vector<std::byte>& bytes) {
                      if (spec.name.ends_with("down_proj.weight_global_scale"))
                        std::fill(bytes.begin(), bytes.end(), std::byte{0});
                      return true;
                    }),
            "bad_metadata");
  EXPECT_EQ(changed("w4a8",
                    [](TensorSpec& spec, std::vector<std::byte>& bytes) {
                      if (spec.name.ends_with("down_proj.weight")) bytes[5] = std::byte{8};  // beyond int4
                      return true;
                    }),
            "bad_metadata");
  EXPECT_EQ(changed("old-g-idx",
                    [](TensorSpec& spec, std::vector<std::byte>& bytes) {
                      if (spec.name.ends_with("q_proj.weight_g_idx")) bytes[0] = std::byte{100};
                      return true;
                    }),
            "bad_metadata");
  EXPECT_EQ(changed("old-g-idx",
                    [](TensorSpec& spec, std::vector<std::byte>& bytes) {
                      if (spec.name.ends_with("q_proj.weight_g_idx"))
                        std::fill(bytes.begin(), bytes.end(), std::byte{0});
                      return true;
                    }),
            "unsupported");
}

}  // namespace
}  // namespace kvant::io
