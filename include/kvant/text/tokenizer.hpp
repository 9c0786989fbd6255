// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back, as Hugging Face's `tokenizers` does it from the same tokenizer.json, and SentencePiece
// from the same tokenizer.model.
//
//   auto tokenizer = kvant::text::Tokenizer::load("models/tiny");
//   auto ids = tokenizer->encode("Once upon a time");      // Result<std::vector<std::int32_t>>
//   std::string text = tokenizer->decode(*ids);
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/debug_mode.hpp"

namespace kvant::text {

struct EncodeOptions {
  bool add_special_tokens = true;  ///< what the post-processor puts around a text, such as a leading <s>
};

/// A tokenizer: byte-level byte pairs (GPT-2, Llama 3, Qwen), those of SentencePiece (Llama 2), Unigram (T5, XLM-R) or
/// WordPiece (BERT).
///
/// Supported parts of tokenizer.json; anything else that would change the ids is refused as `unsupported`, by name:
///   normalizer      NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, BertNormalizer,
///                   Precompiled, Sequence
///   pre_tokenizer   ByteLevel, Split (five behaviors), Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation,
///                   CharDelimiterSplit, BertPreTokenizer, Sequence
///   model           BPE: byte_fallback, fuse_unk, unk_token, ignore_merges; no dropout, no affixes
///                   Unigram: byte_fallback
///                   WordPiece
///   post_processor  TemplateProcessing (the single form), BertProcessing, RobertaProcessing, ByteLevel, Sequence
///   decoder         ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, WordPiece, Sequence
///   added_tokens    single_word, lstrip, rstrip, normalized, special
///   truncation, padding   may be there and are not applied, as in transformers where a call does not ask for them
///
/// Of tokenizer.model: types unigram and bpe, pieces of all types (unused ones only in unigram), byte_fallback, the
/// charsmap and the treatment of spaces; no denormalizer, no treat_whitespace_as_suffix. Control pieces such as <s> are
/// not looked for in texts, as in SentencePiece, and nothing is put around a text unless tokenizer_config.json says so.
///
/// Regular expressions mean what they mean to Oniguruma, the engine of `tokenizers`; constructs that PCRE2 reads
/// differently are refused. Character classes are those of the installed PCRE2 (Unicode 14 in 10.42): text in scripts
/// encoded later may split differently. Normalizers know what the installed utf8proc does (Unicode 15 in 2.8), those of
/// `tokenizers` Unicode 9: marks and compatibility characters encoded since may be normalized differently.
///
/// A value: copies share one immutable state, and all members are thread-safe.
class Tokenizer {
 public:
  /// Reads the text of a tokenizer.json. `where` names its source in errors.
  /// Errors: bad_json, bad_utf8, duplicate_key, bad_tokenizer, bad_pattern, unsupported, limit, out_of_memory.
  [[nodiscard]] static Result<Tokenizer> from_json(std::string_view tokenizer_json, Where where = {});

  /// Reads the bytes of a tokenizer.model, SentencePiece's ModelProto. `where` names its source in errors.
  /// Errors: bad_tokenizer, bad_utf8, unsupported, limit, out_of_memory.
  [[nodiscard]] static Result<Tokenizer> from_sentencepiece(std::string_view tokenizer_model, Where where = {});

  /// The file that load() reads in a folder: tokenizer.json, else tokenizer.model, where there is one.
  [[nodiscard]] static std::optional<std::filesystem::path> file_in(const std::filesystem::path& folder);

  /// Reads tokenizer.json, a file named *.model, or the one of them that is inside a folder, and beside it
  /// tokenizer_config.json where that exists: `bos_token` and `eos_token` name the ids below; `add_bos_token` and
  /// `add_eos_token` overrule the post-processor, as in transformers. Errors: those of from_json() and of reading
  /// files; a link to nowhere is not_found.
  [[nodiscard]] static Result<Tokenizer> load(const std::filesystem::path& folder_or_file);

  /// Ids of `utf8`, at most 1 GiB. Added tokens are recognised in the text wherever they stand. A character that the
  /// vocabulary cannot spell becomes the unknown token; without one it vanishes, as in `tokenizers`.
  /// Errors: bad_utf8 with the byte offset, bad_pattern (the pre-tokenizer takes too long), bad_tokenizer (an unknown
  /// token is needed, but not in the vocabulary), limit, out_of_memory.
  [[nodiscard]] Result<std::vector<std::int32_t>> encode(std::string_view utf8, EncodeOptions options = {}) const;

  /// Text of `ids`; ids that name no token are skipped, and bytes that form no character become U+FFFD.
  /// @throws std::bad_alloc and nothing else.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids, bool skip_special = true) const;

  /// One past the largest id, so that every id of encode() is below it.
  [[nodiscard]] std::size_t vocabulary_size() const noexcept;

  /// Begin and end of text: the tokens named in tokenizer_config.json, else the only one that the post-processor puts
  /// before or after a text, else the control pieces that tokenizer.model names.
  [[nodiscard]] std::optional<std::int32_t> bos_id() const noexcept;
  [[nodiscard]] std::optional<std::int32_t> eos_id() const noexcept;

  /// The id of a token as it stands in the vocabulary (`Ġthe`, `<0x0A>`), and back; the view lives as long as any copy
  /// of this tokenizer.
  [[nodiscard]] std::optional<std::int32_t> token_to_id(std::string_view token) const noexcept;
  [[nodiscard]] std::optional<std::string_view> id_to_token(std::int32_t id) const noexcept;

  struct Impl;

 private:
  friend class DecodeStream;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) noexcept;

  std::shared_ptr<const Impl> impl_;
};

/// The text of ids as they come, in time that grows with their number. What push() gave, and finish() at the end, is
/// together what decode() gives for all of the ids. Held back is what a later id may change: bytes of an unfinished
/// character; with byte fallback a run of byte tokens until it ends, since one that does not fit makes U+FFFD of all.
class DecodeStream {
 public:
  /// @throws std::bad_alloc and nothing else, as all of its members.
  explicit DecodeStream(const Tokenizer& tokenizer, bool skip_special = true);
  DecodeStream(DecodeStream&&) noexcept;
  DecodeStream& operator=(DecodeStream&&) noexcept;
  ~DecodeStream();

  /// What the text goes on with, as far as it is certain: whole characters, or nothing.
  [[nodiscard]] std::string push(std::int32_t id);
  /// The rest of the text; the next id begins another one.
  [[nodiscard]] std::string finish();

 private:
  struct Impl;

  std::unique_ptr<Impl> impl_;
};

}  // namespace kvant::text
