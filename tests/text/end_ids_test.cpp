// SPDX-License-Identifier: Apache-2.0
#include "kvant/text/end_ids.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/test_files.hpp"
#include "tokenizer_json.hpp"

namespace kvant::text {
namespace {

using io::test::TemporaryFolder;
using test::code_of;
using Ids = std::vector<std::int32_t>;

/// A model's folder whose tokenizer_config.json names token 2.
class EndIds : public testing::Test {
 protected:
  void SetUp() override {
    folder_.write("tokenizer.json", test::tokenizer_json({}));
    folder_.write("tokenizer_config.json", R"({"eos_token": "ab"})");
  }
  [[nodiscard]] Result<Ids> read() const {
    const auto tokenizer = Tokenizer::load(folder_.path());
    if (!tokenizer) return propagate(tokenizer);
    return end_ids(folder_.path(), *tokenizer);
  }

  TemporaryFolder folder_;
};

TEST_F(EndIds, AreThoseOfAllFiles) {
  EXPECT_EQ(read(), (Ids{2}));
  folder_.write("config.json", R"({"eos_token_id": 7})");
  EXPECT_EQ(read(), (Ids{2, 7}));
  folder_.write("generation_config.json", R"({"eos_token_id": [128009, 7, 0]})");
  EXPECT_EQ(read(), (Ids{0, 2, 7, 128009}));
  std::filesystem::remove(folder_ / "tokenizer_config.json");
  EXPECT_EQ(read(), (Ids{0, 7, 128009}));
}

TEST_F(EndIds, MayBeAbsentOrNull) {
  std::filesystem::remove(folder_ / "tokenizer_config.json");
  EXPECT_EQ(read(), Ids{});
  folder_.write("config.json", R"({"eos_token_id": null, "bos_token_id": 1})");
  folder_.write("generation_config.json", R"({"eos_token_id": []})");
  EXPECT_EQ(read(), Ids{});
  folder_.write("generation_config.json", "{}");
  EXPECT_EQ(read(), Ids{});
}

TEST_F(EndIds, ThatAreNoneAreRefusedWithTheNameOfTheFile) {
  for (const char* file : {"config.json", "generation_config.json"}) {
    for (const char* value :
         {R"("</s>")", "-1", "2147483648", "1.5", "true", "{}", "[1, null]", "[[1]]", R"([1, "2"])"}) {
      folder_.write(file, R"({"eos_token_id": )" + std::string(value) + "}");
      const auto ids = read();
      ASSERT_EQ(code_of(ids), "bad_config") << file << ": " << value;
      EXPECT_EQ(ids.error().where.file, folder_ / file);
    }
    folder_.write(file, "[]");
    EXPECT_EQ(code_of(read()), "bad_config");
    folder_.write(file, "{");
    EXPECT_EQ(code_of(read()), "bad_json");
    std::filesystem::remove(folder_ / file);
  }
  folder_.write("config.json", R"({"eos_token_id": 2147483647})");
  EXPECT_EQ(read(), (Ids{2, 2147483647}));
}

TEST_F(EndIds, FilesThatAreLinksToNowhereAreMissed) {
  for (const char* file : {"generation_config.json", "config.json", "tokenizer_config.json"}) {
    std::filesystem::remove(folder_ / file);
    std::filesystem::create_symlink("nowhere", folder_ / file);
    const auto ids = read();
    ASSERT_EQ(code_of(ids), "not_found") << file;
    EXPECT_EQ(ids.error().where.file, folder_ / file);
    std::filesystem::remove(folder_ / file);
  }
}

}  // namespace
}  // namespace kvant::text
