// SPDX-License-Identifier: Apache-2.0
// Quantized weights as they are read: what was found and checked when the checkpoint was opened becomes a matrix.
#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "core/guard.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/tensor/bits.hpp"
#include "storage.hpp"

namespace kvant::io {
namespace {

Result<std::vector<std::byte>> read_all(const Checkpoint& checkpoint, const std::string& name) {
  const CheckpointTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr)
    return fail(ErrorCode::bad_metadata, "is missing, but the quantization configuration needs it",
                {checkpoint.path().string(), name, {}});
  std::vector<std::byte> data(static_cast<std::size_t>(tensor->bytes));
  if (const Status read = checkpoint.read_bytes(*tensor, 0, data); !read) return propagate(read);
  return data;
}

/// Codes of `bits` bits out of words that hold as many of them as fit.
void unpack_words(std::span<const std::uint8_t> bytes, unsigned bits, std::span<std::uint8_t> codes) {
  const std::size_t per_word = 32 / bits;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes.data() + i / per_word * 4, 4);
    codes[i] = static_cast<std::uint8_t>(word >> (i % per_word * bits) & ((1u << bits) - 1u));
  }
}

/// Integers of `bits` bits, each in a byte of its own; nothing where one is beyond its bits.
bool unpack_bytes(std::span<const std::uint8_t> bytes, const FormatInfo& format, std::span<std::uint8_t> codes) {
  bool fits = true;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const int value = format.is_signed ? static_cast<std::int8_t>(bytes[i]) : bytes[i];
    if (format.kind == FormatKind::integer) fits = fits && value >= format.low && value <= format.high;
    codes[i] = static_cast<std::uint8_t>(bytes[i] & ((1u << format.bits) - 1u));
  }
  return fits;
}

Status read_codes(const Checkpoint& checkpoint, const StoredWeight& w, QMatrix& q) {
  const FormatInfo& format = w.scheme.weight.info();
  const std::string name = w.name + w.codes.suffix;
  const CheckpointTensor* tensor = checkpoint.find(name);
  const Where where{checkpoint.path().string(), name, {}};
  expects(tensor != nullptr, "a weight that was found");
  if (q.rows == 0 || q.cols == 0) return {};  // however large the other one is said to be
  std::vector<std::uint8_t> row(static_cast<std::size_t>(w.codes.row_bytes));
  for (std::size_t r = 0; r < q.rows; ++r) {
    if (const Status read =
            checkpoint.read_bytes(*tensor, r * w.codes.row_bytes, std::as_writable_bytes(std::span<std::uint8_t>(row)));
        !read)
      return propagate(read);
    const auto codes = std::span<std::uint8_t>(q.codes).subspan(r * q.cols, q.cols);
    bool fits = true;
    if (w.codes.form == CodeStorage::Form::stream) unpack_bits(row, format.bits, codes);
    if (w.codes.form == CodeStorage::Form::words) unpack_words(row, format.bits, codes);
    if (w.codes.form == CodeStorage::Form::bytes) fits = unpack_bytes(row, format, codes);
    if (!fits)
      return fail(ErrorCode::bad_metadata,
                  "row " + std::to_string(r) + " holds a byte that is no " + std::string(format.name), where);
    for (std::uint8_t& code : codes) {
      code ^= w.codes.flip;
      const float value = format.decode(code);
      // NaN is a value that --nonfinite keep writes.
      const bool is_value = format.kind == FormatKind::integer
                                ? value >= static_cast<float>(format.low) && value <= static_cast<float>(format.high)
                                : format.levels == nullptr || code <= format.threshold_count;
      if (!is_value || is_inf(value))
        return fail(ErrorCode::bad_metadata,
                    "row " + std::to_string(r) + " holds code " + std::to_string(code) + ", which is no value of " +
                        std::string(format.name),
                    where);
    }
  }
  return {};
}

/// `bytes` are as many as a level of that shape takes.
Status decode_scales(std::span<const std::byte> bytes, ScaleLevel& level, const Where& where) {
  const FormatInfo& type = format_info(level.type);
  const std::size_t width = type.bits / 8;
  level.values.resize(level.rows * level.cols);
  std::vector<std::uint8_t> codes(type.bits % 8 != 0 ? level.values.size() : 0);
  const auto row_bytes = static_cast<std::size_t>(level_row_bytes(level));
  for (std::size_t r = 0; r < level.rows && !codes.empty(); ++r)
    unpack_bits({reinterpret_cast<const std::uint8_t*>(bytes.data()) + r * row_bytes, row_bytes}, type.bits,
                std::span(codes).subspan(r * level.cols, level.cols));
  for (std::size_t i = 0; i < level.values.size(); ++i) {
    std::uint32_t code = 0;
    if (codes.empty())
      std::memcpy(&code, bytes.data() + i * width, width);
    else
      code = codes[i];
    const float scale = type.decode(code);
    if (!is_finite(scale)) return fail(ErrorCode::nonfinite, "scale " + std::to_string(i) + " is not finite", where);
    level.values[i] = scale;
  }
  return {};
}

