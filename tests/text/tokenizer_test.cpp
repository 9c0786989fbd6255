// SPDX-License-Identifier: Apache-2.0
#include "kvant/text/tokenizer.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "io/test_files.hpp"
#include "tokenizer_json.hpp"

namespace kvant::text {
namespace {

using io::test::TemporaryFolder;
using test::added_token;
using test::code_of;
using test::make;
using test::Parts;
using Ids = std::vector<std::int32_t>;

Ids ids_of(const Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  EXPECT_TRUE(ids) << describe(ids.error());
  return ids.value_or(Ids{-1});
}

Tokenizer load_tiny() {
  auto tokenizer = Tokenizer::load(std::filesystem::path(KVANT_SOURCE_DIR) / "models/tiny");
  EXPECT_TRUE(tokenizer) << describe(tokenizer.error());
  return *tokenizer;
}

double seconds_to_encode(const Tokenizer& tokenizer, std::string_view text) {
  const auto start = std::chrono::steady_clock::now();
  const auto ids = tokenizer.encode(text);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_TRUE(ids && !ids->empty());
  return took.count();
}

TEST(Tokenizer, MergesTheEarliestRuleFirstAndTheLeftmostPairOfEqualRules) {
  const auto tokenizer = make({.vocab = R"({"a":0,"b":1,"aa":2,"ab":3})", .merges = R"(["a a", "a b"])"});
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(ids_of(*tokenizer, "aaab"), (Ids{2, 3}));
  EXPECT_EQ(ids_of(*tokenizer, "aab"), (Ids{2, 1}));
  EXPECT_EQ(ids_of(*tokenizer, "aaa"), (Ids{2, 0}));
}

TEST(Tokenizer, ReadsMergesAsTextAndAsPairs) {
  for (const char* merges : {R"(["a b"])", R"([["a","b"]])"}) {
    const auto tokenizer = make({.vocab = R"({"a":0,"b":1,"ab":2})", .merges = merges});
    ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
    EXPECT_EQ(ids_of(*tokenizer, "abab"), (Ids{2, 2}));
  }
}

TEST(Tokenizer, KeepsTheIdsOfASparseVocabulary) {
  const auto tokenizer = make({.vocab = R"({"a":7,"b":2147483647,"ab":1000000})", .merges = R"(["a b"])"});
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(ids_of(*tokenizer, "abba"), (Ids{1000000, 2147483647, 7}));
  EXPECT_EQ(tokenizer->vocabulary_size(), std::size_t{1} << 31);
  EXPECT_EQ(tokenizer->id_to_token(1000000), "ab");
  EXPECT_EQ(tokenizer->id_to_token(8), std::nullopt);
  EXPECT_EQ(tokenizer->id_to_token(-1), std::nullopt);
  EXPECT_EQ(tokenizer->decode(Ids{-1, 7, 8, 1000000, 2147483646}), "a ab");
}

TEST(Tokenizer, NeitherCutsNorPads) {
  const auto tokenizer = Tokenizer::from_json(R"({
    "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
    "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "a"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})");
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(ids_of(*tokenizer, "abba"), (Ids{0, 1, 1, 0}));
  EXPECT_EQ(ids_of(*tokenizer, ""), Ids{});
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8AndSaysWhere) {
  const Tokenizer tokenizer = load_tiny();
  for (const auto& [text, offset] : {std::pair("ab\xff", 2U), std::pair("\xc3", 0U), std::pair("a\xed\xa0\x80", 1U),
                                     std::pair("\xf4\x90\x80\x80", 0U), std::pair("\xe4\xb8\xad\xc0\xaf", 3U)}) {
    const auto ids = tokenizer.encode(text);
    ASSERT_FALSE(ids);
    EXPECT_EQ(ids.error().code, ErrorCode::bad_utf8);
    EXPECT_EQ(ids.error().where.offset, offset);
  }
}

TEST(Tokenizer, ByteLevelTextSurvivesTheRoundTrip) {
  const Tokenizer tokenizer = load_tiny();
  for (const std::string_view text :
       {"", " ", "Once upon a time", "\r\n\t x", "caf\u00e9 \u4e2d\u6587 \U0001f600", "\x01\x7f"})
    EXPECT_EQ(tokenizer.decode(ids_of(tokenizer, text)), text);
}

TEST(Tokenizer, DecodesHalfACharacterToOneReplacementCharacter) {
  const Tokenizer tokenizer = load_tiny();
  const auto lead = tokenizer.token_to_id("\u00e4");  // the byte E4
  const auto tail = tokenizer.token_to_id("\u00b8");  // the byte B8
  ASSERT_TRUE(lead && tail);
  EXPECT_EQ(tokenizer.decode(Ids{*lead, *tail}), "\ufffd");  // E4 B8: two thirds of a character
  EXPECT_EQ(tokenizer.decode(Ids{*lead, *lead}), "\ufffd\ufffd");
  EXPECT_EQ(tokenizer.decode(Ids{*tail, *tail}), "\ufffd\ufffd");
}

TEST(Tokenizer, NamesBeginAndEndOfTextFromTokenizerConfig) {
  const TemporaryFolder folder;
  const std::string vocab = R"({"a":0,"<s>":1,"</s>":2})";
  const std::string added = "[" + added_token(1, "<s>", "special") + "," + added_token(2, "</s>", "special") + "]";
  folder.write("tokenizer.json", test::tokenizer_json({.vocab = vocab, .added_tokens = added}));
  const auto load = [&](std::string_view config) {
    folder.write("tokenizer_config.json", config);
    return Tokenizer::load(folder.path());
  };
  auto tokenizer = load(R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}})");
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(ids_of(*tokenizer, "a"), (Ids{0}));

