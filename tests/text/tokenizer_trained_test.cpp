// SPDX-License-Identifier: Apache-2.0
// Small tokenizers of every kind, which tests/golden/tokenizers/trained.py has trained, against what the packages
// `tokenizers` and `sentencepiece` make of the same text with them.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "golden.hpp"
#include "kvant/text/tokenizer.hpp"

namespace kvant::text {
namespace {

using test::encoded;
using test::fnv1a64;
using test::golden;
using test::kGolden;
using Ids = std::vector<std::int32_t>;

/// long_text() of trained.py.
std::string long_text(std::size_t size, std::uint64_t state) {
  const nlohmann::json seed = golden("multilingual");
  std::array<std::vector<std::string>, 2> choices{seed["pieces"].get<std::vector<std::string>>(),
                                                  seed["joints"].get<std::vector<std::string>>()};
  std::string text;
  while (text.size() < size)
    for (const auto& parts : choices) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      text += parts[(state >> 33) % parts.size()];
    }
  return text;
}

class TrainedTokenizer : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const nlohmann::json trained = golden("trained");
    for (const auto& entry : trained["tokenizers"])
      if (entry["name"] == GetParam()) golden_ = entry;
    ASSERT_TRUE(golden_.is_object());
    auto tokenizer = Tokenizer::load(kGolden / "trained" / golden_["file"].get<std::string>());
    ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
    tokenizer_ = *tokenizer;
  }

  void compare(const Ids& ids, const nlohmann::json& expected) {
    EXPECT_EQ(ids.size(), expected["ids"].get<std::size_t>());
    EXPECT_EQ(fnv1a64(ids), expected["fnv1a64"].get<std::string>());
  }

  nlohmann::json golden_;
  std::optional<Tokenizer> tokenizer_;
};

INSTANTIATE_TEST_SUITE_P(Golden, TrainedTokenizer,
                         testing::Values("bert", "bpe", "gpt2", "llama2", "llama3", "qwen2", "t5", "unigram",
                                         "unigram_bytes"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(TrainedTokenizer, EncodesAMegabyteOfManyScriptsAsRecorded) {
  static const std::string text = long_text(std::size_t{1} << 20, 1);
  compare(encoded(*tokenizer_, text), golden_["megabyte"]);
}

TEST_P(TrainedTokenizer, EncodesAndDecodesTextThatIsHardToCutAsRecorded) {
  const nlohmann::json& expected = golden_["torture"];
  const std::string text = test::read_bytes(kGolden / "torture.txt");
  const std::string bytes = test::read_bytes(kGolden / "trained" / (golden_["name"].get<std::string>() + ".ids"));
  Ids end;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
    end.push_back(static_cast<unsigned char>(bytes[i]) | static_cast<unsigned char>(bytes[i + 1]) << 8);
  EXPECT_EQ(encoded(*tokenizer_, std::string_view(text).substr(expected["end"].get<std::size_t>())), end);
  const Ids ids = encoded(*tokenizer_, text);
  compare(ids, expected);
  test::Fnv1a64 decoded;
  const std::string round = tokenizer_->decode(ids);
  for (const char c : round)
    for (const unsigned byte : {static_cast<unsigned>(static_cast<unsigned char>(c)), 0U, 0U, 0U}) decoded.add(byte);
  EXPECT_EQ(decoded.text(), expected["decoded"].get<std::string>());
}

TEST_P(TrainedTokenizer, EncodesAndDecodesShortStringsAsRecorded) {
  EXPECT_EQ(tokenizer_->vocabulary_size(), golden_["size"].get<std::size_t>());
  for (const auto& row : golden_["strings"]) {
    const auto text = row["text"].get<std::string>();
    const Ids ids = row["ids"].get<Ids>();
    EXPECT_EQ(encoded(*tokenizer_, text), ids) << row["text"];
    EXPECT_EQ(tokenizer_->decode(ids), row["decoded"].get<std::string>()) << row["text"];
  }
  for (const auto& row : golden_["decoded"])
    EXPECT_EQ(tokenizer_->decode(row["ids"].get<Ids>()), row["text"].get<std::string>()) << row["ids"];
}

TEST_P(TrainedTokenizer, StreamsWhatItDecodes) {
  for (const auto& row : golden_["decoded"]) {
    const Ids ids = row["ids"].get<Ids>();
    for (const bool skip_special : {false, true}) {
      DecodeStream stream(*tokenizer_, skip_special);
      std::string text;
      for (const std::int32_t id : ids) text += stream.push(id);
      EXPECT_EQ(text + stream.finish(), tokenizer_->decode(ids, skip_special)) << row["ids"];
    }
  }
}

}  // namespace
}  // namespace kvant::text
