// SPDX-License-Identifier: Apache-2.0
// What quantize and dequantize do to files: outputs whole or not at all, inputs untouched, rules as written.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "checkpoints.hpp"
#include "kvant/io/checkpoint.hpp"
#include "run_kvant.hpp"
#include "support/sanitized.hpp"

namespace {

using namespace kvant::cli::test;
namespace fs = std::filesystem;

/// A folder with a small checkpoint `m` in it.
class Quantize : public ::testing::Test {
 protected:
  void SetUp() override { write_checkpoint(folder_ / "m", usual_tensors()); }

  [[nodiscard]] std::vector<std::string> line(const std::string& input, const std::string& output,
                                              std::vector<std::string> more = {}) const {
    std::vector<std::string> words{"quantize", folder_ / input, "-o", folder_ / output, "--scheme", "int8-channel"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  /// Runs `line` on the usual checkpoint and gives its document.
  [[nodiscard]] kvant::io::Json report(std::vector<std::string> more) const {
    more.insert(more.end(), {"--json", "--force"});
    const Outcome run = run_kvant(line("m", "q", more));
    EXPECT_EQ(run.exit, 0) << run.err;
    return json_of(run.out);
  }
  /// The scheme of each tensor of a report, in the order of names.
  static std::vector<std::string> schemes(const kvant::io::Json& report) {
    std::vector<std::string> out;
    for (const kvant::io::Json& tensor : report.find("tensors")->items()) {
      const std::string* scheme = tensor.find("scheme")->as_string();
      out.push_back(scheme != nullptr ? *scheme : "");
    }
    return out;
  }

  TemporaryFolder folder_;
};

TEST_F(Quantize, RefusesItsInputAsOutputAndLeavesItAlone) {
  fs::create_symlink(folder_ / "m", folder_ / "link");
  fs::create_hard_link(folder_ / "m", folder_ / "hard");
  const std::string before = read_bytes(folder_ / "m");
  const auto names = folder_.names();
  for (const char* output : {"m", "link", "hard", "./m"}) expect_error(line("m", output, {"--force"}), 5, "same_file");
  expect_error(line("link", "m", {"--force"}), 5, "same_file");
  EXPECT_EQ(read_bytes(folder_ / "m"), before);
  EXPECT_EQ(folder_.names(), names);
}

TEST_F(Quantize, RefusesItsInputFolderAsOutput) {
  fs::create_directory(folder_ / "model");
  write_checkpoint(folder_ / "model/model.safetensors", usual_tensors());
  fs::create_directory_symlink(folder_ / "model", folder_ / "link");
  const std::string before = read_bytes(folder_ / "model/model.safetensors");
  for (const char* output : {"model", "model/", "link", "model/inside"})
    expect_error(line("model", output, {"--force"}), 5, "same_file");
  EXPECT_EQ(read_bytes(folder_ / "model/model.safetensors"), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "model"), {}), 1);
}

TEST_F(Quantize, RefusesAnOutputThatExists) {
  folder_.write("q", "precious");
  expect_error(line("m", "q"), 5, "exists");
  EXPECT_EQ(read_bytes(folder_ / "q"), "precious");
  EXPECT_EQ(run_kvant(line("m", "q", {"--force"})).exit, 0);
  EXPECT_EQ(run_kvant({"inspect", folder_ / "q"}).exit, 0);
  EXPECT_EQ(folder_.names(), (std::vector<std::string>{"m", "q"}));
}

/// A model's folder `model` beside the usual file, with side files in it and below it.
class QuantizeFolder : public Quantize {
 protected:
  // What transformers and people write; engines tell 8.0 from 8 and the length of Llama 2 from anything shorter.
  static constexpr const char* kConfig = R"({
    "rope_scaling": {"factor": 8.0, "low": 1e0},   "rms_norm_eps": 1e-05,
    "model_max_length": 1000000000000000019884624838656, "time_step_limit": [0.0, Infinity],
    "torch_dtype": "float32", "text_config": {"dtype": "float32", "scale": 1.0},
    "model_type": "none"
}
)";
  void SetUp() override {
    Quantize::SetUp();
    fs::create_directories(folder_ / "model/1_Pooling");
    fs::create_directories(folder_ / "model/additional_chat_templates");
    write_checkpoint(folder_ / "model/model.safetensors", usual_tensors());
    folder_.write("model/config.json", kConfig);
    folder_.write("model/README.md", "of the model");
    folder_.write("model/1_Pooling/config.json", R"({"pooling": 1.0})");
    folder_.write("model/additional_chat_templates/tool.jinja", "{{ x }}");
  }
  [[nodiscard]] Outcome run(std::vector<std::string> more = {}) const { return run_kvant(line("model", "q", more)); }
};

