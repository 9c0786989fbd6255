// SPDX-License-Identifier: Apache-2.0
// Texts of random little models with tokenizers of all kinds: what is streamed, where it ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "nn/tiny_model.hpp"
#include "run_kvant.hpp"
#include "support/sanitized.hpp"

namespace {

using namespace kvant::cli::test;
using kvant::nn::test::TinyModel;

/// tokenizer.json with these tokens and others up to the size of the model's vocabulary.
std::string tokenizer_json(const std::vector<std::string>& tokens, const std::string& pre_tokenizer,
                           const std::string& decoder) {
  std::string vocab;
  for (std::size_t id = 0; id < TinyModel().vocabulary; ++id) {
    vocab += std::string(id == 0 ? "" : ", ") + '"';
    vocab += (id < tokens.size() ? tokens[id] : "t" + std::to_string(id)) + "\": " + std::to_string(id);
  }
  return R"({"model": {"type": "BPE", "byte_fallback": true, "merges": [], "vocab": {)" + vocab +
         R"(}}, "pre_tokenizer": )" + pre_tokenizer + R"(, "decoder": )" + decoder + "}";
}

/// A model's folder with a context of 16384 tokens, and what `kvant generate` makes of the prompt "ab" there.
class Generate : public testing::Test {
 protected:
  void SetUp() override {
    model_.config.set("max_position_embeddings", 16384);
    model_.write(folder_);
    write_tokenizer({"a", "b"}, "null", "null");
  }
  void write_tokenizer(const std::vector<std::string>& tokens, const std::string& pre_tokenizer,
                       const std::string& decoder) {
    folder_.write("tokenizer.json", tokenizer_json(tokens, pre_tokenizer, decoder));
  }
  [[nodiscard]] std::vector<std::string> line(std::vector<std::string> more) const {
    more.insert(more.begin(), {"generate", folder_.path(), "--prompt", "ab", "--temperature", "2"});
    return more;
  }
  [[nodiscard]] kvant::io::Json json(std::vector<std::string> more) const {
    more.push_back("--json");
    const Outcome run = run_kvant(line(std::move(more)));
    EXPECT_EQ(run.exit, 0) << run.err;
    return json_of(run.out);
  }

  TinyModel model_;
  TemporaryFolder folder_;
};

TEST_F(Generate, StreamsTheTextThatJsonHolds) {
  const std::string level = R"({"type": "ByteLevel", "add_prefix_space": false})";
  const std::string space = R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"})";
  const std::string llama = R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";
  const std::string spaced_bytes = R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, )" + space + "]}";
  const std::vector<std::string> bytes{"a", "b", "ä", "¸", "Ń", "Ġ", "ð", "Ł", "ĺ", "Ģ", "ÿ", "é"};
  const std::vector<std::string> pieces{"a",      "b",      "▁",      "▁a",     "<0xE4>", "<0xB8>",
                                        "<0xAD>", "<0xF0>", "<0x9F>", "<0x41>", "中"};
  const std::array<std::array<std::string, 2>, 5> kinds{
      {{level, level}, {space, llama}, {space, spaced_bytes}, {"null", llama}, {"null", "null"}}};
  for (const auto& [pre_tokenizer, decoder] : kinds) {
    write_tokenizer(pre_tokenizer == level ? bytes : pieces, pre_tokenizer, decoder);
    for (const char* seed : {"1", "2", "3", "4"}) {
      const Outcome plain = run_kvant(line({"-n", "150", "--seed", seed}));
      EXPECT_EQ(plain.exit, 0) << plain.err;
      const kvant::io::Json whole = json({"-n", "150", "--seed", seed});
      EXPECT_EQ(number_at(whole, "tokens"), 150);
      EXPECT_EQ(plain.out, text_at(whole, "text") + "\n") << decoder;
    }
  }
}

TEST_F(Generate, StreamsInTheTimeThatTheTokensTake) {
  KVANT_SKIP_UNDER_SANITIZERS();
  std::string steps = R"({"type": "ByteFallback"})";  // many of them, so that decoding costs more than the model
  for (int i = 0; i < 20; ++i) steps += R"(, {"type": "Replace", "pattern": {"String": "xyz"}, "content": ""})";
  write_tokenizer({"a", "b"}, "null", R"({"type": "Sequence", "decoders": [)" + steps + "]}");
  const auto seconds = [&](std::vector<std::string> more) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(run_kvant(line(std::move(more))).exit, 0);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const double whole = seconds({"-n", "8000", "--json"});
  // Decoding all of it again for each token takes ten times as long.
  EXPECT_LT(seconds({"-n", "8000"}), 3 * whole + 1);
}

