// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/families.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "io/test_files.hpp"
#include "kvant/io/json.hpp"

namespace kvant::nn {
namespace {

using io::test::code_of;

/// A valid configuration with more members; a key that is there already is replaced.
Result<ModelConfig> read_with(std::string_view members) {
  io::Json config = *io::parse_json(R"({"model_type": "llama", "hidden_size": 64, "intermediate_size": 172,
      "num_hidden_layers": 5, "num_attention_heads": 8, "vocab_size": 512, "max_position_embeddings": 512,
      "rms_norm_eps": 1e-05})");
  const auto more = io::parse_json("{" + std::string(members) + "}");
  EXPECT_TRUE(more) << members;
  for (const auto& [key, value] : more->members()) config.set(key, value);
  return read_model_config(config, {"config.json", {}, {}});
}

bool has_bias(const ModelConfig& config) {
  return std::ranges::any_of(config.tensors, [](const TensorUse& t) { return t.role == Role::bias; });
}

std::vector<std::uint64_t> shape_of(const ModelConfig& config, std::string_view name) {
  for (const TensorUse& t : config.tensors)
    if (t.name == name) return t.shape;
  return {};
}

TEST(ModelConfig, TakesDefaultsOfTransformers) {
  const auto config = read_with("");
  ASSERT_TRUE(config) << describe(config.error());
  EXPECT_EQ(config->family->model_type, "llama");
  EXPECT_EQ(config->blocks.size(), 5u);
  EXPECT_EQ(config->caches, std::vector<CacheShape>(5, {8, 8, 8}));
  EXPECT_EQ(config->ropes.front().theta, 10000.0);
  EXPECT_FALSE(config->tied || has_bias(*config));
  EXPECT_FLOAT_EQ(std::get<Norm>(config->blocks[0].steps[0]).epsilon, 1e-5f);
}

TEST(ModelConfig, ReadsEveryKey) {
  const auto config = read_with(R"("num_key_value_heads": 2, "head_dim": 16, "rope_theta": 500000,
      "tie_word_embeddings": true, "attention_bias": true, "mlp_bias": true, "hidden_act": "silu",
      "architectures": ["LlamaForCausalLM"])");
  ASSERT_TRUE(config) << describe(config.error());
  EXPECT_EQ(config->hidden, 64u);
  EXPECT_EQ(config->caches, std::vector<CacheShape>(5, {2, 16, 16}));
  EXPECT_EQ(shape_of(*config, "model.layers.3.mlp.down_proj.weight"), (std::vector<std::uint64_t>{64, 172}));
  EXPECT_EQ(shape_of(*config, "model.layers.3.self_attn.q_proj.weight"), (std::vector<std::uint64_t>{128, 64}));
  EXPECT_EQ(config->vocabulary, 512u);
  EXPECT_EQ(config->max_positions, 512u);
  EXPECT_EQ(config->ropes.front().theta, 500000.0);
  EXPECT_TRUE(config->tied && has_bias(*config));
}

TEST(ModelConfig, AcceptsWhatChangesNothing) {
  for (const std::string_view members :
       {R"("head_dim": null, "num_key_value_heads": null, "rope_scaling": null, "sliding_window": null)",
        R"("sliding_window": 512)", R"("rope_scaling": {"type": "default"})", R"("partial_rotary_factor": 1.0)",
        R"("rope_parameters": {"rope_type": "default", "rope_theta": 20000.0})",
        R"("rope_theta": 5.0, "rope_parameters": {"rope_type": "default", "rope_theta": 5})",
        R"("architectures": null, "torch_dtype": "float32", "use_cache": true, "pretraining_tp": 1)",
        R"("architectures": ["Other", "LlamaForCausalLM"])", R"("rms_norm_eps": 0)"}) {
    const auto config = read_with(members);
    EXPECT_TRUE(config) << members << ": " << describe(config.error());
  }
  EXPECT_EQ(read_with(R"("rope_parameters": {"rope_type": "default", "rope_theta": 20000.0})")->ropes.front().theta,
            20000.0);
}

TEST(ModelConfig, RefusesWhatForwardDoesNotCompute) {
  for (const std::string_view members :
       {R"("model_type": "rwkv")", R"("model_type": "Llama")", R"("architectures": ["LlamaForSequenceClassification"])",
        R"("architectures": [])", R"("hidden_act": "mish")", R"("sliding_window": 511)",
        R"("rope_scaling": {"factor": 2.0})", R"("rope_scaling": 2)", R"("rope_scaling": {"type": "ntk"})"})
    EXPECT_EQ(code_of(read_with(members)), "unsupported") << members;
}

TEST(ModelConfig, RefusesWhatIsMalformed) {
  for (const std::string_view members :
       {R"("model_type": null)",
        R"("model_type": 1)",
        R"("hidden_act": 3)",
        R"("sliding_window": "wide")",
        R"("partial_rotary_factor": 0)",
        R"("partial_rotary_factor": 1.5)",
        R"("partial_rotary_factor": 0.45)",
        R"("partial_rotary_factor": "all")",
        R"("rope_scaling": {"type": "linear", "factor": 0})",
        R"("rope_scaling": {"type": "linear", "factor": "x"})",
        R"("rope_scaling": {"type": "llama3", "factor": 8})",
        R"("rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1})",
        R"("rope_scaling": {"type": "longrope", "short_factor": [1, 1], "long_factor": [1, 2, 3, 4]})",
        R"("rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": -1})",
        R"("hidden_size": null)",
        R"("hidden_size": 0)",
        R"("hidden_size": -64)",
        R"("hidden_size": 64.0)",
        R"("hidden_size": "64")",
        R"("hidden_size": [64])",
        R"("hidden_size": 2147483648)",
        R"("hidden_size": 18446744073709551615)",
        R"("hidden_size": 65)",
        R"("intermediate_size": 0)",
        R"("num_hidden_layers": 0)",
        R"("num_attention_heads": 0)",
        R"("num_attention_heads": 7)",
        R"("num_key_value_heads": 3)",
        R"("num_key_value_heads": 16)",
        R"("num_key_value_heads": 0)",
        R"("head_dim": 7)",
        R"("head_dim": 0)",
        R"("vocab_size": null)",
        R"("vocab_size": 4294967296)",
        R"("max_position_embeddings": null)",
        R"("rms_norm_eps": null)",
        R"("rms_norm_eps": "small")",
        R"("rms_norm_eps": -1e-5)",
        R"("rms_norm_eps": 1e300)",
        R"("rope_theta": 0)",
        R"("rope_theta": -1)",
        R"("rope_theta": "10000")",
        R"("attention_bias": 1)",
        R"("mlp_bias": "no")",
        R"("tie_word_embeddings": [])",
        R"("rope_theta": 1.0, "rope_parameters": {"rope_type": "default", "rope_theta": 2.0})",
        R"("rope_parameters": {"rope_type": "default", "rope_theta": true})"})
    EXPECT_EQ(code_of(read_with(members)), "bad_config") << members;
  EXPECT_EQ(code_of(read_model_config(io::Json())), "bad_config");
  EXPECT_EQ(code_of(read_model_config(io::Json::array())), "bad_config");
  EXPECT_EQ(code_of(read_model_config(io::Json::object())), "bad_config");
}

TEST(ModelConfig, SaysWhatWasFoundAndWhatWasExpected) {
  EXPECT_TRUE(describe(read_with(R"("model_type": "rwkv")").error())
                  .starts_with("config.json: \"model_type\" is \"rwkv\", which the forward pass does not compute; "
                               "expected one of: llama, mistral, "));
  EXPECT_EQ(describe(read_with(R"("head_dim": 7)").error()),
            "config.json: \"head_dim\" is odd; positions rotate pairs of elements: 7");
  EXPECT_EQ(describe(read_with(R"("vocab_size": null)").error()), "config.json: \"vocab_size\" is missing");
}

}  // namespace
}  // namespace kvant::nn
