// SPDX-License-Identifier: Apache-2.0
// tokenizer.model: what its pieces and settings mean, and files that are none.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "io/test_files.hpp"
#include "kvant/text/tokenizer.hpp"
#include "sentencepiece_model.hpp"
#include "tokenizer_json.hpp"

namespace kvant::text {
namespace {

using namespace test;
using Ids = std::vector<std::int32_t>;

Ids ids_of(const Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  EXPECT_TRUE(ids) << describe(ids.error());
  return ids.value_or(Ids{-1});
}

Tokenizer made(const std::string& bytes) {
  auto tokenizer = make_sentencepiece(bytes);
  EXPECT_TRUE(tokenizer) << describe(tokenizer.error());
  return *tokenizer;
}

TEST(SentencePieceBpe, MergesTheGreatestScoreFirstAndTheLeftmostOfEqualOnes) {
  const auto tokenizer = made(kSpecialPieces + piece("a", -9) + piece("b", -9) + piece("ab", -2) + piece("ba", -1) +
                              piece("aa", -3) + kBpe + kPlain);
  EXPECT_EQ(ids_of(tokenizer, "aba"), (Ids{3, 6}));
  EXPECT_EQ(ids_of(tokenizer, "aaa"), (Ids{7, 3}));
}

TEST(SentencePieceBpe, MergesCharactersThatAreNoPieces) {
  const auto tokenizer = made(kSpecialPieces + piece("xy", -1) + piece("xyz", -2) + kBpe + kPlain);
  EXPECT_EQ(ids_of(tokenizer, "xyzxy"), (Ids{4, 3}));
}

TEST(SentencePieceBpe, GivesOneUnknownTokenForARunOfCharacters) {
  const auto tokenizer = made(kSpecialPieces + piece("a", -1) + kBpe + kPlain);
  EXPECT_EQ(ids_of(tokenizer, "xyazz"), (Ids{0, 3, 0}));
  EXPECT_EQ(tokenizer.decode(Ids{0, 3}), " \u2047 a");
}

TEST(SentencePieceBpe, SpellsUnknownCharactersInBytes) {
  const auto tokenizer = made(kSpecialPieces + byte_pieces() + piece("a", -1) + kBpeWithBytes + kPlain);
  EXPECT_EQ(ids_of(tokenizer, "a\u00e9"), (Ids{259, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(tokenizer.decode(Ids{259, 3 + 0xC3, 3 + 0xA9}), "a\u00e9");
  EXPECT_EQ(tokenizer.decode(Ids{3 + 0xE4, 3 + 0xB8, 259}), "\ufffd\ufffda");  // one for each byte
}

TEST(SentencePieceBpe, TakesUserDefinedPiecesWhole) {
  const auto tokenizer = made(kSpecialPieces + piece("a", -1) + piece("aa", -1) + piece("b", -1) +
                              piece("ab", 0, PieceType::user_defined) + kBpe + kPlain);
  EXPECT_EQ(ids_of(tokenizer, "aaab"), (Ids{4, 6}));
}

TEST(SentencePieceBpe, DoesNotLookForControlPieces) {
  const auto tokenizer = made(kSpecialPieces + piece("<", -1) + piece("s", -1) + piece(">", -1) + kBpe + kPlain);
  EXPECT_EQ(ids_of(tokenizer, "<s>"), (Ids{3, 4, 5}));
  EXPECT_EQ(tokenizer.decode(Ids{1, 3}), "<");
  EXPECT_EQ(tokenizer.decode(Ids{1, 3}, false), "<s><");
}

TEST(SentencePieceUnigram, TakesTheGreatestSum) {
  const auto tokenizer = made(kSpecialPieces + piece("a", -1) + piece("b", -1) + piece("ab", -2.5F) +
                              piece("ba", -1.5F) + kUnigram + kPlain);
  EXPECT_EQ(ids_of(tokenizer, "abab"), (Ids{3, 6, 4}));
}

TEST(SentencePieceUnigram, PrefersUserDefinedPiecesAndLeavesUnusedOnesOut) {
  const auto tokenizer =
      made(kSpecialPieces + piece("a", -1) + piece("b", -1) + piece("ab", -30, PieceType::user_defined) +
           piece("aa", -1, PieceType::unused) + kUnigram + kPlain);
  EXPECT_EQ(ids_of(tokenizer, "aaab"), (Ids{3, 3, 5}));
}

TEST(SentencePieceUnigram, CutsLongTextsInLinearTime) {
  std::string pieces;
  for (int n = 1; n <= 128; n += 18) pieces += piece(std::string(static_cast<std::size_t>(n), 'a'), -1);
  const auto tokenizer = made(kSpecialPieces + pieces + kUnigram + kPlain);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(ids_of(tokenizer, std::string(1U << 18, 'a')).empty());
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 30.0);
}

TEST(SentencePiece, TreatsSpacesAsItsNormalizerSays) {
  const std::string pieces =
      kSpecialPieces + piece("a", -1) + piece("\u2581", -1) + piece("\u2581a", -1) + piece(" ", -1);
  const auto normalizer = [](bool prefix, bool remove, bool escape) {
    return kUnigram + field(3, field(3, std::uint64_t{prefix}) + field(4, std::uint64_t{remove}) +
                                   field(5, std::uint64_t{escape}));
  };
  EXPECT_EQ(ids_of(made(pieces + kUnigram), "  a  a "), (Ids{5, 5}));
  EXPECT_EQ(ids_of(made(pieces + normalizer(true, false, true)), "a  a "), (Ids{5, 4, 5, 4}));
  EXPECT_EQ(ids_of(made(pieces + normalizer(false, true, true)), " a"), (Ids{3}));
  EXPECT_EQ(ids_of(made(pieces + normalizer(false, false, false)), " a"), (Ids{6, 3}));
  EXPECT_EQ(ids_of(made(pieces + kUnigram), "   "), Ids{});
}

TEST(SentencePiece, DropsTheSpacesThatEncodingPutsBeforeAText) {
  const std::string pieces = kSpecialPieces + piece("a", -1) + piece("\u2581", -1) + piece("\u2581a", -1);
  EXPECT_EQ(made(pieces + kUnigram).decode(Ids{4, 1, 5, 5}), "a a");
  const std::string keeps_extra = field(3, field(4, std::uint64_t{0}));
  EXPECT_EQ(made(pieces + kUnigram + keeps_extra).decode(Ids{4, 1, 5, 5}), " a a");
  EXPECT_EQ(made(pieces + kUnigram + kPlain).decode(Ids{4, 1, 5, 5}), "  a a");
}

TEST(SentencePiece, ReplacesCharactersByTheCharsmap) {
  const auto tokenizer =
      made(kSpecialPieces + piece("b", -1) + piece("c", -1) + piece("a", -1) + kUnigram +
           field(3, field(2, charsmap(units_for('a', 3), {"xx\0bc\0", 6})) + field(3, std::uint64_t{0})));
  EXPECT_EQ(ids_of(tokenizer, "acb"), (Ids{3, 4, 4, 3}));
}

TEST(SentencePiece, NamesBeginAndEndOfText) {
  const auto usual = made(kSpecialPieces + piece("a", -1) + kUnigram);
  EXPECT_EQ(usual.bos_id(), 1);
  EXPECT_EQ(usual.eos_id(), 2);
  const auto other = made(kSpecialPieces + piece("a", -1) + piece("[B]", 0, PieceType::control) +
                          field(2, field(46, "[B]") + field(47, "a")));
  EXPECT_EQ(other.bos_id(), 4);
  EXPECT_EQ(other.eos_id(), std::nullopt);  // "a" is no control piece
}

TEST(SentencePiece, IsReadWhereAFolderHasNoTokenizerJson) {
  const io::test::TemporaryFolder folder;
  EXPECT_EQ(Tokenizer::file_in(folder.path()), std::nullopt);
  folder.write("tokenizer.model", kSpecialPieces + piece("a", -1) + kUnigram + kPlain);
  auto tokenizer = Tokenizer::load(folder.path());
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(ids_of(*tokenizer, "a"), (Ids{3}));

  folder.write("tokenizer_config.json", R"({"add_bos_token": true, "add_eos_token": true, "eos_token": "<s>"})");
  tokenizer = Tokenizer::load(folder.path());
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(ids_of(*tokenizer, "a"), (Ids{1, 3, 1}));
  EXPECT_EQ(tokenizer->eos_id(), 1);

  folder.write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "<x>"})");
  EXPECT_EQ(code_of(Tokenizer::load(folder.path())), "bad_tokenizer");
  folder.write("tokenizer_config.json", "{}");
  folder.write("tokenizer.json", tokenizer_json({.vocab = R"({"a":0,"<s>":1})"}));
  tokenizer = Tokenizer::load(folder.path());
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(tokenizer->vocabulary_size(), 2U);
  tokenizer = Tokenizer::load(folder.path() / "tokenizer.model");
  ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
  EXPECT_EQ(tokenizer->vocabulary_size(), 4U);
}

TEST(MalformedSentencePiece, EveryPrefixIsRefusedOrHarmless) {
  const std::string whole = kSpecialPieces + byte_pieces() + piece("a", -1) + kBpeWithBytes + kPlain;
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const auto tokenizer = make_sentencepiece(whole.substr(0, n));
    if (tokenizer)
      EXPECT_TRUE(tokenizer->encode("ab c\u00e9"));
    else
      EXPECT_EQ(tokenizer.error().where.file, "some/tokenizer.model");
  }
}

TEST(MalformedSentencePiece, ChangedBytesNeverDoHarm) {
  const std::string whole = kSpecialPieces + piece("a", -1) + piece("ab", -2) + piece("b", 0, PieceType::user_defined) +
                            kUnigram + field(3, field(2, charsmap(units_for('a', 1), {"x\0b\0", 4})));
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (const char c : {'\0', '\1', '\2', '\x0a', '\x7f', '\x80', '\xff'}) {
      std::string changed = whole;
      changed[i] = c;
      if (const auto tokenizer = make_sentencepiece(changed)) {
        const auto ids = tokenizer->encode("aab b\u00e9 ");
        EXPECT_LE(ids ? ids->size() : 0U, 32U);
      }
    }
}

TEST(MalformedSentencePiece, IsRefusedWithTheRightCode) {
  const std::string a = piece("a", -1);
  const std::string infinite = piece("b", std::numeric_limits<float>::infinity());
  const struct {
    std::string_view what;
    std::string bytes;
    std::string_view code;
  } files[]{
      {"nothing", "", "bad_tokenizer"},
      {"text", "{\"model\": {}}", "bad_tokenizer"},
      {"field without a number", std::string("\0\0", 2), "bad_tokenizer"},
      {"number of 11 bytes", std::string(1, '\x08') + std::string(11, '\x80'), "bad_tokenizer"},
      {"group", std::string(1, '\x0b'), "bad_tokenizer"},
      {"bytes beyond the end", std::string("\x0a\xff\xff\xff\xff\x0f"), "bad_tokenizer"},
      {"piece that is a number", kSpecialPieces + field(1, 3), "bad_tokenizer"},
      {"piece without text", kSpecialPieces + piece("", 0), "bad_tokenizer"},
      {"piece of no type", kSpecialPieces + piece("a", 0, static_cast<PieceType>(7)), "bad_tokenizer"},
      {"piece without UTF-8", kSpecialPieces + piece("\xff", 0), "bad_utf8"},
      {"piece twice", kSpecialPieces + a + a, "bad_tokenizer"},
      {"piece of 513 bytes", kSpecialPieces + piece(std::string(513, 'a'), 0), "limit"},
      {"infinite score", kSpecialPieces + infinite, "bad_tokenizer"},
      {"no unknown piece", a, "bad_tokenizer"},
      {"two unknown pieces", kSpecialPieces + piece("?", 0, PieceType::unknown), "bad_tokenizer"},
      {"byte piece without byte_fallback", kSpecialPieces + piece("<0x00>", 0, PieceType::byte), "bad_tokenizer"},
      {"byte_fallback without byte pieces", kSpecialPieces + a + kBpeWithBytes, "bad_tokenizer"},
      {"model of words", kSpecialPieces + a + field(2, field(3, 3)), "unsupported"},
      {"model of no kind", kSpecialPieces + a + field(2, field(3, 5)), "bad_tokenizer"},
      {"spaces behind words", kSpecialPieces + a + field(2, field(24, 1)), "unsupported"},
      {"denormalizer", kSpecialPieces + a + field(5, field(2, "x")), "unsupported"},
      {"unused piece of byte pairs", kSpecialPieces + piece("a", 0, PieceType::unused) + kBpe, "unsupported"},
  };
  for (const auto& file : files) {
    const auto tokenizer = make_sentencepiece(file.bytes);
    EXPECT_EQ(code_of(tokenizer), file.code) << file.what << (tokenizer ? "" : ": " + describe(tokenizer.error()));
  }
}

TEST(MalformedSentencePiece, ErrorsNameTheFileAndThePlace) {
  const auto tokenizer = make_sentencepiece(kSpecialPieces + "\x0a\x20xy");
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().where.file, "some/tokenizer.model");
  EXPECT_EQ(tokenizer.error().where.offset, kSpecialPieces.size() + 2);
  EXPECT_NE(tokenizer.error().message.find("32 bytes, but 2 are left"), std::string::npos);
}

