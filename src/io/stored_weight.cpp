// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/stored_weight.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "kvant/core/checked.hpp"
#include "kvant/tensor/bits.hpp"
#include "storage.hpp"

namespace kvant::io {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are written as memory lies");

DType scale_dtype(FormatId type, Convention convention) noexcept {
  struct Row {
    FormatId type;
    DType dtype;
  };
  constexpr std::array kRows{
      Row{format_id<fp32>, DType::f32},
      Row{format_id<fp16>, DType::f16},
      Row{format_id<bf16>, DType::bf16},
      Row{format_id<fp8_e4m3fn>, DType::f8_e4m3},
      Row{format_id<fp8_e5m2>, DType::f8_e5m2},
      Row{format_id<fp8_e4m3fnuz>, DType::f8_e4m3fnuz},
      Row{format_id<fp8_e5m2fnuz>, DType::f8_e5m2fnuz},
      Row{format_id<int8>, DType::i8},
  };
  for (const Row& row : kRows)
    if (row.type == type) return row.dtype;
  return type == format_id<e8m0> && convention == Convention::kvant ? DType::f8_e8m0 : DType::u8;
}

CodeStorage code_storage(const QuantizedWeight& w, Convention convention) {
  const FormatInfo& format = w.scheme.weight.info();
  const std::uint64_t dense = packed_bytes(w.cols, format.bits);
  if (convention == Convention::kvant || w.scheme.weight.format == format_id<fp4_e2m1>)
    return {"_packed", DType::u8, dense};
  if (w.scheme.weight.format == format_id<fp8_e4m3fn>) return {"", DType::f8_e4m3, dense};
  if (w.scheme.activation) return {"", DType::i8, dense};
  const auto sign = static_cast<std::uint8_t>(1u << (format.bits - 1));
  return {"_packed", DType::i32, round_up(dense, std::uint64_t{4}), sign};
}

bool has_zero_points(const Scheme& s) noexcept { return s.symmetry == Symmetry::asymmetric && !s.has_integer_scales(); }

std::uint64_t record_row_bytes(const QuantizedWeight& w) {
  return packed_bytes(w.scheme.weight.granularity.scale_cols(w.cols), integer_scale_rule(w.scheme.weight).record_bits);
}

std::uint64_t level_row_bytes(const ScaleLevel& level) noexcept {
  return packed_bytes(level.cols, format_info(level.type).bits);
}

std::vector<std::uint64_t> scale_shape(const QuantizedWeight& w, Convention convention) {
  const Granularity& g = w.scheme.weight.granularity;
  if (w.scheme.weight.has_integer_scales()) return {w.rows, record_row_bytes(w)};
  if (convention == Convention::compressed_tensors && g.kind() == Granularity::Kind::tensor) return {1};
  if (format_info(w.scheme.weight.scales.inner).bits % 8 != 0)
    return {g.scale_rows(w.rows), packed_bytes(g.scale_cols(w.cols), format_info(w.scheme.weight.scales.inner).bits)};
  return {g.scale_rows(w.rows), g.scale_cols(w.cols)};
}

namespace {

/// The levels above the inner one: a run's step and the mean, a number for the matrix, numbers of rows.
void add_outer_levels(const QuantizedWeight& w, const NumberStack& stack, const std::string& what,
                      std::vector<StoredLevel>& out) {
  const std::vector<ScaleLevel> levels = level_shapes(
      stack, w.scheme.weight.granularity, static_cast<std::size_t>(w.rows), static_cast<std::size_t>(w.cols));
  for (std::size_t i = 1; i < levels.size(); ++i) {
    const bool in_rows = stack.is_nested_in_rows();
    const std::string name = i == 2                      ? w.name + "_" + what + "_mean"
                             : in_rows                   ? w.name + "_super_" + what
                             : stack.has_matrix_number() ? w.name + "_global_" + what
                                                         : w.name + "_" + what + "_step";
    const DType dtype = scale_dtype(levels[i].type, Convention::kvant);
    if (in_rows)
      out.push_back({levels[i], {name, dtype, {levels[i].rows, levels[i].cols}}, true});
    else
      out.push_back({levels[i], {name, dtype, {levels[i].cols}}, false});
  }
}

}  // namespace

std::vector<StoredLevel> outer_scales(const QuantizedWeight& w) {
  std::vector<StoredLevel> out;
  add_outer_levels(w, w.scheme.weight.scales, "scale", out);
  return out;
}

std::vector<StoredLevel> stored_offsets(const QuantizedWeight& w) {
  std::vector<StoredLevel> out;
  if (!w.scheme.weight.offsets) return out;
  ScaleLevel inner = level_shapes(*w.scheme.weight.offsets, w.scheme.weight.granularity,
                                  static_cast<std::size_t>(w.rows), static_cast<std::size_t>(w.cols))[0];
  const unsigned bits = format_info(inner.type).bits;
  const std::uint64_t width = bits % 8 == 0 ? inner.cols : level_row_bytes(inner);
  const TensorSpec spec{w.name + "_offset", scale_dtype(inner.type, Convention::kvant), {inner.rows, width}};
  out.push_back({std::move(inner), spec, true});
  add_outer_levels(w, *w.scheme.weight.offsets, "offset", out);
  return out;
}

namespace {

/// compressed-tensors packs the zero points of packed weights like codes, along the rows.
bool packs_zero_points(const QuantizedWeight& w, Convention convention) {
  return convention == Convention::compressed_tensors && !w.scheme.activation;
}

/// The codes of numbers, those of fewer than 8 bits as rows of dense bit streams.
std::vector<std::byte> encode_scales(const ScaleLevel& level) {
  const FormatInfo& type = format_info(level.type);
  const auto row_bytes = static_cast<std::size_t>(level_row_bytes(level));
  std::vector<std::byte> bytes(row_bytes * level.rows);
  if (type.bits % 8 != 0) {
    std::vector<std::uint8_t> codes(level.cols);
    std::vector<std::uint8_t> packed(row_bytes);
    for (std::size_t r = 0; r < level.rows; ++r) {
      for (std::size_t c = 0; c < level.cols; ++c)
        codes[c] = static_cast<std::uint8_t>(type.encode(level.values[r * level.cols + c]));
      pack_bits(codes, type.bits, packed);
      std::memcpy(bytes.data() + r * row_bytes, packed.data(), row_bytes);
    }
    return bytes;
  }
  const std::size_t width = type.bits / 8;
  for (std::size_t i = 0; i < level.values.size(); ++i) {
    const std::uint32_t code = type.encode(level.values[i], {});
    std::memcpy(bytes.data() + i * width, &code, width);
  }
  return bytes;
}

/// The scale and zero point of each group as one record, rows of them as dense bit streams.
std::vector<std::byte> encode_records(const QuantizedWeight& w, const QMatrix& q) {
  const IntegerScaleRule rule = integer_scale_rule(w.scheme.weight);
  const auto row_bytes = static_cast<std::size_t>(record_row_bytes(w));
  const std::size_t groups = q.scales[0].cols;
  std::vector<std::uint8_t> bytes(row_bytes * q.rows);
  std::vector<std::uint8_t> records(groups);
  for (std::size_t r = 0; r < q.rows; ++r) {
    for (std::size_t g = 0; g < groups; ++g)
      records[g] =
          rule.record(static_cast<std::int32_t>(q.scales[0].values[r * groups + g]), q.zero_points[r * groups + g]);
    pack_bits(records, rule.record_bits, std::span(bytes).subspan(r * row_bytes, row_bytes));
  }
  const auto view = std::as_bytes(std::span(bytes));
  return {view.begin(), view.end()};
}

/// Zero points packed along rows: word (r, g) holds those of rows r * n … r * n + n - 1 of group g, lowest bits first.
std::vector<std::byte> pack_zero_points(const QMatrix& q) {
  const unsigned bits = q.scheme.info().bits;
  const std::size_t per_word = 32 / bits;
  const std::size_t groups = q.scales[0].cols;
  std::vector<std::uint32_t> words(ceil_div(q.scales[0].rows, per_word) * groups);
  for (std::size_t r = 0; r < q.scales[0].rows; ++r)
    for (std::size_t g = 0; g < groups; ++g) {
      const auto stored = static_cast<std::uint32_t>(q.zero_points[r * groups + g] + (1 << (bits - 1)));
      words[r / per_word * groups + g] |= stored << (r % per_word * bits);
    }
  std::vector<std::byte> bytes(words.size() * 4);
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

std::vector<std::byte> plain_zero_points(const QMatrix& q) {
  std::vector<std::byte> bytes(q.zero_points.size());
  std::transform(q.zero_points.begin(), q.zero_points.end(), bytes.begin(),
                 [](std::int16_t z) { return static_cast<std::byte>(static_cast<unsigned>(z) & 0xffu); });
  return bytes;
}

std::span<const std::byte> bytes_of(std::span<const std::uint8_t> data) noexcept { return std::as_bytes(data); }

/// What the convention's activations are called here; empty for none of them.
std::string_view activation_kind(const ActivationScheme& a) noexcept {
  for (const BlockActivation& b : kBlockActivations)
    if (b.scheme == a) return b.name;
  const bool token = a.granularity.kind() == Granularity::Kind::token;
  if (a.format == format_id<int8> && token) return "int8-token";
  if (a.format == format_id<fp8_e4m3fn>) return token ? "fp8-token" : "fp8-group";
  return "other";
}

}  // namespace

std::optional<std::string> beyond_compressed_tensors(const QuantizedWeight& w) {
  const Scheme& s = w.scheme.weight;
  const std::optional<ActivationScheme>& activation = w.scheme.activation;
  using Kind = Granularity::Kind;
  const Kind kind = s.granularity.kind();
  if (w.members != 0) return "it is a stack of matrices";
  if (!w.name.ends_with(".weight")) return "the tensor's name does not end in .weight";
  if (is_embedding(module_of(w.name))) return "it is an embedding, which engines read as floats only";
  if (w.transposed) return "it is stored [in, out]";
  if (w.rows == 0 || w.cols == 0) return "it has no elements";
  if (!is_listed(s.format)) return "it has a codebook of its own";
  if (s.symmetry == Symmetry::full) return "its scales are signed (-full)";
  const std::size_t group = s.granularity.cols_parameter();
  const bool one_group = kind == Kind::group && w.cols <= group && block_format(s) == nullptr;  // which is a channel
  if ((kind == Kind::group || kind == Kind::block) && w.cols % group != 0 && !one_group)
    return "its " + std::to_string(w.cols) + " columns are no multiple of the group";
  if (activation && activation->is_static) return "its activations are static, which takes calibration";
  const std::string_view input = activation ? activation_kind(*activation) : "";
  const BlockFormat* block = block_format(s);
  const std::string_view name = block != nullptr ? block->name : std::string_view();
  if (name == "nvfp4" && input.empty()) return std::nullopt;
  if ((name == "mxfp4" || name == "mxfp8_e4m3fn") && (input.empty() || input == name)) return std::nullopt;
  if (s.scales.outer || s.offsets) return "it has no scheme like " + to_text(w.scheme);
  const FormatId scale = s.scales.inner;
  if (scale != format_id<fp16> && scale != format_id<bf16> && scale != format_id<fp32>)
    return "its scales are " + std::string(format_info(scale).name);
  if (s.format == format_id<fp8_e4m3fn>) {
    const bool per_row = kind == Kind::channel || kind == Kind::tensor;
    if (per_row && (input.empty() || input == "fp8-token")) return std::nullopt;
    if (kind == Kind::block && (input.empty() || input == "fp8-group")) return std::nullopt;
  }
  const bool whole =
      s.format == format_id<int8> && input == "int8-token" && (kind == Kind::channel || kind == Kind::tensor);
  const bool packed = (s.format == format_id<int8> || s.format == format_id<int4>)&&input.empty() &&
                      (kind == Kind::group || kind == Kind::channel);
  if (whole || packed) return std::nullopt;
  return "it has no scheme like " + to_text(w.scheme);
}

std::vector<TensorSpec> stored_tensors(const QuantizedWeight& w, Convention convention) {
  const CodeStorage codes = code_storage(w, convention);
  std::vector<TensorSpec> specs;
  specs.push_back({w.name + codes.suffix, codes.dtype, {w.rows, codes.row_bytes * 8 / dtype_info(codes.dtype).bits}});
  const DType scales =
      w.scheme.weight.has_integer_scales() ? DType::u8 : scale_dtype(w.scheme.weight.scales.inner, convention);
  specs.push_back({w.name + "_scale", scales, scale_shape(w, convention)});
  if (has_zero_points(w.scheme.weight)) {
    const auto shape = scale_shape(w, convention);
    const DType plain = w.scheme.weight.info().is_signed ? DType::i8 : DType::u8;
    if (packs_zero_points(w, convention))
      specs.push_back({w.name + "_zero_point",
                       DType::i32,
                       {ceil_div(shape[0], std::uint64_t{32} / w.scheme.weight.info().bits), shape[1]}});
    else
      specs.push_back({w.name + "_zero_point", plain, shape});
  }
  for (StoredLevel& level : outer_scales(w)) specs.push_back(std::move(level.spec));
  for (StoredLevel& level : stored_offsets(w)) specs.push_back(std::move(level.spec));
  // compressed-tensors stores no shape beside bytes of float codes, which fill their columns.
  const bool needs_shape = !codes.suffix.empty() && (convention == Convention::kvant || codes.dtype == DType::i32);
  if (needs_shape) specs.push_back({w.name + "_shape", DType::i64, {2}});
  return specs;
}

Status write_band(SafetensorsWriter& writer, const QuantizedWeight& w, Convention convention, std::uint64_t first_row,
                  const QMatrix& band) {
  if (w.scheme.weight.scales.op == ScaleOp::quotient && !band.reciprocal)
    return fail(ErrorCode::unsupported,
                "its matrix-wide scale is a factor, expected a divisor: files hold what "
                "ScaleConvention::compressed_tensors chooses",
                {{}, w.name, {}});
  if (!band.columns.empty())
    return fail(ErrorCode::unsupported, "its columns are not in their own order", {{}, w.name, {}});
  if (!is_storable(w.scheme.weight))
    return fail(ErrorCode::unsupported,
                "its format " + std::string(w.scheme.weight.info().name) +
                    " is the program's own, and no codebook that files can hold",
                {{}, w.name, {}});
  if (const Status ok = check(band); !ok) return ok;
  const CodeStorage storage = code_storage(w, convention);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(storage.row_bytes) * band.rows);
  std::vector<std::uint8_t> row(band.cols);
  for (std::size_t r = 0; r < band.rows; ++r) {
    const auto source = band.row_codes(r);
    std::transform(source.begin(), source.end(), row.begin(),
                   [&](std::uint8_t code) { return static_cast<std::uint8_t>(code ^ storage.flip); });
    pack_bits(row, w.scheme.weight.info().bits,
              std::span<std::uint8_t>(codes).subspan(r * storage.row_bytes, storage.row_bytes));
  }
  const std::uint64_t block_rows = w.scheme.weight.granularity.block_rows(w.rows);
  const bool records = w.scheme.weight.has_integer_scales();
  const std::uint64_t first_scale = first_row / block_rows * band.scales[0].cols;
  const std::uint64_t scale_offset =
      records ? first_row * record_row_bytes(w) : first_row / block_rows * level_row_bytes(band.scales[0]);
  Status status = writer.write(w.name + storage.suffix, first_row * storage.row_bytes, bytes_of(codes));
  if (status)
    status = writer.write(w.name + "_scale", scale_offset,
                          records ? encode_records(w, band) : encode_scales(band.scales[0]));
  if (status && has_zero_points(w.scheme.weight))
    status = packs_zero_points(w, convention)
                 ? writer.write(w.name + "_zero_point", first_scale * w.scheme.weight.info().bits / 8,
                                pack_zero_points(band))
                 : writer.write(w.name + "_zero_point", first_scale, plain_zero_points(band));
  // One number or list for the whole matrix, or rows as the matrix has them.
  const auto write_level = [&](const StoredLevel& stored, const ScaleLevel& level) {
    if (!stored.in_rows && first_row != 0) return;  // each band has it, and the first one wrote it
    if (status)
      status =
          writer.write(stored.spec.name, stored.in_rows ? first_row * level_row_bytes(level) : 0, encode_scales(level));
  };
  const std::vector<StoredLevel> outer = outer_scales(w);
  for (std::size_t i = 0; i < outer.size(); ++i) write_level(outer[i], band.scales[i + 1]);
  const std::vector<StoredLevel> offsets = stored_offsets(w);
  for (std::size_t i = 0; i < offsets.size(); ++i) write_level(offsets[i], band.offsets[i]);
  if (status && first_row == 0 && stored_tensors(w, convention).back().name == w.name + "_shape") {
    const std::uint64_t shape[2] = {w.rows, w.cols};
    status = writer.write(w.name + "_shape", 0, std::as_bytes(std::span(shape)));
  }
  return status;
}

}  // namespace kvant::io
