// SPDX-License-Identifier: Apache-2.0
// Tokenizers: the first byte of the input chooses whether the rest is a tokenizer.json to read or a text to encode.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "kvant/text/tokenizer.hpp"
#include "tokenizers.hpp"

namespace {

using fuzz::require;
using kvant::text::Tokenizer;

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

/// Tokenizers of other kinds, which do not give back all of a text.
void encode(std::string_view text, std::size_t kind) {
  static const std::array tokenizers = [] {
    const std::string folder = KVANT_SOURCE_DIR "/tests/golden/tokenizers/trained/";
    return std::array{Tokenizer::load(folder + "bert.json"), Tokenizer::load(folder + "t5.json"),
                      Tokenizer::load(folder + "unigram_bytes.json"), Tokenizer::load(folder + "qwen2.json")};
  }();
  const auto& tokenizer = tokenizers[kind % tokenizers.size()];
  require(tokenizer.has_value());
  fuzz::use(*tokenizer, text);
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
  switch (data[0] % 4) {
    case 0:
    case 2:
      fuzz::use(Tokenizer::from_json(rest), "a ab <s>\n\nb 12'S caf\u00e9 \u4e2d \U0001f600");
      break;
    case 1:
      encode_and_decode(rest);
      break;
    default:
      encode(rest, data[0] / 4);
  }
  return 0;
}