/// A model with this charsmap.
std::string with_charsmap(const std::string& map) {
  return kSpecialPieces + piece("a", -1) + kUnigram + field(3, field(2, map));
}

TEST(MalformedCharsmap, IsRefused) {
  for (const std::string& map :
       {std::string("abc"), charsmap(std::vector<std::uint32_t>(1), ""), fixed32(3) + "abcdef",
        fixed32(0xFFFFFFFF) + "abcdef", charsmap(units_for('a', 9), {"x\0", 2}),
        charsmap(units_for('a', 1), {"\xC3\xA9\0", 3}), charsmap(units_for('a', 0), {"\xFF\0", 2})})
    EXPECT_EQ(code_of(make_sentencepiece(with_charsmap(map))), "bad_tokenizer");
  EXPECT_TRUE(make_sentencepiece(with_charsmap(charsmap(units_for('a', 0), {"b\0", 2}))));
}

TEST(MalformedCharsmap, FindsNoEntryThatEndsInsideACharacter) {
  const auto tokenizer =
      made(kSpecialPieces + piece("\u00e9", -1) + kUnigram +
           field(3, field(2, charsmap(units_for(0xC3, 0), {"b\0", 2})) + field(3, std::uint64_t{0})));
  EXPECT_EQ(ids_of(tokenizer, "\u00e9"), (Ids{3}));
}

TEST(MalformedCharsmap, OfATrieThatGoesInCirclesCostsNoMoreThanItsDepth) {
  const auto tokenizer = made(with_charsmap(charsmap(circling_units(), {"b\0", 2})));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(tokenizer.encode(std::string(std::size_t{1} << 18, 'a')));
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 20.0);
}

TEST(MalformedCharsmap, ReplacesACharacterByAFewHundredBytesAtMost) {
  const auto with_replacement = [](std::size_t bytes) {
    return code_of(make_sentencepiece(with_charsmap(charsmap(units_for('a', 0), std::string(bytes, 'b')))));
  };
  EXPECT_EQ(with_replacement(512), "success");
  EXPECT_EQ(with_replacement(513), "limit");
}

}  // namespace
}  // namespace kvant::text