  tokenizer = load(R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true, "add_eos_token": true})");
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(ids_of(*tokenizer, "a"), (Ids{1, 0, 2}));
  EXPECT_EQ(tokenizer->encode("a", {.add_special_tokens = false}), (Ids{0}));

  EXPECT_EQ(code_of(load(R"({"bos_token": "<x>", "add_bos_token": true})")), "bad_tokenizer");
  EXPECT_EQ(code_of(load(R"({"add_bos_token": 1})")), "bad_tokenizer");
  EXPECT_EQ(code_of(load("[]")), "bad_tokenizer");
  EXPECT_EQ(code_of(load("{")), "bad_json");
}

TEST(Tokenizer, LetsAddBosTokenOverruleThePostProcessor) {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", test::tokenizer_json({.vocab = R"({"a":0,"<s>":1})", .post_processor = R"({
    "type": "TemplateProcessing", "pair": [],
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}})"}));
  auto tokenizer = Tokenizer::load(folder.path() / "tokenizer.json");
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), std::nullopt);
  EXPECT_EQ(ids_of(*tokenizer, "a"), (Ids{1, 0}));
  for (const auto& [config, expected] : {std::pair(R"({"bos_token": "<s>", "add_bos_token": false})", Ids{0}),
                                         std::pair(R"({"bos_token": "<s>", "add_bos_token": true})", Ids{1, 0}),
                                         std::pair(R"({"bos_token": "<s>", "add_bos_token": null})", Ids{1, 0})}) {
    folder.write("tokenizer_config.json", config);
    tokenizer = Tokenizer::load(folder.path());
    ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
    EXPECT_EQ(ids_of(*tokenizer, "a"), expected) << config;
  }
}

TEST(Tokenizer, SaysWhichFileIsMissing) {
  const TemporaryFolder folder;
  const auto tokenizer = Tokenizer::load(folder.path());
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, ErrorCode::not_found);
  EXPECT_NE(describe(tokenizer.error()).find("tokenizer.json"), std::string::npos);
  EXPECT_EQ(code_of(Tokenizer::load("/nonexistent/tokenizer.json")), "not_found");
}

TEST(Tokenizer, ErrorsNameTheSource) {
  const auto tokenizer = Tokenizer::from_json("{}", Where{"some/tokenizer.json", {}, {}});
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().where.file, "some/tokenizer.json");
}

TEST(Tokenizer, AlwaysSkipsSpecialTokens) {
  // `tokenizers` 0.23 shows a special token whose normalized form differs from its text; earlier versions skip it.
  const auto tokenizer = make({.vocab = R"({"a":0,"</s>":1})",
                               .added_tokens = "[" + added_token(1, "</s>", "special normalized") + "]",
                               .normalizer = R"({"type": "Prepend", "prepend": "_"})",
                               .decoder = R"({"type": "Fuse"})"});
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(tokenizer->decode(Ids{0, 1, 0}), "aa");
  EXPECT_EQ(tokenizer->decode(Ids{0, 1, 0}, false), "a_</s>a");
}

