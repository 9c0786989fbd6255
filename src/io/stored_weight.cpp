// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/stored_weight.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <new>

#include "guard.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/tensor/bits.hpp"

namespace kvant::io {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are written as memory lies");

/// The dtype of a stored scale; formats that safetensors has no name for are stored as the bytes of their codes.
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

/// How the codes of a weight lie in their tensor.
struct CodeStorage {
  std::string suffix;       // of the tensor's name
  DType dtype = DType::u8;  // of its elements
  std::uint64_t row_bytes = 0;
  std::uint8_t flip = 0;  // xor-ed to a code: two's complement <-> offset binary
};

CodeStorage code_storage(const QuantizedWeight& w, Convention convention) {
  const FormatInfo& format = w.scheme.info();
  const std::uint64_t dense = packed_bytes(w.cols, format.bits);
  if (convention == Convention::kvant || w.scheme.format == format_id<fp4_e2m1>)
    return {"_packed", DType::u8, dense, 0};
  if (w.scheme.format == format_id<fp8_e4m3fn>) return {"", DType::f8_e4m3, dense, 0};
  if (w.scheme.activation) return {"", DType::i8, dense, 0};
  const auto sign = static_cast<std::uint8_t>(1u << (format.bits - 1));
  return {"_packed", DType::i32, round_up(dense, std::uint64_t{4}), sign};
}

/// compressed-tensors packs the zero points of packed weights like codes, along the rows.
bool packs_zero_points(const QuantizedWeight& w, Convention convention) {
  return convention == Convention::compressed_tensors && !w.scheme.activation;
}

bool has_zero_points(const Scheme& s) noexcept {
  return s.symmetry == Symmetry::asymmetric && s.nesting != ScaleNesting::integer;
}

/// Bytes of one row of integer-scale records.
std::uint64_t record_row_bytes(const QuantizedWeight& w) {
  return packed_bytes(w.scheme.granularity.scale_cols(w.cols), integer_scale_rule(w.scheme).record_bits);
}

std::vector<std::uint64_t> scale_shape(const QuantizedWeight& w, Convention convention) {
  const Granularity& g = w.scheme.granularity;
  if (w.scheme.nesting == ScaleNesting::integer) return {w.rows, record_row_bytes(w)};
  if (convention == Convention::compressed_tensors && g.kind() == Granularity::Kind::tensor) return {1};
  return {g.scale_rows(w.rows), g.scale_cols(w.cols)};
}

/// The tensors of the levels of scales above the finest one, in the order of QMatrix::scales.
std::vector<TensorSpec> outer_scales(const QuantizedWeight& w) {
  const std::uint64_t scales = w.scheme.granularity.scale_rows(w.rows) * w.scheme.granularity.scale_cols(w.cols);
  switch (w.scheme.nesting) {
    case ScaleNesting::none:
      break;
    case ScaleNesting::double_quant:
      return {{w.name + "_scale_step", DType::f32, {ceil_div(scales, std::uint64_t{kScalesPerStep})}},
              {w.name + "_scale_mean", DType::f32, {1}}};
    case ScaleNesting::per_tensor:
      return {{w.name + "_global_scale", DType::f32, {1}}};
    case ScaleNesting::integer:
      return {{w.name + "_super_scale",
               scale_dtype(w.scheme.scale_type, Convention::kvant),
               {w.rows, ceil_div(w.cols, std::uint64_t{kSuperScaleColumns})}}};
  }
  return {};
}

std::vector<std::byte> encode_scales(const ScaleLevel& level) {
  const FormatInfo& type = format_info(level.type);
  const std::size_t width = type.bits / 8;
  std::vector<std::byte> bytes(level.values.size() * width);
  for (std::size_t i = 0; i < level.values.size(); ++i) {
    const std::uint32_t code = type.encode(level.values[i], {});
    std::memcpy(bytes.data() + i * width, &code, width);
  }
  return bytes;
}

/// The scale and zero point of each group as one record, rows of them as dense bit streams.
std::vector<std::byte> encode_records(const QuantizedWeight& w, const QMatrix& q) {
  const IntegerScaleRule rule = integer_scale_rule(w.scheme);
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

// ---- reading -------------------------------------------------------------------------------------------------------

/// A stored tensor with the dtype and the number of elements that it must have; shapes such as [n] and [n, 1] pass.
Result<std::vector<std::byte>> read_stored(const Checkpoint& checkpoint, const TensorSpec& spec) {
  const Where where{checkpoint.path().string(), spec.name, {}};
  const CheckpointTensor* tensor = checkpoint.find(spec.name);
  if (tensor == nullptr)
    return fail(ErrorCode::bad_metadata, "is missing, but the quantization configuration needs it", where);
  if (tensor->dtype != spec.dtype)
    return fail(
        ErrorCode::bad_metadata,
        "is " + std::string(dtype_info(tensor->dtype).name) + ", expected " + std::string(dtype_info(spec.dtype).name),
        where);
  const auto bytes = tensor_bytes(spec.dtype, spec.shape);
  if (!bytes) return propagate(bytes);
  if (tensor->bytes != *bytes)
    return fail(ErrorCode::bad_metadata,
                "has " + std::to_string(tensor->bytes) + " bytes, expected " + std::to_string(*bytes) +
                    " by its scheme and shape",
                where);
  std::vector<std::byte> data(static_cast<std::size_t>(*bytes));
  if (const Status read = checkpoint.read_bytes(*tensor, 0, data); !read) return propagate(read);
  return data;
}

Status read_codes(const Checkpoint& checkpoint, const QuantizedWeight& w, Convention convention, QMatrix& q) {
  const CodeStorage storage = code_storage(w, convention);
  const FormatInfo& format = w.scheme.info();
  const CheckpointTensor* tensor = checkpoint.find(w.name + storage.suffix);
  const Where where{checkpoint.path().string(), w.name + storage.suffix, {}};
  if (tensor == nullptr || tensor->dtype != storage.dtype || tensor->bytes != storage.row_bytes * w.rows)
    return fail(ErrorCode::bad_metadata,
                "is missing or does not hold " + std::to_string(w.rows) + " rows of " +
                    std::to_string(storage.row_bytes) + " bytes of " + std::string(dtype_info(storage.dtype).name),
                where);
  if (q.rows == 0 || q.cols == 0) return {};  // however large the other one is said to be
  std::vector<std::uint8_t> row(static_cast<std::size_t>(storage.row_bytes));
  for (std::size_t r = 0; r < q.rows; ++r) {
    if (const Status read =
            checkpoint.read_bytes(*tensor, r * storage.row_bytes, std::as_writable_bytes(std::span<std::uint8_t>(row)));
        !read)
      return propagate(read);
    const auto codes = std::span<std::uint8_t>(q.codes).subspan(r * q.cols, q.cols);
    unpack_bits(row, format.bits, codes);
    for (std::uint8_t& code : codes) {
      code ^= storage.flip;
      const float value = format.decode(code);
      // NaN is a value that --nonfinite keep writes.
      const bool is_value = format.kind != FormatKind::integer ||
                            (value >= static_cast<float>(format.low) && value <= static_cast<float>(format.high));
      if (!is_value || is_inf(value))
        return fail(ErrorCode::bad_metadata,
                    "row " + std::to_string(r) + " holds code " + std::to_string(code) + ", which is no value of " +
                        std::string(format.name),
                    where);
    }
  }
  return {};
}

Status decode_scales(std::span<const std::byte> bytes, ScaleLevel& level, const Where& where) {
  const FormatInfo& type = format_info(level.type);
  const std::size_t width = type.bits / 8;
  level.values.resize(level.rows * level.cols);
  for (std::size_t i = 0; i < level.values.size(); ++i) {
    std::uint32_t code = 0;
    std::memcpy(&code, bytes.data() + i * width, width);
    const float scale = type.decode(code);
    if (!is_finite(scale)) return fail(ErrorCode::nonfinite, "scale " + std::to_string(i) + " is not finite", where);
    level.values[i] = scale;
  }
  return {};
}

Status decode_records(std::span<const std::byte> bytes, const QuantizedWeight& w, QMatrix& q, const Where& where) {
  const IntegerScaleRule rule = integer_scale_rule(w.scheme);
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

/// The finest level of scales and the ones above it.
Status read_scales(const Checkpoint& checkpoint, const QuantizedWeight& w, const TensorSpec& finest, QMatrix& q) {
  const Granularity& g = w.scheme.granularity;
  q.scales.push_back({finest_scale_type(w.scheme), g.scale_rows(q.rows), g.scale_cols(q.cols), {}});
  const auto bytes = read_stored(checkpoint, finest);
  if (!bytes) return propagate(bytes);
  const Where where{checkpoint.path().string(), finest.name, {}};
  const bool records = w.scheme.nesting == ScaleNesting::integer;
  if (const Status ok = records ? decode_records(*bytes, w, q, where) : decode_scales(*bytes, q.scales[0], where); !ok)
    return ok;
  for (const TensorSpec& spec : outer_scales(w)) {
    const auto outer = read_stored(checkpoint, spec);
    if (!outer) return propagate(outer);
    const FormatId type = records ? w.scheme.scale_type : format_id<fp32>;
    ScaleLevel level{type,
                     spec.shape.size() == 2 ? static_cast<std::size_t>(spec.shape[0]) : 1,
                     static_cast<std::size_t>(spec.shape.back()),
                     {}};
    if (const Status ok = decode_scales(*outer, level, {checkpoint.path().string(), spec.name, {}}); !ok) return ok;
    q.scales.push_back(std::move(level));
  }
  return {};
}

void decode_zero_points(std::span<const std::byte> bytes, bool packed, QMatrix& q) {
  const FormatInfo& format = q.scheme.info();
  const std::size_t per_word = 32 / format.bits;
  const std::size_t groups = q.scales[0].cols;
  for (std::size_t i = 0; i < q.zero_points.size(); ++i) {
    if (packed) {
      const std::size_t r = i / groups;
      std::uint32_t word = 0;
      std::memcpy(&word, bytes.data() + (r / per_word * groups + i % groups) * 4, 4);
      const auto stored = static_cast<int>((word >> (r % per_word * format.bits)) & ((1u << format.bits) - 1u));
      q.zero_points[i] = static_cast<std::int16_t>(stored - (1 << (format.bits - 1)));
    } else {
      const auto stored = static_cast<int>(bytes[i]);
      q.zero_points[i] = static_cast<std::int16_t>(format.is_signed && stored >= 128 ? stored - 256 : stored);
    }
  }
}

}  // namespace

std::optional<std::string> beyond_compressed_tensors(const QuantizedWeight& w) {
  const Scheme& s = w.scheme;
  using Kind = Granularity::Kind;
  const Kind kind = s.granularity.kind();
  if (!w.name.ends_with(".weight")) return "the tensor's name does not end in .weight";
  if (w.rows == 0 || w.cols == 0) return "it has no elements";
  if (s.symmetry == Symmetry::full) return "its scales are signed (-full)";
  if ((kind == Kind::group || kind == Kind::block) && w.cols % s.granularity.cols_parameter() != 0)
    return "its " + std::to_string(w.cols) + " columns are no multiple of the group";
  const BlockFormat* block = block_format(s);
  const std::string_view name = block != nullptr ? block->name : std::string_view();
  if (!s.activation && (name == "nvfp4" || name == "mxfp4" || name == "mxfp8_e4m3fn")) return std::nullopt;
  if (s.nesting != ScaleNesting::none) return "it has no scheme like " + to_text(s);
  if (s.scale_type != format_id<fp16> && s.scale_type != format_id<bf16> && s.scale_type != format_id<fp32>)
    return "its scales are " + std::string(format_info(s.scale_type).name);
  if (s.format == format_id<fp8_e4m3fn> && !s.activation &&
      (kind == Kind::channel || kind == Kind::tensor || kind == Kind::block))
    return std::nullopt;
  const bool whole = s.format == format_id<int8> && s.activation && (kind == Kind::channel || kind == Kind::tensor);
  const bool packed = (s.format == format_id<int8> || s.format == format_id<int4>)&&!s.activation &&
                      (kind == Kind::group || kind == Kind::channel);
  if (whole || packed) return std::nullopt;
  return "it has no scheme like " + to_text(s);
}

std::vector<TensorSpec> stored_tensors(const QuantizedWeight& w, Convention convention) {
  const CodeStorage codes = code_storage(w, convention);
  std::vector<TensorSpec> specs;
  specs.push_back({w.name + codes.suffix, codes.dtype, {w.rows, codes.row_bytes * 8 / dtype_info(codes.dtype).bits}});
  const DType scales =
      w.scheme.nesting == ScaleNesting::integer ? DType::u8 : scale_dtype(finest_scale_type(w.scheme), convention);
  specs.push_back({w.name + "_scale", scales, scale_shape(w, convention)});
  if (has_zero_points(w.scheme)) {
    const auto shape = scale_shape(w, convention);
    const DType plain = w.scheme.info().is_signed ? DType::i8 : DType::u8;
    if (packs_zero_points(w, convention))
      specs.push_back({w.name + "_zero_point",
                       DType::i32,
                       {ceil_div(shape[0], std::uint64_t{32} / w.scheme.info().bits), shape[1]}});
    else
      specs.push_back({w.name + "_zero_point", plain, shape});
  }
  for (TensorSpec& spec : outer_scales(w)) specs.push_back(std::move(spec));
  // compressed-tensors stores no shape beside bytes of float codes, which fill their columns.
  const bool needs_shape = !codes.suffix.empty() && (convention == Convention::kvant || codes.dtype == DType::i32);
  if (needs_shape) specs.push_back({w.name + "_shape", DType::i64, {2}});
  return specs;
}

Status write_band(SafetensorsWriter& writer, const QuantizedWeight& w, Convention convention, std::uint64_t first_row,
                  const QMatrix& band) {
  if (w.scheme.nesting == ScaleNesting::per_tensor && !band.reciprocal)
    return fail(ErrorCode::unsupported,
                "its matrix-wide scale is a factor, expected a divisor: files hold what "
                "ScaleConvention::compressed_tensors chooses",
                {{}, w.name, {}});
  const CodeStorage storage = code_storage(w, convention);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(storage.row_bytes) * band.rows);
  std::vector<std::uint8_t> row(band.cols);
  for (std::size_t r = 0; r < band.rows; ++r) {
    const auto source = band.row_codes(r);
    std::transform(source.begin(), source.end(), row.begin(),
                   [&](std::uint8_t code) { return static_cast<std::uint8_t>(code ^ storage.flip); });
    pack_bits(row, w.scheme.info().bits,
              std::span<std::uint8_t>(codes).subspan(r * storage.row_bytes, storage.row_bytes));
  }
  const std::uint64_t block_rows = w.scheme.granularity.block_rows(w.rows);
  const bool records = w.scheme.nesting == ScaleNesting::integer;
  const std::uint64_t first_scale = first_row / block_rows * band.scales[0].cols;
  const std::uint64_t scale_offset =
      records ? first_row * record_row_bytes(w) : first_scale * (format_info(band.scales[0].type).bits / 8);
  Status status = writer.write(w.name + storage.suffix, first_row * storage.row_bytes, bytes_of(codes));
  if (status)
    status = writer.write(w.name + "_scale", scale_offset,
                          records ? encode_records(w, band) : encode_scales(band.scales[0]));
  if (status && has_zero_points(w.scheme))
    status = packs_zero_points(w, convention)
                 ? writer.write(w.name + "_zero_point", first_scale * w.scheme.info().bits / 8, pack_zero_points(band))
                 : writer.write(w.name + "_zero_point", first_scale, plain_zero_points(band));
  const std::vector<TensorSpec> outer = outer_scales(w);
  for (std::size_t i = 0; status && i < outer.size(); ++i) {
    // One number or list for the whole matrix, or rows as the matrix has them.
    const ScaleLevel& level = band.scales[i + 1];
    const std::uint64_t at = records ? first_row * level.cols * (format_info(level.type).bits / 8) : 0;
    status = writer.write(outer[i].name, at, encode_scales(level));
  }
  if (status && first_row == 0 && stored_tensors(w, convention).back().name == w.name + "_shape") {
    const std::uint64_t shape[2] = {w.rows, w.cols};
    status = writer.write(w.name + "_shape", 0, std::as_bytes(std::span(shape)));
  }
  return status;
}

Result<QMatrix> read_weight(const Checkpoint& checkpoint, const QuantizedWeight& w, Convention convention) {
  return guarded([&]() -> Result<QMatrix> {
    const auto elements = checked_mul(w.rows, w.cols);
    if (!elements || *elements > std::numeric_limits<std::ptrdiff_t>::max())
      return fail(ErrorCode::limit, "more elements than memory can address", {checkpoint.path().string(), w.name, {}});
    QMatrix q{static_cast<std::size_t>(w.rows), static_cast<std::size_t>(w.cols), w.scheme, {}, {}, {}, 0, false};
    q.reciprocal = w.scheme.nesting == ScaleNesting::per_tensor;
    const std::vector<TensorSpec> specs = stored_tensors(w, convention);
    // Small tensors first: a wrong shape shows before the codes' memory is asked for.
    if (const Status ok = read_scales(checkpoint, w, specs[1], q); !ok) return propagate(ok);
    if (has_zero_points(w.scheme)) {
      const auto zeros = read_stored(checkpoint, specs[2]);
      if (!zeros) return propagate(zeros);
      q.zero_points.resize(q.scales[0].values.size());
      decode_zero_points(*zeros, packs_zero_points(w, convention), q);
    }
    q.codes.resize(static_cast<std::size_t>(*elements));
    if (const Status ok = read_codes(checkpoint, w, convention, q); !ok) return propagate(ok);
    return q;
  });
}

}  // namespace kvant::io
