// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_files.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace kvant::io {
namespace {

/// Takes the digits at the front of `text`; false where there are none.
bool take_digits(std::string_view& text) {
  const std::size_t n = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(n);
  return n != 0;
}

/// STEM.safetensors and STEM-00001-of-00002.safetensors, as exporters name them.
bool is_shard_name(std::string_view name) {
  constexpr std::array<std::string_view, 3> kStems{"model", "kvant", "pytorch_model"};
  const auto stem = std::find_if(kStems.begin(), kStems.end(), [&](std::string_view s) { return name.starts_with(s); });
  if (stem == kStems.end() || !name.ends_with(".safetensors")) return false;
  std::string_view rest =
      name.substr(stem->size(), name.size() - stem->size() - std::string_view(".safetensors").size());
  if (rest.empty()) return true;
  const auto take = [&](std::string_view word) {
    if (!rest.starts_with(word)) return false;
    rest.remove_prefix(word.size());
    return true;
  };
  return take("-") && take_digits(rest) && take("-of-") && take_digits(rest) && rest.empty();
}

}  // namespace

bool is_weight_file(const std::filesystem::path& name) {
  static constexpr std::array<std::string_view, 12> kExtensions{
      ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".onnx_data", ".npz", ".ot"};
  const std::string extension = name.extension().string();
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end() ||
         name.native().ends_with(".index.json");
}

bool is_checkpoint_file(const std::filesystem::path& name) {
  static constexpr std::array<std::string_view, 22> kNames{"added_tokens.json",
                                                           "chat_template.jinja",
                                                           "chat_template.json",
                                                           "config.json",
                                                           "generation_config.json",
                                                           "image_processor_config.json",
                                                           "merges.txt",
                                                           "preprocessor_config.json",
                                                           "processor_config.json",
                                                           "sentencepiece.bpe.model",
                                                           "special_tokens_map.json",
                                                           "spiece.model",
                                                           "tekken.json",
                                                           "tokenizer.json",
                                                           "tokenizer.model",
                                                           "tokenizer_config.json",
                                                           "video_preprocessor_config.json",
                                                           "vocab.json",
                                                           "vocab.txt",
                                                           "config_sentence_transformers.json",
                                                           kIndexName,
                                                           kOwnIndexName};
  return std::find(kNames.begin(), kNames.end(), name.native()) != kNames.end() || is_shard_name(name.native());
}

}  // namespace kvant::io
