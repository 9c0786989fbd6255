// SPDX-License-Identifier: Apache-2.0
// Small tokenizers for tests, made of the parts of tokenizer.json that a test is about.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvant/text/tokenizer.hpp"

namespace kvant::text::test {

/// JSON text of each part; `model` holds further settings and starts with a comma.
struct Parts {
  std::string vocab = R"({"a":0,"b":1,"ab":2})";
  std::string merges = "[]";
  std::string model = "";
  std::string added_tokens = "[]";
  std::string normalizer = "null";
  std::string pre_tokenizer = "null";
  std::string post_processor = "null";
  std::string decoder = "null";
};

inline std::string tokenizer_json(const Parts& parts) {
  return R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": )" + parts.added_tokens +
         R"(, "normalizer": )" + parts.normalizer + R"(, "pre_tokenizer": )" + parts.pre_tokenizer +
         R"(, "post_processor": )" + parts.post_processor + R"(, "decoder": )" + parts.decoder +
         R"(, "model": {"type": "BPE", "vocab": )" + parts.vocab + R"(, "merges": )" + parts.merges + parts.model +
         "}}";
}

inline Result<Tokenizer> make(const Parts& parts) { return Tokenizer::from_json(tokenizer_json(parts)); }

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