TEST_F(QuantizeFolder, ReplacesWhatItWroteAndNothingElse) {
  ASSERT_EQ(run().exit, 0);
  EXPECT_EQ(read_bytes(folder_ / "q/additional_chat_templates/tool.jinja"), "{{ x }}");
  EXPECT_EQ(read_bytes(folder_ / "q/1_Pooling/config.json"), R"({"pooling": 1.0})");
  ASSERT_EQ(run({"--force"}).exit, 0);
  const auto names = folder_.names();
  for (const std::string name : {"work.py", ".git/", "notes/", "1_Pooling/notes.txt", "model.bin"}) {
    const bool is_folder = name.ends_with('/');
    const fs::path path = folder_ / ("q/" + name);
    if (is_folder)
      fs::create_directory(path);
    else
      folder_.write("q/" + name, "precious");
    const std::string before = read_bytes(folder_ / "q/model.safetensors");
    const auto json = expect_error(line("model", "q", {"--force"}), 2, "usage");
    EXPECT_NE(text_at(json, "file").find(is_folder ? name.substr(0, name.size() - 1) : name), std::string::npos);
    EXPECT_TRUE(fs::exists(path)) << name;
    EXPECT_EQ(read_bytes(folder_ / "q/model.safetensors"), before);
    EXPECT_EQ(folder_.names(), names);
    fs::remove(path);
  }
  ASSERT_EQ(run({"--force"}).exit, 0);
}