Status decode_records(std::span<const std::byte> bytes, const QuantizedWeight& w, QMatrix& q, const Where& where) {
  const IntegerScaleRule rule = integer_scale_rule(w.scheme.weight);
  const auto row_bytes = static_cast<std::size_t>(record_row_bytes(w));
  const std::size_t groups = q.scales[0].cols;
  q.scales[0].values.resize(q.rows * groups);
  q.zero_points.resize(q.rows * groups);
  std::vector<std::uint8_t> records(groups);
  for (std::size_t r = 0; r < q.rows && groups != 0; ++r) {
    const auto* row = reinterpret_cast<const std::uint8_t*>(bytes.data()) + r * row_bytes;
    unpack_bits({row, row_bytes}, rule.record_bits, records);
    for (std::size_t g = 0; g < groups; ++g) {
      const std::int32_t s = rule.scale_of(records[g]);
      const std::int32_t z = rule.zero_of(records[g]);
      if (!rule.allows(s, z))
        return fail(ErrorCode::bad_metadata,
                    "row " + std::to_string(r) + " holds the record " + std::to_string(records[g]) +
                        ", which is no scale and zero point of " + to_text(w.scheme),
                    where);
      q.scales[0].values[r * groups + g] = static_cast<float>(s);
      q.zero_points[r * groups + g] = static_cast<std::int16_t>(z);
    }
  }
  return {};
}

Result<ScaleLevel> read_level(const Checkpoint& checkpoint, const StoredLevel& stored) {
  const auto bytes = read_all(checkpoint, stored.spec.name);
  if (!bytes) return propagate(bytes);
  ScaleLevel level = stored.level;
  if (const Status ok = decode_scales(*bytes, level, {checkpoint.path().string(), stored.spec.name, {}}); !ok)
    return propagate(ok);
  return level;
}

/// The levels of scales, and of offsets where there are any.
Status read_scales(const Checkpoint& checkpoint, const StoredWeight& w, QMatrix& q) {
  q.scales.push_back(level_shapes(w.scheme.weight.scales, w.scheme.weight.granularity, q.rows, q.cols)[0]);
  const std::string name = w.name + w.scale_suffix;
  const auto bytes = read_all(checkpoint, name);
  if (!bytes) return propagate(bytes);
  const Where where{checkpoint.path().string(), name, {}};
  const Status read = w.scheme.weight.has_integer_scales() ? decode_records(*bytes, w, q, where)
                                                           : decode_scales(*bytes, q.scales[0], where);
  if (!read) return read;
  for (const StoredLevel& stored : outer_scales(w)) {
    auto level = read_level(checkpoint, stored);
    if (!level) return propagate(level);
    if (w.scheme.weight.scales.op == ScaleOp::quotient && !(level->values[0] > 0.0f))
      return fail(ErrorCode::bad_metadata, "is no number above 0, by which scales could be divided",
                  {checkpoint.path().string(), stored.spec.name, {}});
    q.scales.push_back(std::move(*level));
  }
  for (const StoredLevel& stored : stored_offsets(w)) {
    auto level = read_level(checkpoint, stored);
    if (!level) return propagate(level);
    q.offsets.push_back(std::move(*level));
  }
  return {};
}

/// Zero points in offset binary, packed along the rows: those of group g lie one after the other in column g.
void unpack_zero_points(std::span<const std::byte> bytes, bool stream, QMatrix& q) {
  const unsigned bits = q.scheme.info().bits;
  const std::size_t groups = q.scales[0].cols;
  const std::size_t rows = q.scales[0].rows;
  const std::size_t words = groups != 0 ? bytes.size() / 4 / groups : 0;
  std::vector<std::uint8_t> column(words * 4);
  std::vector<std::uint8_t> zeros(rows);
  for (std::size_t g = 0; g < groups; ++g) {
    for (std::size_t i = 0; i < words; ++i) std::memcpy(column.data() + i * 4, bytes.data() + (i * groups + g) * 4, 4);
    if (stream)
      unpack_bits(column, bits, zeros);
    else
      unpack_words(column, bits, zeros);
    for (std::size_t r = 0; r < rows; ++r)
      q.zero_points[r * groups + g] = static_cast<std::int16_t>(zeros[r] - (1 << (bits - 1)));
  }
}

