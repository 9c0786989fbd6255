// SPDX-License-Identifier: Apache-2.0
// Files that are no tokenizers, or not ones that kvant has: each is refused with the right code, none does harm.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/text/tokenizer.hpp"
#include "tokenizer_json.hpp"

namespace kvant::text {
namespace {

using test::added_token;
using test::code_of;
using test::make;
using test::Parts;

struct BadFile {
  std::string_view what;
  Parts parts;
  std::string_view code;
};

void expect_refused(const std::vector<BadFile>& files) {
  for (const BadFile& file : files) {
    const auto tokenizer = make(file.parts);
    EXPECT_EQ(code_of(tokenizer), file.code) << file.what << (tokenizer ? "" : ": " + describe(tokenizer.error()));
  }
}

std::string split(std::string_view regex) {
  return R"({"type": "Split", "pattern": {"Regex": ")" + std::string(regex) +
         R"("}, "behavior": "Isolated", "invert": false})";
}

std::string template_of(std::string_view single, std::string_view special_tokens) {
  return R"({"type": "TemplateProcessing", "pair": [], "single": )" + std::string(single) + R"(, "special_tokens": )" +
         std::string(special_tokens) + "}";
}

TEST(MalformedTokenizer, EveryPrefixOfAFileIsRefused) {
  const std::string whole = test::tokenizer_json({.merges = R"(["a b"])",
                                                  .model = R"(, "unk_token": "a", "byte_fallback": true)",
                                                  .added_tokens = "[" + added_token(3, "<s>", "special") + "]",
                                                  .pre_tokenizer = split("\\\\s+"),
                                                  .decoder = R"({"type": "Fuse"})"});
  ASSERT_TRUE(Tokenizer::from_json(whole));
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_EQ(code_of(Tokenizer::from_json(std::string_view(whole).substr(0, n))), "bad_json") << n;
}

TEST(MalformedTokenizer, ChangedBytesNeverDoHarm) {
  const std::string whole = test::tokenizer_json({.merges = R"(["a b"])",
                                                  .added_tokens = "[" + added_token(3, "<s>", "lstrip") + "]",
                                                  .pre_tokenizer = split("b+")});
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (const char c : {'"', '0', '-', '}', '\\', 'e', '\xff'}) {
      std::string changed = whole;
      changed[i] = c;
      if (const auto tokenizer = Tokenizer::from_json(changed)) {
        const auto ids = tokenizer->encode("ab <s>ba");
        EXPECT_LE(ids ? ids->size() : 0U, 16U);
      }
    }
}