TEST_F(QuantizeFolder, FailsAtOnceWhereAnotherRunWritesTheOutput) {
  for (const std::string input : {"m", "model"}) {
    const fs::path big = folder_ / ("big-" + input);
    if (input == "model") fs::create_directory(big);
    write_sparse_checkpoint(input == "model" ? big / "model.safetensors" : big, 16384);
    const auto names = folder_.names();
    Child first({"quantize", big, "-o", folder_ / "q", "--scheme", "nvfp4", "--threads", "1"});
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (folder_.names().size() < names.size() + 2 && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto start = std::chrono::steady_clock::now();
    const auto json = expect_error(line(input, "q", {"--force"}), 5, "in_use");
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    EXPECT_NE(text_at(json, "message").find("by process "), std::string::npos) << text_at(json, "message");
    first.signal(SIGTERM);
    EXPECT_EQ(first.wait().exit, 143);
    EXPECT_EQ(folder_.names(), names);
    EXPECT_EQ(run_kvant(line(input, "q")).exit, 0);
    fs::remove_all(folder_ / "q");
  }
}

TEST_F(QuantizeFolder, CopiesTheConfigurationByteForByte) {
  const std::string before = kConfig;
  ASSERT_EQ(run().exit, 0);
  const std::string after = read_bytes(folder_ / "q/config.json");
  const std::size_t kept = before.rfind("\n}");
  ASSERT_EQ(after.substr(0, kept), before.substr(0, kept));
  EXPECT_TRUE(after.substr(kept).starts_with(",\n    \"quantization_config\": {\n        \"quant_method\"")) << after;
  EXPECT_TRUE(after.ends_with("    }\n}\n"));
  ASSERT_EQ(run_kvant({"dequantize", folder_ / "q", "-o", folder_ / "f"}).exit, 0);
  EXPECT_EQ(read_bytes(folder_ / "f/config.json"), before);
  ASSERT_EQ(run_kvant({"quantize", folder_ / "model", "-o", folder_ / "c", "--scheme", "bf16"}).exit, 0);
  std::string cast = before;
  for (std::size_t at; (at = cast.find("\"float32\"")) != std::string::npos;) cast.replace(at, 9, "\"bfloat16\"");
  EXPECT_EQ(read_bytes(folder_ / "c/config.json"), cast);
}

TEST_F(QuantizeFolder, NamesALinkToNothing) {
  for (const std::string name : {"config.json", "tokenizer.json", "1_Pooling/config.json"}) {
    fs::remove(folder_ / ("model/" + name));
    fs::create_symlink("../blobs/0", folder_ / ("model/" + name));
    const auto json = expect_error(line("model", "q"), 5, "not_found");
    EXPECT_NE(text_at(json, "file").find(name), std::string::npos);
    EXPECT_FALSE(fs::exists(folder_ / "q"));
    fs::remove(folder_ / ("model/" + name));
    folder_.write("model/" + name, "{}");
  }
}

TEST_F(QuantizeFolder, SaysWhichWeightsItDoesNotCopy) {
  folder_.write("model/pytorch_model.bin", "x");
  const Outcome run = this->run();
  ASSERT_EQ(run.exit, 0);
  EXPECT_NE(run.err.find("not copied: pytorch_model.bin"), std::string::npos) << run.err;
}

TEST_F(QuantizeFolder, NamesWeightsOfItsOwnConventionSoThatNoEngineTakesThemForFloats) {
  ASSERT_EQ(run_kvant({"quantize", folder_ / "model", "-o", folder_ / "q", "--scheme", "is4"}).exit, 0);
  std::vector<std::string> weights;
  for (const auto& entry : fs::directory_iterator(folder_ / "q"))
    if (entry.path().string().find("safetensors") != std::string::npos) weights.push_back(entry.path().filename());
  std::sort(weights.begin(), weights.end());
  EXPECT_EQ(weights, (std::vector<std::string>{"kvant-00001-of-00001.safetensors", "kvant.safetensors.index.json"}));
  ASSERT_EQ(run_kvant({"dequantize", folder_ / "q", "-o", folder_ / "f"}).exit, 0);
  EXPECT_TRUE(fs::exists(folder_ / "f/model.safetensors"));
  EXPECT_FALSE(fs::exists(folder_ / "f/model.safetensors.index.json"));
  ASSERT_EQ(run({"--force"}).exit, 0);
  EXPECT_TRUE(fs::exists(folder_ / "q/model.safetensors"));
  EXPECT_FALSE(fs::exists(folder_ / "q/kvant.safetensors.index.json"));
}

TEST_F(Quantize, RefusesAMissingOrReadOnlyFolder) {
  expect_error(line("m", "missing/q"), 5, "not_found");
  expect_error(line("m", "/proc/q"), 5, "io");  // nobody creates files there, root neither
  if (::geteuid() == 0) return;                 // who may write everywhere else
  fs::create_directory(folder_ / "sealed");
  fs::permissions(folder_ / "sealed", fs::perms::owner_read | fs::perms::owner_exec);
  expect_error(line("m", "sealed/q"), 5, "io");
}

TEST_F(Quantize, WritesNothingInADryRun) {
  const Outcome run = run_kvant(line("m", "q", {"--dry-run", "--json"}));
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"m"});
  const kvant::io::Json json = json_of(run.out);
  EXPECT_GT(number_at(json, "bytes_out"), 0);
  EXPECT_TRUE(json.find("tensors")->items()[0].find("sqnr_db")->is_null());
}

TEST_F(Quantize, ReportsWhatInspectFinds) {
  for (const char* scheme : {"int8-channel", "int4-g32", "int4-g32-asym", "fp8_e4m3fn-channel", "nf4-g32", "int3-g32",
                             "int2-g32", "ternary-channel", "bf16"}) {
    const Outcome run =
        run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", scheme, "--force", "--json"});
    ASSERT_EQ(run.exit, 0) << scheme << run.err;
    const kvant::io::Json found = json_of(run_kvant({"inspect", folder_ / "q", "--json"}).out);
    const bool cast = scheme == std::string("bf16");
    EXPECT_EQ(cast ? text_at(found.find("tensors")->items()[0], "dtype")
                   : text_at(found.find("tensors")->items()[0], "scheme"),
              cast ? "BF16" : scheme);
    EXPECT_EQ(number_at(found, "parameters"), 48 * 96 + 32 * 64 + 64) << scheme;
  }
}

TEST_F(Quantize, SplitsARuleAtItsLastEqualsSign) {
  write_checkpoint(folder_ / "m", {{"x=y.weight", {{8, 32}}}, {"z.weight", {{8, 32}}}});
  EXPECT_EQ(schemes(report({"--rule", "x=y\\.weight=int4-g32"})),
            (std::vector<std::string>{"int4-g32", "int8-channel"}));
}