TEST(Tokenizer, SkipsCharactersThatNothingSpells) {
  const auto tokenizer = make({.vocab = R"({"a":0})"});
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(ids_of(*tokenizer, "xay"), (Ids{0}));
}

TEST(Tokenizer, SaysThatTheUnknownTokenIsMissingOnlyWhenItIsNeeded) {
  const auto tokenizer = make({.vocab = R"({"a":0})", .model = R"(, "unk_token": "<unk>")"});
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(ids_of(*tokenizer, "a"), (Ids{0}));
  EXPECT_EQ(code_of(tokenizer->encode("ab")), "bad_tokenizer");
}

TEST(Tokenizer, WhiteSpaceOfPatternsIsThatOfUnicodeWithoutTheMongolianVowelSeparator) {
  const auto tokenizer = make({.vocab = "{\"a\":0,\"\u180e\":1,\"\u2003\":2}", .pre_tokenizer = R"({"type": "Split",
    "pattern": {"Regex": "\\s"}, "behavior": "Removed", "invert": false})"});
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(ids_of(*tokenizer, "a\u180ea\u2003a"), (Ids{0, 1, 0, 0}));
}

/// The bytes that a normalizer makes of `text`.
std::string normalized(std::string_view normalizer, std::string_view text) {
  std::string vocab = R"({"<unk>": 256)";
  for (unsigned byte = 0; byte < 256; ++byte) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    vocab += std::string(", \"<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">\": " + std::to_string(byte);
  }
  const auto tokenizer =
      make({.vocab = vocab + "}", .model = R"(, "byte_fallback": true)", .normalizer = std::string(normalizer)});
  EXPECT_TRUE(tokenizer) << describe(tokenizer.error());
  std::string bytes;
  for (const std::int32_t id : ids_of(*tokenizer, text)) bytes.push_back(static_cast<char>(id));
  return bytes;
}

TEST(Tokenizer, NormalizesToTheFormsOfUnicode) {
  constexpr std::string_view kText = "\u1e9b\u0323 \ud55c";
  EXPECT_EQ(normalized(R"({"type": "NFC"})", kText), "\u1e9b\u0323 \ud55c");
  EXPECT_EQ(normalized(R"({"type": "NFD"})", kText), "\u017f\u0323\u0307 \u1112\u1161\u11ab");
  EXPECT_EQ(normalized(R"({"type": "NFKC"})", kText), "\u1e69 \ud55c");
  EXPECT_EQ(normalized(R"({"type": "NFKD"})", kText), "s\u0323\u0307 \u1112\u1161\u11ab");
  using namespace std::string_view_literals;
  EXPECT_EQ(normalized(R"({"type": "NFC"})", "\0e\u0301\0\u0301"sv), "\0\u00e9\0\u0301"sv);
  EXPECT_EQ(normalized(R"({"type": "NFC"})", "\uac00\u11a7"), "\uac00\u11a7");  // U+11A7 is no final consonant
}

TEST(Tokenizer, PutsAMegabyteOfMarksInOrderInLinearithmicTime) {
  std::string marks;
  while (marks.size() < (1U << 20)) marks += "\u0301\u0323";  // above, then below, which comes first
  const auto start = std::chrono::steady_clock::now();
  const std::string ordered = normalized(R"({"type": "NFD"})", marks);
  // Moving each mark past its neighbours takes minutes; the bound leaves room for sanitizers and slow machines.
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 20.0);
  ASSERT_EQ(ordered.size(), marks.size());
  EXPECT_EQ(ordered.find("\u0301\u0323"), std::string::npos);
}

TEST(Tokenizer, CleansTextLikeBert) {
  const auto bert = [](std::string_view clean, std::string_view ideographs, std::string_view accents,
                       std::string_view lower) {
    return R"({"type": "BertNormalizer", "clean_text": )" + std::string(clean) + R"(, "handle_chinese_chars": )" +
           std::string(ideographs) + R"(, "strip_accents": )" + std::string(accents) + R"(, "lowercase": )" +
           std::string(lower) + "}";
  };
  EXPECT_EQ(normalized(bert("true", "false", "false", "false"), "a\t\u00a0\u200b\x01\ufffdb\u0378"), "a  b\u0378");
  EXPECT_EQ(normalized(bert("false", "true", "false", "false"), "a\u4e2d\u3042\U0002b820"),
            "a \u4e2d \u3042\U0002b820");
  EXPECT_EQ(normalized(bert("false", "false", "null", "true"), "\u00c9\u0903"), "e\u0903");  // a mark that takes space
  EXPECT_EQ(normalized(bert("false", "false", "null", "false"), "\u00c9"), "\u00c9");
  EXPECT_EQ(normalized(bert("false", "false", "true", "false"), "\u00c9"), "E");
}