TEST(MalformedTokenizer, RefusesWhatIsNoTokenizer) {
  for (const std::string_view text : {"", "x", "{\"model\": }", "{} {}"})
    EXPECT_EQ(code_of(Tokenizer::from_json(text)), "bad_json") << text;
  for (const std::string_view text :
       {"{}", "[]", "3", "null", R"({"model": null})", R"({"model": {}})", R"({"model": []})",
        R"({"model": {"type": "BPE"}})", R"({"model": {"type": 1, "merges": []}})",
        R"({"model": {"type": "BPE", "vocab": {"a": 0}}})"})
    EXPECT_EQ(code_of(Tokenizer::from_json(text)), "bad_tokenizer") << text;
  EXPECT_EQ(code_of(Tokenizer::from_json(R"({"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}})")),
            "duplicate_key");
  EXPECT_EQ(code_of(Tokenizer::from_json("{\"version\": \"\xff\"}")), "bad_utf8");
  EXPECT_EQ(code_of(Tokenizer::from_json(std::string(100'000, '['))), "limit");
}

TEST(MalformedTokenizer, ReadsAModelWithoutATypeIfItHasMerges) {
  EXPECT_TRUE(Tokenizer::from_json(R"({"model": {"vocab": {"a": 0}, "merges": []}})"));
}

TEST(MalformedTokenizer, RefusesWrongVocabularies) {
  expect_refused({
      {"empty", {.vocab = "{}"}, "bad_tokenizer"},
      {"no object", {.vocab = R"(["a"])"}, "bad_tokenizer"},
      {"negative id", {.vocab = R"({"a": -1})"}, "bad_tokenizer"},
      {"id of 2^31", {.vocab = R"({"a": 2147483648})"}, "bad_tokenizer"},
      {"id of 2^64 - 1", {.vocab = R"({"a": 18446744073709551615})"}, "bad_tokenizer"},
      {"id of 2^64", {.vocab = R"({"a": 18446744073709551616})"}, "bad_tokenizer"},
      {"real id", {.vocab = R"({"a": 1.5})"}, "bad_tokenizer"},
      {"id as text", {.vocab = R"({"a": "0"})"}, "bad_tokenizer"},
      {"one id twice", {.vocab = R"({"a": 0, "b": 0})"}, "bad_tokenizer"},
      {"token of 1 MB", {.vocab = "{\"" + std::string(1 << 20, 'a') + "\": 0}"}, "limit"},
  });
}

TEST(MalformedTokenizer, RefusesWrongMerges) {
  expect_refused({
      {"no array", {.merges = "{}"}, "bad_tokenizer"},
      {"number", {.merges = "[1]"}, "bad_tokenizer"},
      {"one token", {.merges = R"(["ab"])"}, "bad_tokenizer"},
      {"three tokens", {.merges = R"(["a b a"])"}, "bad_tokenizer"},
      {"three in an array", {.merges = R"([["a", "b", "a"]])"}, "bad_tokenizer"},
      {"array of numbers", {.merges = "[[0, 1]]"}, "bad_tokenizer"},
      {"unknown left", {.merges = R"(["x b"])"}, "bad_tokenizer"},
      {"unknown right", {.merges = R"(["a x"])"}, "bad_tokenizer"},
      {"unknown result", {.merges = R"(["b a"])"}, "bad_tokenizer"},
  });
}

TEST(MalformedTokenizer, RefusesSettingsThatWouldChangeTheIds) {
  expect_refused({
      {"dropout", {.model = R"(, "dropout": 0.1)"}, "unsupported"},
      {"prefix", {.model = R"(, "continuing_subword_prefix": "##")"}, "unsupported"},
      {"suffix", {.model = R"(, "end_of_word_suffix": "</w>")"}, "unsupported"},
      {"suffix as number", {.model = R"(, "end_of_word_suffix": 1)"}, "bad_tokenizer"},
      {"unknown setting", {.model = R"(, "magic": true)"}, "unsupported"},
      {"flag as number", {.model = R"(, "fuse_unk": 1)"}, "bad_tokenizer"},
      {"unknown token as number", {.model = R"(, "unk_token": 1)"}, "bad_tokenizer"},
  });
  for (const std::string_view model : {R"(, "dropout": 0.0)", R"(, "dropout": null)", R"(, "end_of_word_suffix": "")"})
    EXPECT_TRUE(make({.model = std::string(model)})) << model;
  const auto with = [](std::string_view top) {
    return Tokenizer::from_json("{" + std::string(top) +
                                R"(, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})");
  };
  EXPECT_EQ(code_of(with(R"("truncation": 8)")), "bad_tokenizer");
  EXPECT_EQ(code_of(with(R"("padding": [0])")), "bad_tokenizer");
  EXPECT_EQ(code_of(with(R"("version": "2.0")")), "unsupported");
  EXPECT_EQ(code_of(with(R"("version": 1)")), "bad_tokenizer");
  EXPECT_EQ(code_of(with(R"("surprise": 1)")), "unsupported");
  EXPECT_TRUE(with(R"("version": "1.0")"));
}

TEST(MalformedTokenizer, NamesThePartThatItDoesNotHave) {
  const std::array<std::pair<Parts, std::string_view>, 12> cases{{
      {{.normalizer = R"({"type": "Nmt"})"}, "Nmt"},
      {{.normalizer = R"({"type": "Sequence", "normalizers": [{"type": "Odd"}]})"}, "Odd"},
      {{.pre_tokenizer = R"({"type": "UnicodeScripts"})"}, "UnicodeScripts"},
      {{.pre_tokenizer = R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})"}, "last"},
      {{.decoder = R"({"type": "Metaspace", "replacement": "_", "odd": 1})"}, "odd"},
      {{.pre_tokenizer = R"({"type": "Sequence", "pretokenizers": [{"type": "FixedLength"}]})"}, "FixedLength"},
      {{.pre_tokenizer = R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Sideways", "invert": false})"},
       "Sideways"},
      {{.post_processor = R"({"type": "Odd"})"}, "Odd"},
      {{.decoder = R"({"type": "CTC"})"}, "CTC"},
      {{.decoder = R"({"type": "Replace", "pattern": {"Regex": "a"}, "content": ""})"}, "Regex"},
      {{.decoder = R"({"type": "Fuse", "odd": 1})"}, "odd"},
      {{.normalizer = R"({"type": "NFC", "odd": 1})"}, "odd"},
  }};
  for (const auto& [parts, name] : cases) {
    const auto tokenizer = make(parts);
    ASSERT_EQ(code_of(tokenizer), "unsupported") << name;
    EXPECT_NE(tokenizer.error().message.find(name), std::string::npos) << tokenizer.error().message;
  }
  EXPECT_EQ(code_of(Tokenizer::from_json(R"({"model": {"type": "WordLevel", "vocab": {}}})")), "unsupported");
}

TEST(MalformedTokenizer, RefusesWrongParts) {
  expect_refused({
      {"normalizer without a type", {.normalizer = "{}"}, "bad_tokenizer"},
      {"normalizer as text", {.normalizer = R"("NFC")"}, "bad_tokenizer"},
      {"list as object", {.normalizer = R"({"type": "Sequence", "normalizers": {}})"}, "bad_tokenizer"},
      {"prepend of a number", {.normalizer = R"({"type": "Prepend", "prepend": 1})"}, "bad_tokenizer"},
      {"strip of no side", {.normalizer = R"({"type": "Strip", "strip_left": true})"}, "bad_tokenizer"},
      {"replace nothing",
       {.normalizer = R"({"type": "Replace", "pattern": {"String": ""}, "content": "a"})"},
       "unsupported"},
      {"two patterns",
       {.normalizer = R"({"type": "Replace", "pattern": {"String": "a", "Regex": "a"}, "content": "a"})"},
       "bad_tokenizer"},
      {"byte level without settings", {.pre_tokenizer = R"({"type": "ByteLevel"})"}, "bad_tokenizer"},
      {"digits without settings", {.pre_tokenizer = R"({"type": "Digits"})"}, "bad_tokenizer"},
      {"metaspace without a character", {.pre_tokenizer = R"({"type": "Metaspace"})"}, "bad_tokenizer"},
      {"metaspace of two characters", {.decoder = R"({"type": "Metaspace", "replacement": "ab"})"}, "bad_tokenizer"},
      {"metaspace of none", {.pre_tokenizer = R"({"type": "Metaspace", "replacement": ""})"}, "bad_tokenizer"},
      {"metaspace that contradicts itself",
       {.pre_tokenizer =
            R"({"type": "Metaspace", "replacement": "_", "add_prefix_space": false, "prepend_scheme": "always"})"},
       "bad_tokenizer"},
      {"strip of two characters",
       {.decoder = R"({"type": "Strip", "content": "ab", "start": 1, "stop": 0})"},
       "bad_tokenizer"},
      {"strip of minus one",
       {.decoder = R"({"type": "Strip", "content": "a", "start": -1, "stop": 0})"},
       "bad_tokenizer"},
      {"a template's token without ids",
       {.post_processor = template_of(R"([{"SpecialToken": {"id": "S"}}, {"Sequence": {"id": "A"}}])", "{}")},
       "bad_tokenizer"},
      {"a template's id without a token",
       {.post_processor = template_of(R"([{"SpecialToken": {"id": "S"}}, {"Sequence": {"id": "A"}}])",
                                      R"({"S": {"id": "S", "ids": [9], "tokens": ["S"]}})")},
       "bad_tokenizer"},
      {"a template for two texts",
       {.post_processor = template_of(R"([{"Sequence": {"id": "A"}}, {"Sequence": {"id": "B"}}])", "{}")},
       "unsupported"},
      {"a template without the text", {.post_processor = template_of("[]", "{}")}, "unsupported"},
  });
}

TEST(MalformedTokenizer, RefusesWrongPartsOfBertAndT5) {
  expect_refused({
      {"charsmap that is no text",
       {.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": 1})"},
       "bad_tokenizer"},
      {"charsmap of null", {.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": null})"}, "bad_tokenizer"},
      {"charsmap of nothing",
       {.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": ""})"},
       "bad_tokenizer"},
      {"charsmap of three letters",
       {.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": "AAA"})"},
       "bad_tokenizer"},
      {"charsmap of other letters",
       {.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": "AA-A"})"},
       "bad_tokenizer"},
      {"charsmap with bits left over",
       {.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": "AAAAAGIAAB=="})"},
       "bad_tokenizer"},
      {"charsmap whose trie is too long",
       {.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": "/////wAAAAA="})"},
       "bad_tokenizer"},
      {"a BERT that does not say whether it cleans", {.normalizer = R"({"type": "BertNormalizer"})"}, "bad_tokenizer"},
      {"two delimiters", {.pre_tokenizer = R"({"type": "CharDelimiterSplit", "delimiter": "ab"})"}, "bad_tokenizer"},
      {"punctuation that goes nowhere",
       {.pre_tokenizer = R"({"type": "Punctuation", "behavior": "Sideways"})"},
       "unsupported"},
      {"white space with settings", {.pre_tokenizer = R"({"type": "Whitespace", "odd": 1})"}, "unsupported"},
      {"BERT without tokens", {.post_processor = R"({"type": "BertProcessing"})"}, "bad_tokenizer"},
      {"BERT without an id",
       {.post_processor = R"({"type": "BertProcessing", "cls": ["a"], "sep": ["b", 1]})"},
       "bad_tokenizer"},
      {"BERT with an id of no token",
       {.post_processor = R"({"type": "RobertaProcessing", "cls": ["a", 0], "sep": ["b", 9]})"},
       "bad_tokenizer"},
      {"two that add tokens",
       {.post_processor = R"({"type": "Sequence", "processors": [
         {"type": "BertProcessing", "cls": ["a", 0], "sep": ["b", 1]},
         {"type": "BertProcessing", "cls": ["a", 0], "sep": ["b", 1]}]})"},
       "unsupported"},
      {"word pieces without a prefix", {.decoder = R"({"type": "WordPiece", "cleanup": true})"}, "bad_tokenizer"},
  });
}

TEST(MalformedTokenizer, ReadsBase64WithPadding) {
  for (const std::string_view map : {"AAAAAGIAAA==", "AAAAAGIAAAA=", "AAAAAGIA"})
    EXPECT_TRUE(
        make({.normalizer = R"({"type": "Precompiled", "precompiled_charsmap": ")" + std::string(map) + "\"}"}));
}

TEST(MalformedTokenizer, RefusesWrongAddedTokens) {
  const auto list = [](std::string_view a, std::string_view b = "") {
    return "[" + std::string(a) + (b.empty() ? "" : ",") + std::string(b) + "]";
  };
  expect_refused({
      {"no array", {.added_tokens = "{}"}, "bad_tokenizer"},
      {"no flags", {.added_tokens = R"([{"id": 3, "content": "x"}])"}, "bad_tokenizer"},
      {"empty", {.added_tokens = list(added_token(3, "", ""))}, "bad_tokenizer"},
      {"negative id", {.added_tokens = list(added_token(-1, "x", ""))}, "bad_tokenizer"},
      {"id of 2^32", {.added_tokens = list(added_token(4294967296, "x", ""))}, "bad_tokenizer"},
      {"another id than the vocabulary's", {.added_tokens = list(added_token(3, "a", ""))}, "bad_tokenizer"},
      {"another's id", {.added_tokens = list(added_token(1, "x", ""))}, "bad_tokenizer"},
      {"a gap", {.added_tokens = list(added_token(4, "x", ""))}, "bad_tokenizer"},
      {"an id that a sparse vocabulary has",
       {.vocab = R"({"a": 0, "b": 2})", .added_tokens = list(added_token(2, "x", ""))},
       "bad_tokenizer"},
      {"one twice", {.added_tokens = list(added_token(0, "a", ""), added_token(0, "a", ""))}, "bad_tokenizer"},
      {"two that are one when normalized",
       {.added_tokens = list(added_token(3, "x", "normalized"), added_token(0, "a", "normalized")),
        .normalizer = R"({"type": "Replace", "pattern": {"String": "x"}, "content": "a"})"},
       "bad_tokenizer"},
      {"too long", {.added_tokens = list(added_token(3, std::string(513, 'x'), ""))}, "limit"},
  });
}

TEST(MalformedTokenizer, RefusesPatternsThatMeanSomethingElseToTheOtherEngine) {
  for (const std::string_view regex :
       {R"(\\w+)",    R"(\\b)",         R"(\\h)",       R"(\\R)",         R"(\\1)",          R"(\\Aa)",
        R"((?i)a)",   R"((?<n>a))",     R"((?#a))",     R"(\\p{Han})",    R"(\\pL)",         R"(\\p{^L})",
        R"([a&&b])",  R"([[:alpha:]])", R"([\\S])",     R"([\\d-z])",     R"([a-\\s])",      R"(a{,3})",
        R"(a{1,3}+)", R"(a{2}?)",       R"((?i:stop))", R"((?i:(?:s)s))", R"((?i:\\p{Lu}))", R"((?i:é))",
        R"(\\xff)",   R"(\\x4)",        R"({)",         R"([])",          R"((*FAIL))",      R"(\\)"}) {
    const auto tokenizer = make({.pre_tokenizer = split(regex)});
    EXPECT_EQ(code_of(tokenizer), "unsupported") << regex;
  }
}

TEST(MalformedTokenizer, RefusesPatternsThatDoNotCompile) {
  for (const std::string_view regex :
       {"(", ")", "[a", "a**", "*", "[z-a]", "a{2,1}", R"(\\x{110000})", R"(\\x{d800})", "(?<=a+)b"}) {
    const auto tokenizer = make({.pre_tokenizer = split(regex)});
    EXPECT_EQ(code_of(tokenizer), "bad_pattern") << regex;
  }
  EXPECT_EQ(code_of(make({.pre_tokenizer = split(std::string(1000, '('))})), "bad_pattern");
  EXPECT_EQ(code_of(make({.pre_tokenizer = split(std::string(100'000, 'a'))})), "limit");
}

TEST(MalformedTokenizer, TakesOddByteTokensForOrdinaryText) {
  const auto tokenizer =
      make({.vocab = R"({"<0x-1>": 0, "<0xZZ>": 1, "<0x100>": 2, "<0x4>": 3, "<0xé>": 4, "<0x41>": 5})",
            .model = R"(, "byte_fallback": true)",
            .decoder = R"({"type": "ByteFallback"})"});
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(tokenizer->encode("A\xc3\xa9Z"), (std::vector<std::int32_t>{5}));
  EXPECT_EQ(tokenizer->decode(std::vector<std::int32_t>{0, 1, 2, 3, 4, 5}), "<0x-1><0xZZ><0x100><0x4><0xé>A");
}

TEST(MalformedTokenizer, BoundsWhatAReplacementGrowsTo) {
  const auto tokenizer = make({.normalizer = R"({"type": "Replace", "pattern": {"String": "a"}, "content": ")" +
                                             std::string(1 << 20, 'b') + "\"}"});
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(code_of(tokenizer->encode(std::string(2000, 'a'))), "limit");
}

}  // namespace
}  // namespace kvant::text