TEST_F(Quantize, TakesTheFirstOfRulesAndSkipsThatMatches) {
  EXPECT_EQ(schemes(report({"--rule", "layers\\.0.*=int4-g32", "--skip", "layers.*"})),
            (std::vector<std::string>{"int4-g32", "", ""}));
  const Outcome run =
      run_kvant(line("m", "q", {"--force", "--skip", "layers.*", "--rule", "layers\\.0.*=int4-g32", "--json"}));
  EXPECT_EQ(schemes(json_of(run.out)), (std::vector<std::string>{"", "", ""}));
  EXPECT_NE(run.err.find("warning: "), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("shadowed"), std::string::npos) << run.err;
}

TEST_F(Quantize, MatchesWholeNamesAndCase) {
  expect_error(line("m", "q", {"--rule", "layers=int4-g32"}), 2, "rule_matches_nothing");
  expect_error(line("m", "q", {"--rule", "LAYERS.*=int4-g32"}), 2, "rule_matches_nothing");
  expect_error(line("m", "q", {"--skip", "nothing"}), 2, "rule_matches_nothing");
  EXPECT_FALSE(fs::exists(folder_ / "q"));
}

TEST_F(Quantize, LetsARuleOverrideTheDefaultList) {
  write_checkpoint(folder_ / "m",
                   {{"embed.weight", {{8, 32}}}, {"lm_head.weight", {{8, 32}}}, {"up.weight", {{8, 32}}}});
  EXPECT_EQ(schemes(report({})), (std::vector<std::string>{"", "", "int8-channel"}));
  EXPECT_EQ(schemes(report({"--rule", "embed.*=int4-g32"})),
            (std::vector<std::string>{"int4-g32", "", "int8-channel"}));
}

TEST_F(Quantize, RefusesMalformedRules) {
  expect_error(line("m", "q", {"--rule", "no-scheme"}), 2, "bad_recipe");
  expect_error(line("m", "q", {"--rule", "=int8-channel"}), 2, "bad_recipe");
  expect_error(line("m", "q", {"--rule", ".*=int99"}), 2, "bad_scheme");
  expect_error(line("m", "q", {"--rule", "(=int8-channel"}), 2, "bad_pattern");
  expect_error(line("m", "q", {"--skip", "[z-a]"}), 2, "bad_pattern");
  expect_error(line("m", "q", {"--skip", "\xff"}), 2, "bad_pattern");
}

TEST_F(Quantize, BoundsTheCostOfAPattern) {
  write_checkpoint(folder_ / "m", {{std::string(60, 'a') + "b", {{4, 32}}}});
  const auto start = std::chrono::steady_clock::now();
  expect_error(line("m", "q", {"--rule", "((a|aa)+)+[cd]=int8-channel"}), 2, "bad_pattern");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(Quantize, RefusesNanAndInfUnlessToldOtherwise) {
  for (const float odd : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::string bytes = read_bytes(folder_ / "m");
    std::memcpy(bytes.data() + bytes.size() - 4 * 100, &odd, sizeof odd);
    folder_.write("odd", bytes);
    const auto json = expect_error(line("odd", "q"), 7, "nonfinite");
    EXPECT_NE(text_at(json, "tensor"), "(no text)");
    EXPECT_EQ(folder_.names(), (std::vector<std::string>{"m", "odd"}));
    for (const char* policy : {"zero", "keep"}) {
      EXPECT_EQ(run_kvant(line("odd", "q", {"--nonfinite", policy, "--force"})).exit, 0) << policy;
      EXPECT_EQ(run_kvant({"dequantize", folder_ / "q", "-o", folder_ / "f", "--force"}).exit, 0) << policy;
    }
    fs::remove(folder_ / "q");
    fs::remove(folder_ / "f");
  }
}

TEST_F(Quantize, KeepsNaNThatAFormatHas) {
  write_checkpoint(folder_ / "m", {{"up.weight", {{4, 32}, [](std::size_t i) { return i == 5 ? NAN : 1.0f; }}}});
  for (const char* scheme : {"fp8_e4m3fn-channel", "fp8_e5m2-tensor", "fp8_e4m3fnuz-channel", "mxfp8_e4m3fn"}) {
    EXPECT_EQ(run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", scheme, "--nonfinite", "keep",
                         "--force"})
                  .exit,
              0)
        << scheme;
    expect_error({"dequantize", folder_ / "q", "-o", folder_ / "f", "--force"}, 7, "nonfinite");
    const Outcome back =
        run_kvant({"dequantize", folder_ / "q", "-o", folder_ / "f", "--force", "--nonfinite", "keep"});
    EXPECT_EQ(back.exit, 0) << scheme << back.err;
    EXPECT_NE(back.err.find("1 NaN or Inf in 1 tensor (up.weight)"), std::string::npos) << back.err;
    expect_error({"quantize", folder_ / "f", "-o", folder_ / "g", "--scheme", "int8-channel"}, 7, "nonfinite");
  }
}

