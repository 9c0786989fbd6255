// SPDX-License-Identifier: Apache-2.0
// Real models through the command line: quantized, inspected, dequantized, evaluated, continued.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "checkpoints.hpp"
#include "kvant/io/checkpoint.hpp"
#include "kvant/io/safetensors.hpp"
#include "nn/tiny_model.hpp"
#include "run_kvant.hpp"
#include "support/sanitized.hpp"
#include "support/test_cases.hpp"

namespace {

using namespace kvant::cli::test;
using Keys = std::vector<std::string>;
namespace fs = std::filesystem;

/// eval as JSON.
kvant::io::Json eval(const fs::path& model, const fs::path& text, std::vector<std::string> more) {
  std::vector<std::string> words{"eval", model, "--text", text, "--json", "--quiet"};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome run = run_kvant(words);
  EXPECT_EQ(run.exit, 0) << run.err;
  return json_of(run.out);
}

void quantize(const fs::path& model, const fs::path& output, const std::string& scheme) {
  const Outcome run = run_kvant({"quantize", model, "-o", output, "--scheme", scheme, "--quiet"});
  ASSERT_EQ(run.exit, 0) << run.err;
}

TEST(Stories, EvaluateToTheReferenceByWindowsAndByDocuments) {
  KVANT_SKIP_UNDER_SANITIZERS();
  if (stories().empty()) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
  const fs::path ids = stories() / "test_ids.npy";
  const kvant::io::Json windows = eval(stories(), ids, {"--context", "512"});
  EXPECT_EQ(keys_of(windows),
            (Keys{"schema", "tokens", "nll", "nll_stderr", "perplexity", "bits_per_byte", "bits_per_weight",
                  "weight_bytes", "prompt_tokens_per_s", "generate_tokens_per_s", "peak_rss_bytes"}));
  EXPECT_EQ(text_at(windows, "schema"), "kvant.eval/1");
  EXPECT_EQ(number_at(windows, "tokens"), 36613);
  EXPECT_NEAR(number_at(windows, "nll"), 1.4787756, 0.0005);
  EXPECT_NEAR(number_at(windows, "perplexity"), std::exp(number_at(windows, "nll")), 1e-9);
  EXPECT_TRUE(windows.find("bits_per_byte")->is_null());
  EXPECT_EQ(number_at(windows, "bits_per_weight"), 32);
  const kvant::io::Json documents = eval(stories(), ids, {"--documents", "1"});
  EXPECT_EQ(number_at(documents, "tokens"), 36605);
  EXPECT_NEAR(number_at(documents, "nll"), 1.4360194, 0.0005);
}

TEST(Stories, AreQuantizedAndEvaluatedOnPackedWeights) {
  if (stories().empty()) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
  const TemporaryFolder folder;
  quantize(stories(), folder / "q", "int8-channel");
  const kvant::io::Json found = json_of(run_kvant({"inspect", folder / "q", "--json"}).out);
  EXPECT_EQ(number_at(found, "parameters"), 260032);
  std::size_t quantized = 0;
  for (const kvant::io::Json& tensor : found.find("tensors")->items())
    quantized += tensor.find("scheme") != nullptr && text_at(tensor, "scheme") == "int8-channel" ? 1u : 0u;
  EXPECT_EQ(quantized, 35u);
  for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json"})
    EXPECT_TRUE(fs::exists(folder / "q" / file)) << file;
  const fs::path ids = stories() / "test_ids.npy";
  const std::string tokens = std::to_string(4096 / kvant::test::test_stride());
  const kvant::io::Json packed = eval(folder / "q", ids, {"--context", "512", "--tokens", tokens});
  ASSERT_EQ(run_kvant({"dequantize", folder / "q", "-o", folder / "f"}).exit, 0);
  const kvant::io::Json dequantized = eval(folder / "f", ids, {"--context", "512", "--tokens", tokens});
  EXPECT_NEAR(number_at(packed, "nll"), number_at(dequantized, "nll"), 1e-3);
  EXPECT_LT(number_at(packed, "weight_bytes"), 0.4 * number_at(dequantized, "weight_bytes"));
  EXPECT_NEAR(number_at(packed, "bits_per_weight"), number_at(found, "bits_per_weight"), 0.1);
}

TEST(Stories, AreContinuedAsWritten) {
  if (stories().empty()) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
  const Outcome plain = run_kvant({"generate", stories(), "--prompt", "Once upon a time", "-n", "12"});
  EXPECT_EQ(plain.exit, 0) << plain.err;
  EXPECT_EQ(plain.err, "");
  const kvant::io::Json json =
      json_of(run_kvant({"generate", stories(), "--prompt", "Once upon a time", "-n", "12", "--json"}).out);
  EXPECT_EQ(keys_of(json), (Keys{"schema", "text", "tokens", "tokens_per_s"}));
  EXPECT_EQ(text_at(json, "text") + "\n", plain.out);
  EXPECT_EQ(number_at(json, "tokens"), 12);
}

class Tiny : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kTiny / "model.safetensors")) GTEST_SKIP() << "models/tiny is not there";
  }
  TemporaryFolder folder_;
};

