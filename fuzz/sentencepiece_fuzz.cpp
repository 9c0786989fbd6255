// SPDX-License-Identifier: Apache-2.0
// tokenizer.model: the first byte of the input chooses whether the rest is such a file, is written over one that is in
// order, or is a text for one.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "files.hpp"
#include "kvant/text/tokenizer.hpp"
#include "tokenizers.hpp"

namespace {

using kvant::text::Tokenizer;

constexpr std::string_view kText =
    "  a ab <s>\n\nb 12'S caf\u00e9 e\u0301 \u4e2d\u3000\U0001f600 the quick brown fox  ";

const std::string& model_file(bool unigram) {
  static const std::array<std::string, 2> files = [] {
    const std::string folder = KVANT_SOURCE_DIR "/tests/golden/tokenizers/trained/";
    return std::array{fuzz::read_file(folder + "bpe.model"), fuzz::read_file(folder + "unigram.model")};
  }();
  return files[unigram ? 1 : 0];
}

/// Each group of four bytes: how far to go in the file (two bytes, in steps), and what to write there (two bytes).
std::string changed(std::string file, std::string_view changes, std::size_t step) {
  std::size_t at = 0;
  for (std::size_t i = 0; i + 4 <= changes.size(); i += 4) {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(changes[i + k]); };
    at = (at + step * (byte(0) + 256U * byte(1))) % (file.size() - 1);
    file[at] = changes[i + 2];
    file[at + 1] = changes[i + 3];
  }
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool unigram = data[0] / 4 % 2 != 0;
  switch (data[0] % 4) {
    case 0:
      fuzz::use(Tokenizer::from_sentencepiece(rest), kText);
      break;
    case 1:
      fuzz::use(Tokenizer::from_sentencepiece(changed(model_file(unigram), rest, unigram ? 9 : 1)), kText);
      break;
    default: {
      static const std::array tokenizers{Tokenizer::from_sentencepiece(model_file(false)),
                                         Tokenizer::from_sentencepiece(model_file(true))};
      fuzz::require(tokenizers[unigram ? 1 : 0].has_value());
      fuzz::use(*tokenizers[unigram ? 1 : 0], rest);
    }
  }
  return 0;
}