TEST_F(Quantize, CountsWhatNonFinitePoliciesTouchedAndKeepsErrorFigures) {
  const auto value = [](std::size_t i) {
    return i == 5 ? NAN : i == 40 ? INFINITY : std::sin(0.7f * static_cast<float>(i));
  };
  const auto finite = [](std::size_t i) { return i == 5 || i == 40 ? 0.0f : std::sin(0.7f * static_cast<float>(i)); };
  write_checkpoint(folder_ / "m", {{"down.weight", {{4, 32}, finite}}, {"up.weight", {{4, 32}, value}}});
  for (const char* scheme : {"int8-channel", "fp16"})
    for (const char* policy : {"zero", "keep"}) {
      const Outcome run = run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", scheme, "--nonfinite",
                                     policy, "--force", "--json"});
      ASSERT_EQ(run.exit, 0) << run.err;
      EXPECT_NE(run.err.find("2 NaN or Inf in 1 tensor (up.weight)"), std::string::npos) << run.err;
      const kvant::io::Json json = json_of(run.out);
      const auto tensors = json.find("tensors")->items();
      EXPECT_EQ(number_at(tensors[0], "nonfinite"), 0);
      EXPECT_EQ(number_at(tensors[1], "nonfinite"), 2);
      EXPECT_NEAR(number_at(tensors[1], "sqnr_db"), number_at(tensors[0], "sqnr_db"), 1) << scheme << policy;
    }
}

TEST_F(Quantize, IsUndoneInADtypeThatHoldsTheValuesUnlessKept) {
  write_checkpoint(folder_ / "m", {{"up.weight", {{4, 32}, [](std::size_t i) { return i == 5 ? 1e6f : 1.0f; }}}});
  ASSERT_EQ(run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", "int8-channel"}).exit, 0);
  const auto json =
      expect_error({"dequantize", folder_ / "q", "-o", folder_ / "f", "--dtype", "fp16"}, 7, "scale_overflow");
  EXPECT_NE(text_at(json, "message").find("1 values exceed fp16; bf16 and fp32 hold them"), std::string::npos);
  EXPECT_EQ(text_at(json, "tensor"), "up.weight");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "f"));
  EXPECT_EQ(run_kvant({"dequantize", folder_ / "q", "-o", folder_ / "f", "--dtype", "bf16"}).exit, 0);
  const Outcome kept = run_kvant(
      {"dequantize", folder_ / "q", "-o", folder_ / "f", "--dtype", "fp16", "--nonfinite", "keep", "--force"});
  EXPECT_EQ(kept.exit, 0);
  EXPECT_NE(kept.err.find("1 values in 1 tensor (up.weight) became Inf"), std::string::npos) << kept.err;
}