/// Vocabulary and pre-tokenizer of the smallest tokenizer with visible spaces.
Parts with_metaspace(std::string_view settings) {
  return {.vocab = R"({"a":0,"_":1,"_a":2,"<s>":3})",
          .merges = R"(["_ a"])",
          .added_tokens = "[" + added_token(3, "<s>", "special") + "]",
          .pre_tokenizer = R"({"type": "Metaspace", "replacement": "_", )" + std::string(settings) + "}"};
}

TEST(Tokenizer, PutsASpaceFirstOnlyWhereTheInputStarts) {
  const auto first = make(with_metaspace(R"("prepend_scheme": "first")"));
  const auto always = make(with_metaspace(R"("prepend_scheme": "always")"));
  ASSERT_TRUE(first && always);
  EXPECT_EQ(ids_of(*first, "a<s>a"), (Ids{2, 3, 0}));
  EXPECT_EQ(ids_of(*first, "<s>a"), (Ids{3, 0}));
  EXPECT_EQ(ids_of(*first, "<s> a"), (Ids{3, 2}));
  EXPECT_EQ(ids_of(*always, "a<s>a"), (Ids{2, 3, 2}));
  EXPECT_EQ(ids_of(*always, " a"), (Ids{2}));
}

TEST(Tokenizer, ReadsMetaspaceAsOldVersionsWroteIt) {
  // `add_prefix_space` alone, as up to 0.15; since 0.19 `tokenizers` refuses the second.
  for (const auto& [settings, expected] :
       {std::pair(R"("add_prefix_space": true, "str_rep": "_")", Ids{2, 2}),
        std::pair(R"("add_prefix_space": false)", Ids{0, 2}),
        std::pair(R"("add_prefix_space": false, "prepend_scheme": "never")", Ids{0, 2}),
        std::pair(R"("add_prefix_space": true, "prepend_scheme": "never")", Ids{0, 2})}) {
    const auto tokenizer = make(with_metaspace(settings));
    ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
    EXPECT_EQ(ids_of(*tokenizer, "a a"), expected) << settings;
  }
}

TEST(Tokenizer, EncodesInManyThreadsAtOnce) {
  const Tokenizer tokenizer = load_tiny();
  const std::string text = "The quick brown fox, 1234 times: caf\u00e9!\n";
  const Ids expected = ids_of(tokenizer, text);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong)
    threads.emplace_back([&tokenizer, &text, &expected, &count] {
      for (int i = 0; i < 200; ++i)
        if (tokenizer.encode(text) != expected || tokenizer.decode(expected) != text) ++count;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(Tokenizer, EncodesAMegabyteWithoutSpacesInLinearithmicTime) {
  const Tokenizer tokenizer = load_tiny();
  std::string word;
  for (unsigned i = 0; word.size() < (1U << 20); ++i) word.push_back(static_cast<char>('a' + (i * 7919 >> 3) % 26));
  // A quadratic algorithm takes minutes; the bound leaves room for sanitizers and slow machines.
  EXPECT_LT(seconds_to_encode(tokenizer, word), 20.0);
  EXPECT_LT(seconds_to_encode(tokenizer, std::string(1U << 20, 'a')), 20.0);
  EXPECT_LT(seconds_to_encode(tokenizer, std::string(1U << 20, ' ')), 20.0);
  EXPECT_LT(seconds_to_encode(tokenizer, std::string(1U << 20, '\n')), 20.0);
}

TEST(Tokenizer, GivesUpOnExponentialPatterns) {
  const auto tokenizer = make({.vocab = R"({"a":0,"b":1})", .pre_tokenizer = R"({"type": "Split",
    "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false})"});
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  const auto start = std::chrono::steady_clock::now();
  const auto ids = tokenizer->encode(std::string(64, 'a') + "b");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, ErrorCode::bad_pattern);
  EXPECT_LT(took.count(), 10.0);
  EXPECT_EQ(ids_of(*tokenizer, "aaa"), (Ids{0, 0, 0}));
}

}  // namespace
}  // namespace kvant::text
