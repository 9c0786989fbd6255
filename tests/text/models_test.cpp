// SPDX-License-Identifier: Apache-2.0
// What WordPiece and Unigram make of words, and models that are none.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/text/tokenizer.hpp"
#include "tokenizer_json.hpp"

namespace kvant::text {
namespace {

using test::code_of;
using test::make;
using test::unigram;
using test::word_piece;
using Ids = std::vector<std::int32_t>;

Ids ids_of(const Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  EXPECT_TRUE(ids) << describe(ids.error());
  return ids.value_or(Ids{-1});
}

Tokenizer with_model(const std::string& model, const std::string& pre_tokenizer = "null") {
  auto tokenizer = make({.whole_model = model, .pre_tokenizer = pre_tokenizer});
  EXPECT_TRUE(tokenizer) << describe(tokenizer.error());
  return *tokenizer;
}

double seconds_to_encode(const Tokenizer& tokenizer, std::string_view text) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(tokenizer.encode(text));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(WordPiece, TakesTheLongestTokenThatAWordBeginsWith) {
  const auto tokenizer = with_model(word_piece(R"({"?":0,"a":1,"ab":2,"##a":3,"##ab":4,"##b":5})"));
  EXPECT_EQ(ids_of(tokenizer, "abab"), (Ids{2, 4}));
  EXPECT_EQ(ids_of(tokenizer, "aab"), (Ids{1, 4}));
}

TEST(WordPiece, SplitsUnknownWordsToUnk) {
  const auto tokenizer = with_model(word_piece(R"({"?":0,"a":1,"##b":2})"), R"({"type": "WhitespaceSplit"})");
  EXPECT_EQ(ids_of(tokenizer, "ab abx xb b a"), (Ids{1, 2, 0, 0, 0, 1}));
}

TEST(WordPiece, DoesNotTryAgainWithAShorterBeginning) {
  const auto tokenizer = with_model(word_piece(R"({"?":0,"a":1,"ab":2,"##bc":3})"));
  EXPECT_EQ(ids_of(tokenizer, "abc"), (Ids{0}));
}

TEST(WordPiece, TakesWordsOfMoreCharactersThanItsLimitForUnknown) {
  const auto tokenizer = with_model(word_piece("{\"?\":0,\"\u00e9\":1,\"##\u00e9\":2}", "3"));
  EXPECT_EQ(ids_of(tokenizer, "\u00e9\u00e9\u00e9"), (Ids{1, 2, 2}));
  EXPECT_EQ(ids_of(tokenizer, "\u00e9\u00e9\u00e9\u00e9"), (Ids{0}));
}

TEST(WordPiece, SaysThatTheUnknownTokenIsMissingOnlyWhenItIsNeeded) {
  const auto tokenizer = with_model(word_piece(R"({"a":0})"));
  EXPECT_EQ(ids_of(tokenizer, "a"), (Ids{0}));
  EXPECT_EQ(code_of(tokenizer.encode("ab")), "bad_tokenizer");
}

TEST(WordPiece, EncodesLongWordsInLinearTime) {
  const auto tokenizer =
      with_model(word_piece(R"({"?":0,"a":1,"##a":2,"##)" + std::string(120, 'a') + R"(b":3})", "10000000"));
  EXPECT_LT(seconds_to_encode(tokenizer, std::string(1U << 18, 'a')), 30.0);
}

TEST(WordPiece, OfWrongShapeIsRefused) {
  for (const auto& [model, code] :
       {std::pair(word_piece("[]"), "bad_tokenizer"), std::pair(word_piece("{}"), "bad_tokenizer"),
        std::pair(word_piece(R"({"a":0})", "-1"), "bad_tokenizer"),
        std::pair(word_piece(R"({"a":0})", "\"9\""), "bad_tokenizer"),
        std::pair(word_piece(R"({"a":-1})"), "bad_tokenizer"),
        std::pair(word_piece("{\"" + std::string(513, 'a') + "\":0}"), "limit"),
        std::pair(std::string(R"({"type": "WordPiece", "vocab": {"a": 0}})"), "bad_tokenizer"),
        std::pair(word_piece(R"({"a":0}, "odd": 1)"), "unsupported")})
    EXPECT_EQ(code_of(make({.whole_model = model})), code) << model;
}

TEST(Unigram, TakesTheCutWithTheGreatestSum) {
  const auto tokenizer = with_model(unigram(R"([["?",0],["a",-1],["b",-1],["ab",-2.5],["ba",-1.5],["aba",-2.25]])"));
  EXPECT_EQ(ids_of(tokenizer, "ab"), (Ids{1, 2}));
  EXPECT_EQ(ids_of(tokenizer, "aba"), (Ids{5}));
  EXPECT_EQ(ids_of(tokenizer, "abab"), (Ids{5, 2}));
}

TEST(Unigram, FusesUnknownCharacters) {
  const auto tokenizer = with_model(unigram(R"([["?",0],["a",-1]])"));
  EXPECT_EQ(ids_of(tokenizer, "xyazz"), (Ids{0, 1, 0}));
  EXPECT_EQ(ids_of(tokenizer, "x?y"), (Ids{0}));
}

TEST(Unigram, SpellsUnknownCharactersInBytesWhereItHasAllOfThem) {
  const std::string vocab = R"([["?",0],["a",-1],["<0xC3>",-9],["<0xA9>",-9]])";
  const auto tokenizer = with_model(unigram(vocab, R"(, "unk_id": 0, "byte_fallback": true)"));
  EXPECT_EQ(ids_of(tokenizer, "a\u00e9"), (Ids{1, 2, 3}));
  EXPECT_EQ(ids_of(tokenizer, "a\u00e9\u00e8"), (Ids{1, 0}));  // E8 is missing, and the run is one
}

TEST(Unigram, GivesTheLaterIdOfATokenThatStandsTwice) {
  const auto tokenizer = with_model(unigram(R"([["?",0],["a",-1],["a",-2]])"));
  EXPECT_EQ(ids_of(tokenizer, "a"), (Ids{2}));
  EXPECT_EQ(tokenizer.id_to_token(1), "a");
  EXPECT_EQ(tokenizer.token_to_id("a"), 2);
}

TEST(Unigram, SaysThatTheUnknownTokenIsMissingOnlyWhenItIsNeeded) {
  const auto tokenizer = with_model(unigram(R"([["a",-1]])", R"(, "unk_id": null)"));
  EXPECT_EQ(ids_of(tokenizer, "aa"), (Ids{0, 0}));
  EXPECT_EQ(code_of(tokenizer.encode("ab")), "bad_tokenizer");
}

TEST(Unigram, EncodesLongWordsInLinearTime) {
  const auto tokenizer =
      with_model(unigram(R"([["?",0],["a",-1],["aa",-1.5],[")" + std::string(128, 'a') + R"(",-2]])"));
  EXPECT_LT(seconds_to_encode(tokenizer, std::string(1U << 18, 'a')), 30.0);
}

TEST(Unigram, OfWrongShapeIsRefused) {
  for (const auto& [model, code] :
       {std::pair(unigram("{}"), "bad_tokenizer"), std::pair(unigram("[]"), "bad_tokenizer"),
        std::pair(unigram("[]", ""), "bad_tokenizer"), std::pair(unigram(R"(["a"])"), "bad_tokenizer"),
        std::pair(unigram(R"([["a"]])"), "bad_tokenizer"), std::pair(unigram(R"([["a", "b"]])"), "bad_tokenizer"),
        std::pair(unigram(R"([["a", 1e999]])"), "bad_tokenizer"), std::pair(unigram(R"([["", 1]])"), "bad_tokenizer"),
        std::pair(unigram(R"([["a", -1, 2]])"), "bad_tokenizer"),
        std::pair(unigram(R"([["a", -1]])", R"(, "unk_id": 1)"), "bad_tokenizer"),
        std::pair(unigram(R"([["a", -1]])", R"(, "unk_id": -1)"), "bad_tokenizer"),
        std::pair(unigram(R"([["a", -1]])", R"(, "unk_id": 0, "byte_fallback": 1)"), "bad_tokenizer"),
        std::pair(unigram("[[\"" + std::string(513, 'a') + "\", 0]]"), "limit"),
        std::pair(unigram(R"([["a", -1]])", R"(, "alpha": 0.1)"), "unsupported")})
    EXPECT_EQ(code_of(make({.whole_model = model})), code) << model.substr(0, 100);
}

}  // namespace
}  // namespace kvant::text