Status read_zero_points(const Checkpoint& checkpoint, const StoredWeight& w, QMatrix& q) {
  if (w.zeros == StoredWeight::Zeros::none) return {};
  const std::string name = w.name + "_zero_point";
  const auto bytes = read_all(checkpoint, name);
  if (!bytes) return propagate(bytes);
  q.zero_points.resize(q.scales[0].values.size());
  if (w.zeros != StoredWeight::Zeros::bytes) {
    unpack_zero_points(*bytes, w.zeros == StoredWeight::Zeros::stream, q);
    return {};
  }
  const FormatInfo& format = w.scheme.weight.info();
  for (std::size_t i = 0; i < q.zero_points.size(); ++i) {
    const auto byte = std::to_integer<std::uint8_t>((*bytes)[i]);
    const int zero = format.is_signed ? static_cast<std::int8_t>(byte) : byte;
    if (zero < format.low || zero > format.high)
      return fail(ErrorCode::bad_metadata,
                  "holds " + std::to_string(zero) + ", which is no " + std::string(format.name),
                  {checkpoint.path().string(), name, {}});
    q.zero_points[i] = static_cast<std::int16_t>(zero);
  }
  return {};
}

/// Columns whose groups do not lie side by side are moved together: the groups are those of the columns as they are
/// sorted by group, and within it by place.
Status sort_columns(const Checkpoint& checkpoint, const StoredWeight& w, QMatrix& q) {
  if (!w.has_column_groups) return {};
  const std::string name = w.name + "_g_idx";
  const auto bytes = read_all(checkpoint, name);
  if (!bytes) return propagate(bytes);
  const Where where{checkpoint.path().string(), name, {}};
  std::vector<std::int32_t> group_of(q.cols);
  const std::size_t width = q.cols != 0 ? bytes->size() / q.cols : 4;
  for (std::size_t c = 0; c < q.cols; ++c) {  // little-endian, so the low half of 64 bits comes first
    std::memcpy(&group_of[c], bytes->data() + c * width, 4);
    if (group_of[c] < -1 || (group_of[c] >= 0 && static_cast<std::size_t>(group_of[c]) >= q.scales[0].cols))
      return fail(ErrorCode::bad_metadata,
                  "column " + std::to_string(c) + " is in group " + std::to_string(group_of[c]) + " of " +
                      std::to_string(q.scales[0].cols),
                  where);
  }
  // -1 everywhere is how the tensor was made, and stays where nothing was reordered.
  if (std::all_of(group_of.begin(), group_of.end(), [](std::int32_t g) { return g == -1; })) return {};
  std::vector<std::uint32_t> columns(q.cols);
  std::iota(columns.begin(), columns.end(), 0u);
  std::stable_sort(columns.begin(), columns.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return group_of[a] < group_of[b]; });
  const std::size_t size = w.scheme.weight.granularity.block_cols(q.cols);
  for (std::size_t c = 0; c < q.cols; ++c)
    if (static_cast<std::size_t>(group_of[columns[c]]) != c / size)
      return fail(ErrorCode::unsupported, "makes groups of other sizes than " + std::to_string(size) + " columns",
                  where);
  if (std::is_sorted(columns.begin(), columns.end())) return {};
  std::vector<std::uint8_t> row(q.cols);
  for (std::size_t r = 0; r < q.rows; ++r) {
    const auto codes = std::span<std::uint8_t>(q.codes).subspan(r * q.cols, q.cols);
    for (std::size_t c = 0; c < q.cols; ++c) row[c] = codes[columns[c]];
    std::copy(row.begin(), row.end(), codes.begin());
  }
  q.columns = std::move(columns);
  return {};
}

}  // namespace

Result<QMatrix> read_weight(const Checkpoint& checkpoint, const StoredWeight& w) {
  return guarded([&]() -> Result<QMatrix> {
    const auto elements = checked_mul(w.rows, w.cols);
    if (!elements || *elements > std::numeric_limits<std::ptrdiff_t>::max())
      return fail(ErrorCode::limit, "more elements than memory can address", {checkpoint.path().string(), w.name, {}});
    QMatrix q;
    q.rows = static_cast<std::size_t>(w.rows);
    q.cols = static_cast<std::size_t>(w.cols);
    q.scheme = w.scheme.weight;
    q.reciprocal = w.scheme.weight.scales.op == ScaleOp::quotient;
    // Small tensors first: what is wrong with them shows before the codes' memory is asked for.
    if (const Status ok = read_scales(checkpoint, w, q); !ok) return propagate(ok);
    if (const Status ok = read_zero_points(checkpoint, w, q); !ok) return propagate(ok);
    q.codes.resize(static_cast<std::size_t>(*elements));
    if (const Status ok = read_codes(checkpoint, w, q); !ok) return propagate(ok);
    if (const Status ok = sort_columns(checkpoint, w, q); !ok) return propagate(ok);
    return q;
  });
}

}  // namespace kvant::io
