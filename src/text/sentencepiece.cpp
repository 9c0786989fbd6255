// SPDX-License-Identifier: Apache-2.0
#include "sentencepiece.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "kvant/io/utf8.hpp"
#include "piece_model.hpp"
#include "vocabulary.hpp"

namespace kvant::text {

namespace {

using Type = PieceModel::Type;

/// What this file does not do, said before anything is made of it.
Status check_supported(const PieceModel& file) {
  using Algorithm = PieceModel::Algorithm;
  if (file.algorithm != Algorithm::unigram && file.algorithm != Algorithm::bpe)
    return fail(ErrorCode::unsupported, "a model of words or of characters; kvant reads unigram and bpe");
  if (file.whitespace_as_suffix)
    return fail(ErrorCode::unsupported,
                "\"treat_whitespace_as_suffix\": spaces stand before words in what kvant reads");
  if (!file.denormalizer_charsmap.empty())
    return fail(ErrorCode::unsupported, "a \"denormalizer_spec\": decoded text stays as it is in what kvant reads");
  const auto unused = [](const PieceModel::Piece& piece) { return piece.type == Type::unused; };
  if (file.algorithm == Algorithm::bpe && std::any_of(file.pieces.begin(), file.pieces.end(), unused))
    return fail(ErrorCode::unsupported, "an unused piece in a model of type bpe");
  return {};
}

/// The one piece of type unknown, which may be missing where bytes spell everything.
Result<std::optional<Place>> unknown_place(const PieceModel& file) {
  std::optional<Place> unknown;
  for (Place place = 0; place < file.pieces.size(); ++place) {
    if (file.pieces[place].type != Type::unknown) continue;
    if (unknown) return fail(ErrorCode::bad_tokenizer, "two pieces of type unknown");
    unknown = place;
  }
  if (!unknown && !file.byte_fallback)
    return fail(ErrorCode::bad_tokenizer, "no piece of type unknown; this is no tokenizer.model");
  return unknown;
}

Result<ByteTokens> read_byte_tokens(const PieceModel& file, const Vocabulary& vocabulary) {
  const auto count = std::count_if(file.pieces.begin(), file.pieces.end(),
                                   [](const PieceModel::Piece& piece) { return piece.type == Type::byte; });
  if (count == 0 && !file.byte_fallback) return ByteTokens{};
  const ByteTokens bytes = byte_tokens(vocabulary);
  const auto is_byte = [&](const std::optional<Place>& place) {
    return place && file.pieces[*place].type == Type::byte;
  };
  if (!file.byte_fallback || count != 256 || !std::all_of(bytes.begin(), bytes.end(), is_byte))
    return fail(ErrorCode::bad_tokenizer, std::to_string(count) +
                                              " pieces of type byte; expected <0x00> to <0xFF> under "
                                              "\"byte_fallback\", else none");
  return bytes;
}

/// Tokens that are taken wherever they stand.
Trie whole_tokens(const PieceModel& file) {
  std::vector<Trie::Entry> entries;
  for (Place place = 0; place < file.pieces.size(); ++place)
    if (file.pieces[place].type == Type::user_defined) entries.push_back({file.pieces[place].text, place});
  return Trie(std::move(entries));
}

PieceBpe make_bpe(const PieceModel& file, Vocabulary vocabulary, Place unknown, const ByteTokens& bytes) {
  std::vector<float> scores;
  const auto merges = [](const PieceModel::Piece& piece) {
    return piece.type == Type::normal || piece.type == Type::user_defined;
  };
  for (const PieceModel::Piece& piece : file.pieces)
    if (merges(piece)) scores.push_back(piece.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  PieceBpe::Settings settings{{}, whole_tokens(file), unknown, bytes};
  for (const PieceModel::Piece& piece : file.pieces) {
    const auto first = std::lower_bound(scores.begin(), scores.end(), piece.score, std::greater<>());
    settings.ranks.push_back(merges(piece) ? static_cast<std::uint32_t>(first - scores.begin()) : PieceBpe::kNoRank);
  }
  return {std::move(vocabulary), std::move(settings)};
}

/// Pieces that a user has defined outdo all others: each has a score above 0, which grows with its length.
Unigram make_unigram(const PieceModel& file, Vocabulary vocabulary, std::optional<Place> unknown,
                     const ByteTokens& bytes) {
  float lowest = std::numeric_limits<float>::max();
  for (const PieceModel::Piece& piece : file.pieces)
    if (piece.type == Type::normal) lowest = std::min(lowest, piece.score);
  Unigram::Settings settings;
  settings.lowest = lowest;
  settings.unknown = unknown;
  settings.bytes = bytes;
  settings.sums = Unigram::Sums::floats;
  for (Place place = 0; place < file.pieces.size(); ++place) {
    const PieceModel::Piece& piece = file.pieces[place];
    const bool defined = piece.type == Type::user_defined;
    const auto length = static_cast<double>(piece.text.size());
    settings.scores.push_back(defined ? static_cast<float>(0.1 * (length - 1)) : piece.score);
    if (defined || piece.type == Type::normal) settings.tokens.push_back({piece.text, place});
  }
  return {std::move(vocabulary), std::move(settings)};
}

AddedTokens decoded_tokens(const PieceModel& file) {
  std::vector<AddedToken> tokens;
  for (Place place = 0; place < file.pieces.size(); ++place) {
    const PieceModel::Piece& piece = file.pieces[place];
    const bool control = piece.type == Type::control;
    if (!control && piece.type != Type::unknown) continue;
    AddedToken token;
    token.content = piece.text;
    token.pattern = control ? piece.text : file.unknown_surface;
    token.id = static_cast<std::int32_t>(place);
    token.special = control;
    tokens.push_back(std::move(token));
  }
  return AddedTokens::never_in_text(std::move(tokens));
}

}  // namespace

Result<SentencePieceParts> read_sentencepiece(std::string_view bytes) {
  const auto file = PieceModel::read(bytes);
  if (!file) return propagate(file);
  if (auto ok = check_supported(*file); !ok) return propagate(ok);
  const auto unknown = unknown_place(*file);
  if (!unknown) return propagate(unknown);
  std::vector<std::pair<std::int32_t, std::string_view>> entries;
  for (const PieceModel::Piece& piece : file->pieces)
    entries.emplace_back(static_cast<std::int32_t>(entries.size()), piece.text);
  auto vocabulary = Vocabulary::make(std::move(entries), kMaxMatchedBytes);
  if (!vocabulary) return propagate(vocabulary);
  for (Place place = 0; place < file->pieces.size(); ++place)
    if (vocabulary->place(file->pieces[place].text) != place)
      return fail(ErrorCode::bad_tokenizer,
                  "the piece \"" + io::printable(file->pieces[place].text, 80) + "\" stands twice");
  const auto byte_pieces = read_byte_tokens(*file, *vocabulary);
  if (!byte_pieces) return propagate(byte_pieces);

  PieceNormalizer normalizer;
  if (!file->charsmap.empty()) {
    auto map = CharsMap::read(file->charsmap);
    if (!map) return propagate(map);
    normalizer.map = *std::move(map);
  }
  normalizer.whole = whole_tokens(*file);
  normalizer.add_dummy_prefix = file->add_dummy_prefix;
  normalizer.remove_extra_whitespaces = file->remove_extra_whitespaces;
  normalizer.escape_whitespaces = file->escape_whitespaces;

  const auto control_id = [&](std::string_view text) -> std::optional<std::int32_t> {
    const auto place = vocabulary->place(text);
    if (!place || file->pieces[*place].type != Type::control) return std::nullopt;
    return vocabulary->id(*place);
  };
  const auto bos = control_id(file->bos_piece);
  const auto eos = control_id(file->eos_piece);
  const bool drop = file->add_dummy_prefix || file->remove_extra_whitespaces;
  const bool bpe = file->algorithm == PieceModel::Algorithm::bpe;
  return SentencePieceParts{Normalizer(std::move(normalizer)),
                            bpe ? Model(make_bpe(*file, *std::move(vocabulary), unknown->value_or(0), *byte_pieces))
                                : Model(make_unigram(*file, *std::move(vocabulary), *unknown, *byte_pieces)),
                            decoded_tokens(*file),
                            Decoder(PieceStep({file->byte_fallback, drop, file->remove_extra_whitespaces})),
                            bos,
                            eos};
}

}  // namespace kvant::text
