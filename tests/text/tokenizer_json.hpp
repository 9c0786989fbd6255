// SPDX-License-Identifier: Apache-2.0
// Small tokenizers for tests, made of the parts of tokenizer.json that a test is about.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvant/text/tokenizer.hpp"

namespace kvant::text::test {

/// JSON text of each part; `model` holds further settings and starts with a comma. Where there is a `whole_model`, it
/// stands for the model of type BPE that the first three make.
struct Parts {
  std::string vocab = R"({"a":0,"b":1,"ab":2})";
  std::string merges = "[]";
  std::string model = "";
  std::string whole_model = "";
  std::string added_tokens = "[]";
  std::string normalizer = "null";
  std::string pre_tokenizer = "null";
  std::string post_processor = "null";
  std::string decoder = "null";
};

inline std::string tokenizer_json(const Parts& parts) {
  const std::string bpe =
      R"({"type": "BPE", "vocab": )" + parts.vocab + R"(, "merges": )" + parts.merges + parts.model + "}";
  return R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": )" + parts.added_tokens +
         R"(, "normalizer": )" + parts.normalizer + R"(, "pre_tokenizer": )" + parts.pre_tokenizer +
         R"(, "post_processor": )" + parts.post_processor + R"(, "decoder": )" + parts.decoder + R"(, "model": )" +
         (parts.whole_model.empty() ? bpe : parts.whole_model) + "}";
}

inline Result<Tokenizer> make(const Parts& parts) { return Tokenizer::from_json(tokenizer_json(parts)); }

/// The model WordPiece with a vocabulary, for Parts.
inline std::string word_piece(std::string_view vocab, std::string_view max_characters = "100") {
  return R"({"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##", "max_input_chars_per_word": )" +
         std::string(max_characters) + R"(, "vocab": )" + std::string(vocab) + "}";
}

/// The model Unigram; `settings` start with a comma.
inline std::string unigram(std::string_view vocab, std::string_view settings = R"(, "unk_id": 0)") {
  return R"({"type": "Unigram", "vocab": )" + std::string(vocab) + std::string(settings) + "}";
}

/// An entry of added_tokens with the flags that `flags` names.
inline std::string added_token(std::int64_t id, std::string_view content, std::string_view flags) {
  std::string text = R"({"id": )" + std::to_string(id) + R"(, "content": ")" + std::string(content) + '"';
  for (const std::string_view flag : {"single_word", "lstrip", "rstrip", "normalized", "special"})
    text += ", \"" + std::string(flag) + "\": " + (flags.find(flag) != std::string_view::npos ? "true" : "false");
  return text + "}";
}

/// The code of an error; a word that shows up in the test's output where there is none.
template <class T>
std::string code_of(const Result<T>& result) {
  return result ? "success" : std::string(error_info(result.error().code).name);
}

}  // namespace kvant::text::test
