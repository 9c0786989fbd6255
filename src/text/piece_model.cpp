// SPDX-License-Identifier: Apache-2.0
#include "piece_model.hpp"

#include <bit>
#include <cmath>
#include <optional>
#include <variant>

#include "kvant/io/utf8.hpp"
#include "protobuf.hpp"

namespace kvant::text {

namespace {

constexpr std::size_t kMaxPieces = std::size_t{1} << 22;

using Field = WireReader::Field;

tl::unexpected<Error> bad(const Field& field, std::string what, ErrorCode code = ErrorCode::bad_tokenizer) {
  Where where;
  if (field.kind == Field::Kind::bytes) where.offset = field.offset;
  return fail(code, "field " + std::to_string(field.number) + " " + std::move(what), where);
}

/// Calls `visit(field)` for each field of a message.
template <class Visit>
Status each_field(WireReader reader, Visit visit) {
  for (;;) {
    const auto field = reader.next();
    if (!field) return propagate(field);
    if (!*field) return {};
    if (auto ok = visit(**field); !ok) return ok;
  }
}

Status read(const Field& field, bool& value) {
  if (field.kind != Field::Kind::varint) return bad(field, "is not true or false");
  value = field.value != 0;
  return {};
}

Status read(const Field& field, std::string_view& value) {
  if (field.kind != Field::Kind::bytes) return bad(field, "is no bytes");
  value = field.bytes;
  return {};
}

Status read_text(const Field& field, std::string_view& value) {
  if (auto ok = read(field, value); !ok) return ok;
  if (io::find_invalid_utf8(value)) return bad(field, "is not valid UTF-8", ErrorCode::bad_utf8);
  return {};
}

Status read(const Field& field, float& value) {
  if (field.kind != Field::Kind::fixed32) return bad(field, "is no float");
  value = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
  if (!std::isfinite(value)) return bad(field, "is no finite number");
  return {};
}

/// One of the values 1 to `last`.
template <class Enum>
Status read(const Field& field, Enum& value, Enum last) {
  if (field.kind != Field::Kind::varint || field.value == 0 || field.value > static_cast<std::uint64_t>(last))
    return bad(field, "is " + std::to_string(field.value) + ", which means nothing here");
  value = static_cast<Enum>(field.value);
  return {};
}

/// A message inside another.
template <class Visit>
Status read_message(const Field& field, Visit visit) {
  std::string_view bytes;
  if (auto ok = read(field, bytes); !ok) return ok;
  return each_field(WireReader(bytes, field.offset), visit);
}

Status read_piece(const Field& field, std::vector<PieceModel::Piece>& pieces) {
  if (pieces.size() == kMaxPieces)
    return bad(field, "is piece " + std::to_string(kMaxPieces) + "; so many are not read", ErrorCode::limit);
  PieceModel::Piece piece;
  const auto ok = read_message(field, [&](const Field& inner) -> Status {
    if (inner.number == 1) return read_text(inner, piece.text);
    if (inner.number == 2) return read(inner, piece.score);
    if (inner.number == 3) return read(inner, piece.type, PieceModel::Type::byte);
    return {};
  });
  if (!ok) return ok;
  if (piece.text.empty()) return bad(field, "is a piece without text");
  pieces.push_back(piece);
  return {};
}

Status read_trainer(const Field& field, PieceModel& model) {
  return read_message(field, [&](const Field& inner) -> Status {
    if (inner.number == 3) return read(inner, model.algorithm, PieceModel::Algorithm::character);
    if (inner.number == 24) return read(inner, model.whitespace_as_suffix);
    if (inner.number == 35) return read(inner, model.byte_fallback);
    if (inner.number == 44) return read_text(inner, model.unknown_surface);
    if (inner.number == 46) return read_text(inner, model.bos_piece);
    if (inner.number == 47) return read_text(inner, model.eos_piece);
    return {};
  });
}

Status read_normalizer(const Field& field, PieceModel& model) {
  return read_message(field, [&](const Field& inner) -> Status {
    if (inner.number == 2) return read(inner, model.charsmap);
    if (inner.number == 3) return read(inner, model.add_dummy_prefix);
    if (inner.number == 4) return read(inner, model.remove_extra_whitespaces);
    if (inner.number == 5) return read(inner, model.escape_whitespaces);
    return {};
  });
}

}  // namespace

Result<PieceModel> PieceModel::read(std::string_view bytes) {
  PieceModel model;
  const auto ok = each_field(WireReader(bytes), [&](const Field& field) -> Status {
    if (field.number == 1) return read_piece(field, model.pieces);
    if (field.number == 2) return read_trainer(field, model);
    if (field.number == 3) return read_normalizer(field, model);
    if (field.number == 5)
      return read_message(field, [&](const Field& inner) -> Status {
        return inner.number == 2 ? text::read(inner, model.denormalizer_charsmap) : Status{};
      });
    return {};
  });
  if (!ok) return propagate(ok);
  return model;
}

}  // namespace kvant::text
