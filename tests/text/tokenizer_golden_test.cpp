// SPDX-License-Identifier: Apache-2.0
// Against values that tests/golden/tokenizers/make.py recorded from the package `tokenizers`.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "golden.hpp"
#include "kvant/text/tokenizer.hpp"

namespace kvant::text {
namespace {

using test::encoded;
using test::fnv1a64;
using test::golden;
using test::kGolden;
using test::read_bytes;
using Ids = std::vector<std::int32_t>;

const char* data_folder() { return std::getenv("KVANT_TEST_DATA"); }

class RealTokenizer : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    golden_ = golden(GetParam());
    const auto label = golden_["tokenizer"].get<std::string>();
    const std::size_t colon = label.find(':');
    if (label.substr(0, colon) == "data" && data_folder() == nullptr) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
    const std::filesystem::path base = label.substr(0, colon) == "data" ? data_folder() : KVANT_SOURCE_DIR;
    auto tokenizer = Tokenizer::load(base / label.substr(colon + 1));
    ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
    tokenizer_ = *tokenizer;
  }

  /// Compares each recorded part of the files that `wanted` accepts.
  template <class Wanted>
  void compare_texts(const std::filesystem::path& folder, Wanted wanted) {
    std::map<std::string, std::string> files;
    for (const auto& part : golden_["texts"]) {
      const auto file = part["file"].get<std::string>();
      if (!wanted(file)) continue;
      if (!files.contains(file)) files[file] = read_bytes(folder / file);
      const auto begin = part["begin"].get<std::size_t>();
      const Ids ids = encoded(*tokenizer_, files[file].substr(begin, part["bytes"].get<std::size_t>()));
      EXPECT_EQ(ids.size(), part["ids"].get<std::size_t>()) << file << " at " << begin;
      EXPECT_EQ(fnv1a64(ids), part["fnv1a64"].get<std::string>()) << file << " at " << begin;
    }
  }

  nlohmann::json golden_;
  std::optional<Tokenizer> tokenizer_;
};

INSTANTIATE_TEST_SUITE_P(Golden, RealTokenizer, testing::Values("smollm2", "stories260k", "tiny"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(RealTokenizer, EncodesAMegabyteOfProseLikeTokenizers) {
  if (data_folder() == nullptr) GTEST_SKIP() << "KVANT_TEST_DATA is not set";
  compare_texts(data_folder(), [](const std::string& file) { return file.starts_with("text/"); });
}

TEST_P(RealTokenizer, EncodesTextOfManyScriptsLikeTokenizers) {
  compare_texts(kGolden, [](const std::string& file) { return file == "torture.txt"; });
}

TEST_P(RealTokenizer, EncodesAndDecodesShortStringsLikeTokenizers) {
  EXPECT_EQ(tokenizer_->vocabulary_size(), golden_["size"].get<std::size_t>());
  for (const auto& row : golden_["strings"]) {
    const auto text = row["text"].get<std::string>();
    const Ids ids = row["ids"].get<Ids>();
    EXPECT_EQ(encoded(*tokenizer_, text), ids) << text;
    EXPECT_EQ(tokenizer_->decode(ids), row["decoded"].get<std::string>()) << text;
    EXPECT_EQ(tokenizer_->decode(ids, false), row["decoded_whole"].get<std::string>()) << text;
  }
}

TEST_P(RealTokenizer, DecodesArbitraryIdsLikeTokenizers) {
  for (const auto& row : golden_["decoded"]) {
    const Ids ids = row["ids"].get<Ids>();
    EXPECT_EQ(tokenizer_->decode(ids), row["text"].get<std::string>()) << row["ids"];
    EXPECT_EQ(tokenizer_->decode(ids, false), row["whole"].get<std::string>()) << row["ids"];
  }
}

TEST_P(RealTokenizer, NamesAndFindsEveryToken) {
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(tokenizer_->vocabulary_size()); ++id) {
    const auto token = tokenizer_->id_to_token(id);
    ASSERT_TRUE(token) << id;
    EXPECT_EQ(tokenizer_->token_to_id(*token), id);
  }
}

TEST(SmallTokenizer, EncodesAndDecodesLikeTokenizers) {
  const nlohmann::json features = golden("features");
  ASSERT_GT(features["tokenizers"].size(), 30U);
  for (const auto& entry : features["tokenizers"]) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    const auto tokenizer = Tokenizer::from_json(entry["tokenizer_json"].get<std::string>());
    ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
    for (const auto& row : entry["cases"]) {
      const auto text = row["text"].get<std::string>();
      const Ids ids = row["ids"].get<Ids>();
      EXPECT_EQ(encoded(*tokenizer, text), ids) << row["text"];
      EXPECT_EQ(encoded(*tokenizer, text, false), row.value("plain", ids)) << row["text"];
      const auto decoded = row["decoded"].get<std::string>();
      EXPECT_EQ(tokenizer->decode(ids), decoded) << row["text"];
      EXPECT_EQ(tokenizer->decode(ids, false), row.value("decoded_whole", decoded)) << row["text"];
    }
  }
}

}  // namespace
}  // namespace kvant::text