TEST_F(Quantize, CopiesRowsOfNothingHoweverMany) {
  write_checkpoint(folder_ / "m", {{"up.weight", {{std::uint64_t{1} << 40, 0}}}, {"down.weight", {{4, 32}}}});
  EXPECT_EQ(run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", "int8-channel"}).exit, 0);
  EXPECT_EQ(run_kvant({"dequantize", folder_ / "q", "-o", folder_ / "f"}).exit, 0);
}

TEST_F(Quantize, KeepsInfInACast) {
  write_checkpoint(folder_ / "m", {{"up.weight", {{4, 32}, [](std::size_t i) { return i == 5 ? -INFINITY : 1.0f; }}}});
  for (const char* scheme : {"fp32", "fp16", "bf16"}) {
    const Outcome run = run_kvant(
        {"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", scheme, "--nonfinite", "keep", "--force"});
    EXPECT_EQ(run.exit, 0) << scheme;
    expect_error({"quantize", folder_ / "q", "-o", folder_ / "g", "--scheme", "int8-channel"}, 7, "nonfinite");
  }
}

TEST_F(Quantize, RefusesAScaleBeyondItsTypeUnlessKept) {
  write_checkpoint(folder_ / "m", {{"up.weight", {{4, 32}, [](std::size_t i) { return i == 5 ? 1e37f : 1.0f; }}}});
  const auto message = [&](const std::string& scheme) {
    return text_at(
        expect_error({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", scheme}, 7, "scale_overflow"),
        "message");
  };
  EXPECT_NE(message("int8-channel").find("int8-channel-scale:fp32 holds them"), std::string::npos);
  // Wider scales are no answer where the values themselves, or scales of two levels, are too large.
  for (const char* scheme : {"fp16", "is4"})
    EXPECT_EQ(message(scheme).find("-scale:fp32"), std::string::npos) << scheme;
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"m"});
  EXPECT_EQ(run_kvant(line("m", "q", {"--nonfinite", "keep"})).exit, 0);
  EXPECT_EQ(run_kvant({"quantize", folder_ / "m", "-o", folder_ / "wide", "--scheme", "int8-channel-scale:fp32"}).exit,
            0);
}

TEST_F(Quantize, IsDefinedForOddValues) {
  const std::vector<FloatTensor> odd{
      {{4, 64}, [](std::size_t) { return 0.0f; }},
      {{4, 64}, [](std::size_t) { return -0.0f; }},
      {{4, 64}, [](std::size_t) { return 2.5f; }},
      {{4, 64}, [](std::size_t i) { return static_cast<float>(i) * 1e-8f; }},
      {{4, 64}, [](std::size_t i) { return static_cast<float>(i) * 1e-44f; }},
      {{4, 64}, [](std::size_t i) { return i == 7 ? 6e4f : 0.01f; }},
  };
  for (std::size_t i = 0; i < odd.size(); ++i) {
    write_checkpoint(folder_ / "m", {{"up.weight", odd[i]}});
    for (const char* scheme : {"int8-channel", "int4-g32", "int4-g32-asym", "ternary-tensor", "nf4-g32"}) {
      const Outcome run = run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", scheme, "--force"});
      EXPECT_EQ(run.exit, 0) << i << " " << scheme << run.err;
    }
  }
}

TEST_F(Quantize, TakesAnyShape) {
  FloatTensors tensors{{"other.weight", {{2, 32}}}};
  for (const std::uint64_t cols : {1u, 31u, 33u, 127u, 0u})
    for (const std::uint64_t rows : {0u, 1u, 3u})
      tensors["of_" + std::to_string(rows) + "x" + std::to_string(cols) + ".weight"] = {{rows, cols}};
  write_checkpoint(folder_ / "m", tensors);
  for (const char* scheme : {"int4-g32", "int8-channel", "int3-g128", "fp8_e4m3fn-tensor"}) {
    const Outcome q = run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", scheme, "--force"});
    ASSERT_EQ(q.exit, 0) << scheme << ": " << q.err;
    const Outcome f = run_kvant({"dequantize", folder_ / "q", "-o", folder_ / "f", "--force"});
    ASSERT_EQ(f.exit, 0) << scheme << ": " << f.err;
    const auto checkpoint = kvant::io::Checkpoint::open(folder_ / "f");
    ASSERT_TRUE(checkpoint) << describe(checkpoint.error());
    for (const auto& [name, written] : tensors) {
      const kvant::io::CheckpointTensor* read = checkpoint->find(name);
      ASSERT_NE(read, nullptr) << name;
      EXPECT_EQ(read->shape, written.shape) << name << " " << scheme;
    }
  }
}

TEST_F(Quantize, RefusesWhatIsQuantizedAlready) {
  ASSERT_EQ(run_kvant(line("m", "q")).exit, 0);
  expect_error(line("q", "again"), 4, "unsupported");
  expect_error({"dequantize", folder_ / "m", "-o", folder_ / "f"}, 4, "unsupported");
}

TEST_F(Quantize, GivesTheSameBytesForAnyThreadsAndTier) {
  const kvant::io::Json list = json_of(run_kvant({"list", "tiers", "--json"}).out);
  for (const char* scheme : {"int8-channel", "int4-g32", "nf4-g32", "int2-g32", "fp8_e4m3fn-tensor"}) {
    std::string first;
    for (const kvant::io::Json& tier : list.find("tiers")->items()) {
      if (!*tier.find("runnable")->as_bool()) continue;
      for (const char* threads : {"1", "2", "5"}) {
        const Outcome run = run_kvant({"quantize", folder_ / "m", "-o", folder_ / "q", "--scheme", scheme, "--force",
                                       "--threads", threads, "--tier", text_at(tier, "name")});
        ASSERT_EQ(run.exit, 0) << run.err;
        const std::string bytes = read_bytes(folder_ / "q");
        if (first.empty()) first = bytes;
        EXPECT_TRUE(bytes == first) << scheme << " " << text_at(tier, "name") << " " << threads;
      }
    }
  }
}

TEST_F(Quantize, AFileSizeLimitIsAnErrorThatLeavesNothing) {
  const Outcome run = Child({"-c", "ulimit -f 1; exec \"$0\" \"$@\"", KVANT_CLI_PATH, "quantize", folder_ / "m", "-o",
                             folder_ / "q", "--scheme", "int8-channel"},
                            {}, "/bin/sh")
                          .wait();
  EXPECT_EQ(run.exit, 5) << run.err;
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"m"});
}

