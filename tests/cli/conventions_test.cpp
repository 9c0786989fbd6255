// SPDX-License-Identifier: Apache-2.0
// Weights that another program has quantized are no floats: every verb that reads weights names the convention and
// stops.
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "checkpoints.hpp"
#include "kvant/io/safetensors.hpp"
#include "run_kvant.hpp"

namespace {

using namespace kvant::cli::test;
using kvant::DType;
using kvant::io::TensorSpec;

/// One way to tell a convention: members of config.json, a file beside the weights, or a tensor.
struct Evidence {
  const char* convention;  ///< part of the name that is told
  const char* config = "";
  const char* side_file = "";
  std::vector<TensorSpec> tensors = {};
};

std::vector<Evidence> all_evidence() {
  std::vector<Evidence> all{
      {"GPTQ", R"(, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128})"},
      {"AWQ", R"(, "quantization_config": {"quant_method": "awq", "bits": 4})"},
      {"bitsandbytes", R"(, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true})"},
      {"bitsandbytes", R"(, "quantization_config": {"load_in_8bit": true})"},
      {"fp8 for a part", R"(, "text_config": {"quantization_config": {"quant_method": "fp8"}})"},
      {"ModelOpt", R"(, "quantization_config": {"quant_algo": "FP8", "producer": {"name": "modelopt"}})"},
      {"HQQ", R"(, "quantization_config": {"quant_method": "hqq"})"},
      {"torchao", R"(, "quantization_config": {"quant_method": "torchao"})"},
      {"'brand-new'", R"(, "quantization_config": {"quant_method": "brand-new"})"},
      {"does not name", R"(, "quantization_config": {"levels": 16})"},
      {"AWQ", R"(, "text_config": {"quantization_config": {"quant_method": "awq"}})"},
      {"compressed-tensors for a part",
       R"(, "text_config": {"quantization_config": {"quant_method": "compressed-tensors"}})"},
      {"compressed-tensors before", R"(, "compression_config": {"format": "pack-quantized", "config_groups": {}})"},
      {"mlx", R"(, "quantization": {"group_size": 64, "bits": 4})"},
      {"AutoGPTQ", "", "quantize_config.json"},
      {"AutoAWQ", "", "quant_config.json"},
      {"ModelOpt", "", "hf_quant_config.json"},
      {"mlx", "", "", {{"layers.0.up.weight", DType::u32, {48, 12}}, {"layers.0.up.scales", DType::f16, {48, 2}}}},
  };
  const std::pair<const char*, TensorSpec> tensors[] = {
      {"GPTQ or AWQ", {"layers.0.up.qweight", DType::i32, {12, 48}}},
      {"compressed-tensors", {"layers.0.up.weight_packed", DType::i32, {48, 12}}},
      {"FP8", {"layers.0.up.weight_scale", DType::f32, {48, 1}}},
      {"fine-grained FP8", {"layers.0.up.weight_scale_inv", DType::f32, {1, 1}}},
      {"ModelOpt", {"layers.0.up.weight_scale_2", DType::f32, {1}}},
      {"bitsandbytes", {"layers.0.up.weight.absmax", DType::f32, {72}}},
      {"bitsandbytes", {"layers.0.up.SCB", DType::f32, {48}}},
      {"HQQ", {"layers.0.up.W_q", DType::u8, {24, 96}}},
      {"quanto", {"layers.0.up.weight._data", DType::i8, {48, 96}}},
      {"scaled FP8", {"layers.0.up.scale_weight", DType::f32, {1}}},
      {"AQLM", {"layers.0.up.codebooks", DType::f16, {1, 256, 1, 8}}},
      {"MXFP4 of gpt-oss", {"mlp.experts.gate_up_proj_blocks", DType::u8, {2, 48, 3, 16}}},
      {"codes of U8", {"layers.0.up.weight", DType::u8, {48, 48}}},
      {"codes of I32", {"layers.0.up.weight", DType::i32, {48, 12}}},
      {"codes of I8", {"layers.0.up.weight", DType::i8, {48, 96}}},
      {"codes of F8_E4M3", {"layers.0.up.weight", DType::f8_e4m3, {48, 96}}},
      {"codes of F8_E5M2", {"mlp.experts.gate_up_proj", DType::f8_e5m2, {2, 48, 96}}},
  };
  for (const auto& [name, spec] : tensors) all.push_back({name, "", "", {spec}});
  return all;
}

class Conventions : public testing::Test {
 protected:
  void make(const Evidence& e, bool as_file) {
    std::filesystem::remove_all(folder_ / "m");
    std::filesystem::create_directory(folder_ / "m");
    folder_.write("m/config.json", std::string(R"({"model_type": "llama")") + e.config + "}");
    if (*e.side_file != '\0') folder_.write(std::string("m/") + e.side_file, R"({"bits": 4})");
    std::vector<TensorSpec> specs{{"layers.1.down.weight", DType::f32, {32, 64}}, {"norm.weight", DType::f32, {64}}};
    specs.insert(specs.end(), e.tensors.begin(), e.tensors.end());
    auto writer = kvant::io::SafetensorsWriter::create(folder_ / "m/model.safetensors", specs, {},
                                                       kvant::io::OutputMode::replace);
    ASSERT_TRUE(writer) << kvant::describe(writer.error());
    for (const TensorSpec& spec : specs) {
      std::size_t bits = kvant::dtype_info(spec.dtype).bits;
      for (const std::uint64_t n : spec.shape) bits *= static_cast<std::size_t>(n);
      ASSERT_TRUE(writer->write(spec.name, 0, std::vector<std::byte>(bits / 8)));
    }
    ASSERT_TRUE(writer->commit());
    path_ = as_file ? folder_ / "m/model.safetensors" : folder_ / "m";
  }

