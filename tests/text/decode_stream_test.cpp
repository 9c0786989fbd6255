// SPDX-License-Identifier: Apache-2.0
// The text of ids that come one by one is that of all of them at once; tokenizer_golden_test.cpp says which that is.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvant/core/rng.hpp"
#include "kvant/io/utf8.hpp"
#include "kvant/text/tokenizer.hpp"
#include "tokenizer_json.hpp"

namespace kvant::text {
namespace {

using test::added_token;
using test::make;
using Ids = std::vector<std::int32_t>;

const std::filesystem::path kSource = KVANT_SOURCE_DIR;

/// A number below `end`.
std::size_t below(Rng& rng, std::size_t end) { return static_cast<std::size_t>(rng.next() % end); }

/// Every small tokenizer that was recorded, and the real ones that are there.
std::vector<std::pair<std::string, Tokenizer>> all_tokenizers() {
  std::vector<std::pair<std::string, Tokenizer>> result;
  const auto add = [&](const std::string& name, const Result<Tokenizer>& tokenizer) {
    EXPECT_TRUE(tokenizer) << name << ": " << describe(tokenizer.error());
    if (tokenizer) result.emplace_back(name, *tokenizer);
  };
  std::ifstream in(kSource / "tests/golden/tokenizers/features.json", std::ios::binary);
  const auto features = nlohmann::json::parse(std::string(std::istreambuf_iterator<char>(in), {}));
  for (const auto& entry : features["tokenizers"])
    add(entry["name"].get<std::string>(), Tokenizer::from_json(entry["tokenizer_json"].get<std::string>()));
  add("tiny", Tokenizer::load(kSource / "models/tiny"));
  if (const char* data = std::getenv("KVANT_TEST_DATA"))
    for (const char* path : {"tokenizer/smollm2_tokenizer.json", "lm/stories260K-hf"})
      add(path, Tokenizer::load(std::filesystem::path(data) / path));
  return result;
}

/// Ids of all kinds, of no token among them: single ones from anywhere, and runs from one end of the vocabulary, where
/// bytes and special tokens are.
Ids random_ids(const Tokenizer& tokenizer, Rng& rng) {
  Ids ids;
  const std::size_t size = tokenizer.vocabulary_size();
  for (std::size_t parts = below(rng, 8); parts > 0; --parts) {
    const bool near_start = below(rng, 2) == 0;
    const std::size_t range = below(rng, 3) == 0 ? size + 2 : std::min<std::size_t>(size, 300);
    for (std::size_t n = below(rng, 12); n > 0; --n) {
      const std::size_t id = below(rng, range);
      ids.push_back(static_cast<std::int32_t>(near_start || range > size ? id : size - 1 - id));
    }
  }
  return ids;
}

/// Streams `ids`, and expects whole characters, nothing that later ids take back, and in the end the text of all.
void expect_same(const Tokenizer& tokenizer, const Ids& ids, bool skip_special, DecodeStream& stream) {
  std::string text;
  for (std::size_t n = 0; n < ids.size(); ++n) {
    const std::string part = stream.push(ids[n]);
    EXPECT_FALSE(io::find_invalid_utf8(part)) << testing::PrintToString(ids);
    text += part;
    if (n % 8 == 0) {
      const std::string so_far = tokenizer.decode(std::span(ids).first(n + 1), skip_special);
      EXPECT_TRUE(so_far.starts_with(text)) << testing::PrintToString(ids) << " at " << n;
    }
  }
  text += stream.finish();
  EXPECT_EQ(text, tokenizer.decode(ids, skip_special)) << testing::PrintToString(ids);
}

TEST(DecodeStream, GivesTheTextOfAllIdsAtOnce) {
  for (const auto& [name, tokenizer] : all_tokenizers()) {
    SCOPED_TRACE(name);
    Rng rng(seed_from_name(name, 1));
    for (const bool skip_special : {true, false}) {
      DecodeStream stream(tokenizer, skip_special);  // one for all, so that each text begins anew
      for (int i = 0; i < 100; ++i) expect_same(tokenizer, random_ids(tokenizer, rng), skip_special, stream);
    }
    if (HasFailure()) return;
  }
}

TEST(DecodeStream, DoesSoForAnyChainOfDecoders) {
  constexpr std::array<std::string_view, 14> kSteps{
      R"({"type": "ByteLevel"})",
      R"({"type": "ByteFallback"})",
      R"({"type": "Fuse"})",
      R"({"type": "Fuse"})",
      R"({"type": "Replace", "pattern": {"String": "_"}, "content": " "})",
      R"({"type": "Replace", "pattern": {"String": "aab"}, "content": "aa"})",
      R"({"type": "Replace", "pattern": {"String": "_é_a"}, "content": ""})",
      R"({"type": "Replace", "pattern": {"String": "aa"}, "content": "bé"})",
      R"({"type": "Strip", "content": "a", "start": 2, "stop": 0})",
      R"({"type": "Strip", "content": " ", "start": 1, "stop": 1})",
      R"({"type": "Strip", "content": "é", "start": 0, "stop": 18446744073709551615})",
      R"({"type": "Strip", "content": "b", "start": 3, "stop": 2})",
      R"({"type": "Metaspace", "replacement": "_"})",
      R"({"type": "Metaspace", "replacement": "é", "prepend_scheme": "never"})"};
  std::string vocab =
      R"({"a":256,"aa":257,"aab":258,"ab":259,"_a":260,"_":261,"é":262,"é_":263,"b":264,"Ġ":265,"Ã":266,)"
      R"("©":267,"ð":268,"Ł":269,"ĺĢ":270,"中":271,"<0x-1>":272," ":273)";
  for (unsigned byte = 0; byte < 256; ++byte) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    vocab += std::string(", \"<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">\": " + std::to_string(byte);
  }
  vocab += "}";
  Rng rng(7);
  for (int chain = 0; chain < 300; ++chain) {
    std::string steps;
    for (std::size_t n = 1 + below(rng, 4); n > 0; --n)
      steps += std::string(kSteps[below(rng, kSteps.size())]) + (n > 1 ? "," : "");
    SCOPED_TRACE(steps);
    const auto tokenizer = make({.vocab = vocab,
                                 .added_tokens = "[" + added_token(274, "<s>", "special") + "]",
                                 .decoder = R"({"type": "Sequence", "decoders": [)" + steps + "]}"});
    ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
    DecodeStream stream(*tokenizer);
    for (int i = 0; i < 20; ++i) {
      Ids ids;  // mostly of what the steps look for, and bytes that begin characters or go on with them
      for (std::size_t n = below(rng, 24); n > 0; --n)
        ids.push_back(static_cast<std::int32_t>(below(rng, 3) == 0 ? 0x80 + below(rng, 0x80) : 256 + below(rng, 19)));
      expect_same(*tokenizer, ids, true, stream);
    }
    if (HasFailure()) return;
  }
}

TEST(DecodeStream, HoldsBackWhatMayChangeAndNothingElse) {
  const auto tiny = Tokenizer::load(kSource / "models/tiny");
  ASSERT_TRUE(tiny);
  DecodeStream stream(*tiny);
  const auto id = [&](std::string_view token) { return tiny->token_to_id(token).value_or(-1); };
  EXPECT_EQ(stream.push(id("a")), "a");
  EXPECT_EQ(stream.push(id("\u00e4")), "");        // the byte E4
  EXPECT_EQ(stream.push(id("\u00b8")), "");        // B8
  EXPECT_EQ(stream.push(id("\u0143")), "\u4e2d");  // AD: a character
  EXPECT_EQ(stream.push(id("\u00e4")), "");        // half of one
  EXPECT_EQ(stream.push(id("a")), "\ufffda");      // is none
  EXPECT_EQ(stream.push(id("\u00ff")), "\ufffd");  // FF begins none
  EXPECT_EQ(stream.push(id("\u00e4")), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
  EXPECT_EQ(stream.push(id("\u00b8")), "\ufffd");  // another text
}

TEST(DecodeStream, HoldsBackARunOfByteTokensAsOneStrayByteSpoilsIt) {
  const auto tokenizer = make({.vocab = R"({"a":0,"<0xC3>":1,"<0xA9>":2})", .decoder = R"({"type": "ByteFallback"})"});
  ASSERT_TRUE(tokenizer);
  DecodeStream stream(*tokenizer);
  for (const std::int32_t byte : {1, 2}) EXPECT_EQ(stream.push(byte), "");
  EXPECT_EQ(stream.push(0), "\u00e9a");
  for (const std::int32_t byte : {1, 2, 2}) EXPECT_EQ(stream.push(byte), "");
  EXPECT_EQ(stream.finish(), "\ufffd\ufffd\ufffd");
}

TEST(DecodeStream, TakesAMillionIdsInLinearTime) {
  constexpr std::size_t kCount = 1'000'000;
  const std::string many_a(1000, 'a');
  const std::array<std::pair<std::string, std::string>, 4> decoders{{
      {"bytes", R"({"type": "ByteLevel"})"},
      {"one run", R"({"type": "ByteFallback"})"},
      {"a pattern that always begins",
       R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Replace", "pattern": {"String": ")" + many_a +
           R"(b"}, "content": ""}]})"},
      {"an end that may be taken off",
       R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": "a", "start": 0, "stop": 999999}]})"},
  }};
  for (const auto& [name, decoder] : decoders) {
    const auto tokenizer = make({.vocab = R"({"a":0,"<0x41>":1})", .decoder = decoder});
    ASSERT_TRUE(tokenizer) << describe(tokenizer.error());
    DecodeStream stream(*tokenizer);
    const auto start = std::chrono::steady_clock::now();
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < kCount; ++i) bytes += stream.push(name == "one run" ? 1 : 0).size();
    bytes += stream.finish().size();
    // Decoding everything again for each id takes hours; the bound leaves room for sanitizers and slow machines.
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 20.0) << name;
    EXPECT_EQ(bytes, name.starts_with("an end") ? 1 : kCount) << name;
  }
}

}  // namespace
}  // namespace kvant::text