TEST_F(Tiny, IsQuantizedReinspectedAndDequantizedToTheReportedError) {
  const Outcome run = run_kvant({"quantize", kTiny, "-o", folder_ / "q", "--scheme", "int4-g128", "--json", "--quiet"});
  ASSERT_EQ(run.exit, 0) << run.err;
  ASSERT_EQ(run_kvant({"dequantize", folder_ / "q", "-o", folder_ / "f"}).exit, 0);
  const auto original = kvant::io::Checkpoint::open(kTiny);
  const auto restored = kvant::io::Checkpoint::open(folder_ / "f");
  ASSERT_TRUE(original && restored);
  const kvant::io::Json report = json_of(run.out);
  for (const kvant::io::Json& tensor : report.find("tensors")->items()) {
    if (text_at(tensor, "action") != "quantize") continue;
    const std::string name = text_at(tensor, "name");
    const auto x = original->read_matrix(*original->find(name));
    const auto y = restored->read_matrix(*restored->find(name));
    ASSERT_TRUE(x && y) << name;
    double signal = 0;
    double noise = 0;
    for (std::size_t i = 0; i < x->size(); ++i) {
      const auto a = static_cast<double>(x->data()[i]);
      const auto e = a - static_cast<double>(y->data()[i]);
      signal += a * a;
      noise += e * e;
    }
    EXPECT_NEAR(number_at(tensor, "sqnr_db"), 10 * std::log10(signal / noise), 1e-6) << name;
    EXPECT_NEAR(number_at(tensor, "relative_error"), std::sqrt(noise / signal), 1e-6) << name;
  }
}

TEST_F(Tiny, IsEvaluatedOnText) {
  folder_.write("text", "river (noun): a large natural stream of water\nlake (noun): a body of water\n");
  const kvant::io::Json json = eval(kTiny, folder_ / "text", {});
  EXPECT_GT(number_at(json, "bits_per_byte"), 0.1);
  EXPECT_LT(number_at(json, "bits_per_byte"), 8.0);
  EXPECT_EQ(number_at(json, "bits_per_weight"), 16);
  expect_error({"eval", kTiny, "--text", folder_ / "text", "--context", "100000"}, 2, "usage");
  expect_error({"eval", kTiny, "--text", folder_ / "absent"}, 5, "not_found");
  folder_.write("latin1", "caf\xe9");
  expect_error({"eval", kTiny, "--text", folder_ / "latin1"}, 3, "bad_utf8");
}

TEST_F(Tiny, GeneratesTheSameTextFromTheSameSeed) {
  const std::vector<std::string> line{"generate", kTiny.string(), "--prompt", "river (noun):", "-n", "12"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), line.begin(), line.end());
    const Outcome run = run_kvant(more);
    EXPECT_EQ(run.exit, 0) << run.err;
    return run.out;
  };
  const std::string likeliest = with({});
  EXPECT_EQ(likeliest, with({"--threads", "1"}));
  const std::string drawn = with({"--temperature", "1.5", "--seed", "1"});
  EXPECT_EQ(drawn, with({"--temperature", "1.5", "--seed", "1"}));
  EXPECT_NE(drawn, with({"--temperature", "1.5", "--seed", "2"}));
  EXPECT_EQ(likeliest, with({"--temperature", "1.5", "--top-p", "0"}));
}