  void expect_told(const Evidence& e) {
    const std::string text = folder_.write("text.txt", "Once upon a time");
    const std::vector<std::vector<std::string>> lines{
        {"quantize", path_, "-o", folder_ / "o", "--scheme", "int8-channel"},
        {"quantize", path_, "-o", folder_ / "o", "--scheme", "int8-channel", "--dry-run"},
        {"dequantize", path_, "-o", folder_ / "o"},
        {"eval", path_, "--text", text},
        {"compare", path_, path_},
        {"compare", kTiny, path_},
    };
    for (const auto& line : lines) {
      const Outcome run = run_kvant(line);
      EXPECT_EQ(run.exit, 4) << e.convention << " " << line[0] << ": " << run.err;
      EXPECT_NE(run.err.find(e.convention), std::string::npos) << e.convention << " " << line[0] << ": " << run.err;
      EXPECT_FALSE(std::filesystem::exists(folder_ / "o")) << e.convention;
    }
    const Outcome inspect = run_kvant({"inspect", path_, "--json"});
    ASSERT_EQ(inspect.exit, 0) << inspect.err;
    const kvant::io::Json json = json_of(inspect.out);
    EXPECT_NE(text_at(json, "convention").find(e.convention), std::string::npos) << inspect.out;
    EXPECT_TRUE(json.find("bits_per_weight")->is_null());
    EXPECT_TRUE(json.find("parameters")->is_null());
    EXPECT_NE(run_kvant({"inspect", path_}).out.find(e.convention), std::string::npos);
  }

  TemporaryFolder folder_;
  std::string path_;
};

TEST_F(Conventions, OfOtherProgramsAreNamedAndRefused) {
  for (const Evidence& e : all_evidence()) {
    make(e, false);
    expect_told(e);
    if (e.tensors.empty()) continue;
    make(e, true);  // the weights alone tell it too
    expect_told(e);
  }
}

TEST_F(Conventions, AreNotSeenInFloatCheckpoints) {
  const std::vector<Evidence> floats{
      {"", R"(, "quantization_config": null, "quantization": null, "compression_config": {})"},
      {"", "", "", {{"embeddings.position_ids", DType::i64, {1, 77}}, {"h.0.attn.masked_bias", DType::f32, {1}}}},
      {"", "", "", {{"h.0.attn.bias", DType::u8, {1, 1, 8, 8}}, {"layers.0.attn.layer_scale", DType::f32, {8}}}},
      {"", "", "", {{"encoder.residual_blocks", DType::f32, {8, 8}}, {"pool.kernel_weight", DType::i32, {2, 2}}}},
  };
  for (const Evidence& e : floats) {
    make(e, false);
    const Outcome run = run_kvant({"quantize", path_, "-o", folder_ / "o", "--scheme", "int8-channel", "--dry-run"});
    EXPECT_EQ(run.exit, 0) << run.err;
    EXPECT_TRUE(json_of(run_kvant({"inspect", path_, "--json"}).out).find("convention")->is_null());
  }
}

}  // namespace