/// A run on a model that takes long enough to be interrupted.
class Interrupted : public ::testing::TestWithParam<int> {
 protected:
  /// Starts `words`, waits for the output's temporary name, and sends the signal.
  static void expect_interrupted(const TemporaryFolder& folder, const std::vector<std::string>& words) {
    const auto names = folder.names();
    Child child(words);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (folder.names() == names && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ASSERT_NE(folder.names(), names) << "no temporary file appeared";
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto start = std::chrono::steady_clock::now();
    child.signal(GetParam());
    const Outcome run = child.wait();
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
    EXPECT_EQ(run.exit, 128 + GetParam()) << run.err;
    EXPECT_NE(run.err.find("kvant: interrupted"), std::string::npos) << run.err;
    const kvant::io::Json json = json_of(run.out);
    EXPECT_EQ(text_at(json, "code"), "interrupted");
    EXPECT_EQ(number_at(json, "exit"), 128 + GetParam());
    EXPECT_EQ(folder.names(), names);
  }
};

TEST_P(Interrupted, LeavesNothingOfAFile) {
  const TemporaryFolder folder;
  write_sparse_checkpoint(folder / "m", 16384);
  expect_interrupted(folder, {"quantize", folder / "m", "-o", folder / "q", "--scheme", "int4-g128", "--json"});
}

TEST_P(Interrupted, LeavesAnEarlierFolderAsItWas) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "m");
  fs::create_directory(folder / "q");
  write_sparse_checkpoint(folder / "m/model.safetensors", 16384);
  write_checkpoint(folder / "q/model.safetensors", usual_tensors());
  const std::string before = read_bytes(folder / "q/model.safetensors");
  expect_interrupted(folder,
                     {"quantize", folder / "m", "-o", folder / "q", "--scheme", "int4-g128", "--json", "--force"});
  EXPECT_EQ(read_bytes(folder / "q/model.safetensors"), before);
}

INSTANTIATE_TEST_SUITE_P(By, Interrupted, ::testing::Values(SIGINT, SIGTERM),
                         [](const auto& signal) { return std::string(signal.param == SIGINT ? "SIGINT" : "SIGTERM"); });

TEST(Streaming, HoldsMuchLessThanTheTensor) {
  if (kvant::test::kSanitized) GTEST_SKIP() << "a sanitizer keeps memory of its own";
  const TemporaryFolder folder;
  write_sparse_checkpoint(folder / "m", 4096);  // 256 MiB
  const Outcome run = run_kvant({"quantize", folder / "m", "-o", folder / "q", "--scheme", "int8-channel", "--effort",
                                 "0", "--json", "--threads", "2"});
  ASSERT_EQ(run.exit, 0) << run.err;
  EXPECT_LT(number_at(json_of(run.out), "peak_rss_bytes"), 128.0 * 1024 * 1024);
}

}  // namespace