TEST_F(Tiny, RefusesAPromptBeyondItsContext) {
  std::string prompt;
  for (int i = 0; i < 1000; ++i) prompt += "water ";
  expect_error({"generate", kTiny, "--prompt", prompt}, 2, "usage");
}

/// A folder in which a real model's last norm multiplies by numbers that its head cannot take.
void write_overflowing_model(const fs::path& folder) {
  fs::copy(kTiny, folder, fs::copy_options::recursive);
  fs::remove(folder / "model.safetensors");
  const auto source = kvant::io::SafetensorsFile::open(kTiny / "model.safetensors");
  ASSERT_TRUE(source);
  std::vector<kvant::io::TensorSpec> specs;
  for (const auto& t : source->tensors()) specs.push_back({t.name, t.dtype, t.shape});
  auto writer =
      kvant::io::SafetensorsWriter::create(folder / "model.safetensors", specs, {}, kvant::io::OutputMode::replace);
  ASSERT_TRUE(writer);
  for (const auto& t : source->tensors()) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(t.bytes));
    ASSERT_TRUE(source->read(t, 0, bytes));
    if (t.name == "model.norm.weight")  // 0x7f7f: the largest bfloat16
      for (std::size_t i = 0; i < bytes.size(); i += 2) bytes[i] = bytes[i + 1] = std::byte{0x7f};
    ASSERT_TRUE(writer->write(t.name, 0, bytes));
  }
  ASSERT_TRUE(writer->commit());
}

TEST_F(Tiny, IsNotMeasuredWhereItPredictsNaNOrInf) {
  write_overflowing_model(folder_ / "m");
  folder_.write("text", "river (noun): a large natural stream of water\nlake (noun): a body of water\n");
  const std::string text = folder_ / "text";
  const auto message = [](const kvant::io::Json& error) { return text_at(error, "message"); };
  EXPECT_NE(message(expect_error({"eval", folder_ / "m", "--text", text, "--context", "8"}, 7, "nonfinite"))
                .find("window 1 (ids 0 … 7)"),
            std::string::npos);
  EXPECT_NE(
      message(expect_error({"compare", folder_ / "m", kTiny, "--text", text}, 7, "nonfinite")).find("A predicts NaN"),
      std::string::npos);
  EXPECT_NE(
      message(expect_error({"compare", kTiny, folder_ / "m", "--text", text}, 7, "nonfinite")).find("B predicts NaN"),
      std::string::npos);
  const Outcome generated = run_kvant({"generate", folder_ / "m", "--prompt", "river", "-n", "4"});
  EXPECT_EQ(generated.exit, 7) << generated.err;
  EXPECT_EQ(generated.out, "");
}

TEST(Memory, HoldsTheLogitsOfABlockOfPositions) {
  KVANT_SKIP_UNDER_SANITIZERS();
  const TemporaryFolder folder;
  const kvant::nn::test::TinyModel tiny(true, false, 2, 1 << 17);
  tiny.write(folder);
  const std::string ids = folder.write("ids.npy", kvant::io::test::npy_bytes(tiny.random_ids(400)));
  const std::string model = folder.path();
  // Its weights take 13 MB, and as much again while they are read; the logits of all positions would be 210 MB.
  const Outcome eval = run_kvant({"eval", model, "--text", ids, "--context", "400"});
  ASSERT_EQ(eval.exit, 0) << eval.err;
  EXPECT_LT(eval.peak_bytes, std::uint64_t{80} << 20);
  const Outcome compare = run_kvant({"compare", model, model, "--text", ids, "--context", "400"});
  ASSERT_EQ(compare.exit, 0) << compare.err;
  EXPECT_LT(compare.peak_bytes, std::uint64_t{110} << 20);
}

}  // namespace