TEST_F(Generate, EndsAtEveryIdThatAFileNames) {
  // Without a decoder tokens stand apart: " t5 t7 a".
  const std::string text = text_at(json({"-n", "60"}), "text") + " ";
  std::vector<std::string> tokens;
  for (std::size_t at = 1; at < text.size(); at = text.find(' ', at) + 1)
    tokens.push_back(text.substr(at, text.find(' ', at) - at));
  ASSERT_EQ(tokens.size(), 60u);
  const auto id_of = [](const std::string& token) { return token == "a" ? "0" : token == "b" ? "1" : token.substr(1); };
  std::vector<std::size_t> first;  // where a token stands for the first time
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (std::find(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(i), tokens[i]) ==
        tokens.begin() + static_cast<std::ptrdiff_t>(i))
      first.push_back(i);
  ASSERT_GT(first.size(), 8u);
  const auto count = [&] { return number_at(json({"-n", "60"}), "tokens"); };
  folder_.write("tokenizer_config.json", R"({"eos_token": ")" + tokens[first[8]] + "\"}");
  EXPECT_EQ(count(), static_cast<double>(first[8]));
  model_.config.set("eos_token_id", kvant::io::Json(std::stoi(id_of(tokens[first[6]]))));
  model_.write(folder_);
  EXPECT_EQ(count(), static_cast<double>(first[6]));
  const std::string later = id_of(tokens[first[7]]);
  folder_.write("generation_config.json", R"({"eos_token_id": [)" + later + ", " + id_of(tokens[first[3]]) + "]}");
  EXPECT_EQ(count(), static_cast<double>(first[3]));
  folder_.write("generation_config.json", R"({"eos_token_id": )" + later + "}");
  EXPECT_EQ(count(), static_cast<double>(first[6]));  // the others still count
}

TEST_F(Generate, ContinuesSeveralPromptsAsEachAlone) {
  const std::vector<std::string> prompts{"ab", "b", "aabba", "a", "bb", "abab", "ba"};
  std::string lines;
  for (const std::string& p : prompts) lines += (p == "aabba" ? '"' + p + '"' : p) + "\n";
  folder_.write("prompts.txt", lines);
  // Texts end after different numbers of tokens, so that others take their places.
  folder_.write("generation_config.json", R"({"eos_token_id": [5, 9, 21]})");
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", folder_.path(), "--temperature", "2", "-n", "40", "--seed", "11"});
    return run_kvant(more);
  };
  for (const char* parallel : {"1", "3", "8"}) {
    const Outcome all = run({"--prompts", folder_ / "prompts.txt", "--parallel", parallel, "--json"});
    ASSERT_EQ(all.exit, 0) << all.err;
    const kvant::io::Json document = json_of(all.out);
    const auto rows = document.find("prompts")->items();
    ASSERT_EQ(rows.size(), prompts.size());
    std::string expected;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const kvant::io::Json alone = json_of(run({"--prompt", prompts[i], "--json"}).out);
      EXPECT_EQ(text_at(rows[i], "text"), text_at(alone, "text")) << prompts[i];
      EXPECT_EQ(number_at(rows[i], "tokens"), number_at(alone, "tokens"));
      expected += kvant::io::to_text(rows[i]) + "\n";
    }
    EXPECT_EQ(run({"--prompts", folder_ / "prompts.txt", "--parallel", parallel}).out, expected);
  }
}

TEST_F(Generate, RefusesPromptsThatAreNone) {
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", folder_.path()});
    return more;
  };
  expect_error(with({}), 2, "usage");
  folder_.write("prompts.txt", "");
  expect_error(with({"--prompts", folder_ / "prompts.txt"}), 2, "usage");
  expect_error(with({"--prompts", folder_ / "prompts.txt", "--prompt", "a"}), 2, "usage");
  folder_.write("prompts.txt", "ab\n\"b\n");
  expect_error(with({"--prompts", folder_ / "prompts.txt"}), 3, "bad_json");
  expect_error(with({"--prompts", folder_ / "absent.txt"}), 5, "not_found");
  folder_.write("prompts.txt", "ab\n\nb\n");
  expect_error(with({"--prompts", folder_ / "prompts.txt"}), 2, "usage");
}

TEST_F(Generate, RefusesEndIdsThatAreNone) {
  folder_.write("generation_config.json", R"({"eos_token_id": "</s>"})");
  const kvant::io::Json error = expect_error(line({}), 3, "bad_config");
  EXPECT_EQ(text_at(error, "file"), folder_ / "generation_config.json");
  std::filesystem::remove(folder_ / "generation_config.json");
  std::filesystem::create_symlink("nowhere", folder_ / "generation_config.json");
  EXPECT_EQ(text_at(expect_error(line({}), 5, "not_found"), "file"), folder_ / "generation_config.json");
}

}  // namespace
