// SPDX-License-Identifier: Apache-2.0
// Tokenizers: the first byte of the input chooses whether the rest is a text to encode or a tokenizer.json to read.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/text/tokenizer.hpp"

namespace {

using kvant::text::Tokenizer;

void require(bool condition) {
  if (!condition) std::abort();
}

/// Byte fallback, a few merges, added tokens, and a pattern that cuts words and numbers.
std::string tokenizer_json() {
  std::string vocab = R"({"a": 256, "b": 257, " ": 258, "ab": 259, " a": 260, "aa": 261, "<s>": 262, "\n\n": 263)";
  for (unsigned byte = 0; byte < 256; ++byte) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    vocab += ", \"<0x";
    vocab += kHex[byte >> 4];
    vocab += kHex[byte & 15];
    vocab += ">\": " + std::to_string(byte);
  }
  constexpr std::string_view kFlags =
      R"(", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": false})";
  return R"({"added_tokens": [{"id": 262, "content": "<s>)" + std::string(kFlags) +
         R"(, {"id": 263, "content": "\n\n)" + std::string(kFlags) + R"(],
    "pre_tokenizer": {"type": "Split", "behavior": "MergedWithNext", "invert": false,
      "pattern": {"Regex": "(?i:'s|'re)| ?\\p{L}+|\\p{N}{1,3}|[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s+(?!\\S)|\\s+"}},
    "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
    "model": {"type": "BPE", "byte_fallback": true, "vocab": )" +
         vocab + R"(}, "merges": ["a b", ["a", "a"], [" ", "a"]]}})";
}

/// Tokens that come one by one give the text of all of them, special ones and ids that name none among them.
void decode_both_ways(const Tokenizer& tokenizer, std::span<const std::int32_t> ids) {
  for (const bool skip_special : {false, true}) {
    kvant::text::DecodeStream stream(tokenizer, skip_special);
    std::string text;
    for (const std::int32_t id : ids) text += stream.push(id);
    require(text + stream.finish() == tokenizer.decode(ids, skip_special));
  }
}

void read_and_use(std::string_view json) {
  const auto tokenizer = Tokenizer::from_json(json);
  if (!tokenizer) {
    require(!tokenizer.error().message.empty());
    return;
  }
  const auto ids = tokenizer->encode("a ab <s>\n\nb 12'S caf\u00e9 \u4e2d \U0001f600");
  if (!ids) return;
  for (const std::int32_t id : *ids) require(tokenizer->id_to_token(id).has_value());
  decode_both_ways(*tokenizer, *ids);
  const std::vector<std::int32_t> others{0, 1, -1, 2, 3, 3, 2, 1, 4, 5, 0, 6, 7};
  decode_both_ways(*tokenizer, others);
}

void encode_and_decode(std::string_view text) {
  static const auto tokenizer = Tokenizer::from_json(tokenizer_json());
  require(tokenizer.has_value());
  const auto ids = tokenizer->encode(text);
  if (!ids) {
    require(ids.error().code == kvant::ErrorCode::bad_utf8);
    return;
  }
  for (const std::int32_t id : *ids) require(tokenizer->id_to_token(id).has_value());
  require(tokenizer->decode(*ids) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0)
    read_and_use(rest);
  else
    encode_and_decode(rest);
  return 0;
}
