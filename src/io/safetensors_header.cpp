// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file: JSON events straight into TensorInfo, without a tree in between.
#include "safetensors_header.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/guard.hpp"
#include "json_sax.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/core/rng.hpp"
#include "kvant/io/sniff.hpp"
#include "kvant/io/utf8.hpp"

namespace kvant::io {
namespace {

/// `"":{"dtype":"F4","shape":[],"data_offsets":[0,0]}` and a comma: what a tensor takes in a header at least.
constexpr std::size_t kMinEntryBytes = 50;

class HeaderReader : public JsonEvents {
 public:
  HeaderReader(std::string_view text, const Where& where) : JsonEvents(text, where) {
    header.tensors.reserve(text.size() / kMinEntryBytes);
    key_ends.reserve(text.size() / kMinEntryBytes);
  }

  bool null() {
    if (in_ != In::header || !metadata_next_) return refuse_value("null");
    header.warnings.emplace_back("__metadata__ is null, which counts as empty");
    return true;
  }
  bool boolean(bool) { return refuse_value("a boolean"); }
  bool number_integer(number_integer_t) { return refuse_value("a negative number"); }
  bool number_unsigned(number_unsigned_t value);
  bool number_float(number_float_t, const string_t&) {
    const bool is_integer = number_text().find_first_of(".eE") == std::string_view::npos;
    return refuse_value(is_integer ? "an integer beyond 64 bits" : "a number with a fraction or exponent");
  }
  bool string(string_t& text);
  bool key(string_t& text);
  bool start_object(std::size_t);
  bool end_object();
  bool start_array(std::size_t);
  bool end_array();

  /// Where the key of tensor i begins.
  [[nodiscard]] std::size_t key_position(std::size_t i) const noexcept { return string_begin(key_ends[i]); }
  /// An error about tensor i.
  Status refuse_tensor(std::size_t i, ErrorCode code, std::string message) {
    refuse(code, std::move(message), key_position(i), header.tensors[i].name);
    return tl::unexpected<Error>(*error());
  }

  SafetensorsHeader header;
  std::vector<std::uint32_t> key_ends;  // of each tensor's key; 32 bits hold every position in a header

 private:
  enum class In : std::uint8_t { text, header, metadata, tensor, shape, offsets };
  enum Field : unsigned { kNone = 0, kDtype = 1, kShape = 2, kOffsets = 4 };

  bool metadata_key(const std::string& name);
  bool tensor_key(const std::string& name);
  bool tensor_field(const std::string& name);
  bool finish_tensor();
  bool refuse_value(std::string_view found);
  [[nodiscard]] const std::string& tensor_name() const { return header.tensors.back().name; }

  In in_ = In::text;
  Field field_ = kNone;
  unsigned fields_seen_ = 0;
  bool metadata_seen_ = false;
  bool metadata_next_ = false;
  std::string metadata_key_;
  std::vector<std::uint64_t> offsets_;
};

/// One place says what was expected wherever a value of the wrong kind stands.
bool HeaderReader::refuse_value(std::string_view found) {
  ErrorCode code = ErrorCode::bad_header;
  std::string expected = "the header is a JSON object";
  std::string tensor;
  if (in_ == In::header && !metadata_next_) expected = "a tensor's entry is an object with dtype, shape, data_offsets";
  if (in_ == In::metadata || (in_ == In::header && metadata_next_)) {
    code = ErrorCode::bad_metadata;
    expected = "__metadata__ maps strings to strings";
  }
  if (in_ == In::tensor || in_ == In::shape || in_ == In::offsets) tensor = tensor_name();
  if (in_ == In::tensor && field_ == kDtype) expected = "dtype is a string";
  if (in_ == In::shape || (in_ == In::tensor && field_ == kShape)) {
    code = ErrorCode::bad_shape;
    expected = "a shape is a list of non-negative 64-bit integers";
  }
  if (in_ == In::offsets || (in_ == In::tensor && field_ == kOffsets)) {
    code = ErrorCode::bad_offsets;
    expected = "data_offsets is a list of two non-negative 64-bit integers";
  }
  return refuse(code, "found " + std::string(found) + ", but " + expected, value_begin(), std::move(tensor));
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  if (in_ == In::shape) {
    std::vector<std::uint64_t>& shape = header.tensors.back().shape;
    if (shape.size() == kMaxRank)
      return refuse(ErrorCode::bad_shape,
                    "a shape of more than " + std::to_string(kMaxRank) + " dimensions, which is what is read at most",
                    value_begin(), tensor_name());
    if (shape.size() == shape.capacity()) shape.reserve(shape.empty() ? 2 : 2 * shape.size());
    shape.push_back(value);
    return true;
  }
  if (in_ == In::offsets && offsets_.size() < 2) {
    offsets_.push_back(value);
    return true;
  }
  return refuse_value(in_ == In::offsets ? "a third number" : "a number");
}

bool HeaderReader::string(string_t& text) {
  if (!has_no_nul(text)) return false;
  if (in_ == In::metadata) {
    header.metadata.emplace(metadata_key_, text);
    return true;
  }
  if (in_ != In::tensor || field_ != kDtype) return refuse_value("a string");
  const std::optional<DType> dtype = dtype_from_name(text);
  if (!dtype)
    return refuse(ErrorCode::unknown_dtype,
                  "dtype \"" + printable(text, 40) + "\" is unknown; kvant reads the dtypes of safetensors 0.6",
                  string_begin(), tensor_name());
  header.tensors.back().dtype = *dtype;
  return true;
}

bool HeaderReader::key(string_t& text) {
  if (!has_no_nul(text)) return false;
  if (text.size() > kMaxNameBytes)
    return refuse(
        ErrorCode::limit,
        "a name of " + std::to_string(text.size()) + " bytes, at most " + std::to_string(kMaxNameBytes) + " are read",
        string_begin());
  if (in_ == In::metadata) return metadata_key(text);
  return in_ == In::header ? tensor_key(text) : tensor_field(text);
}

bool HeaderReader::metadata_key(const std::string& name) {
  if (header.metadata.contains(name))
    return refuse(ErrorCode::duplicate_key, "the metadata key \"" + printable(name, 100) + "\" stands twice",
                  string_begin());
  if (header.metadata.size() == kMaxMetadataKeys)
    return refuse(ErrorCode::limit, "more than " + std::to_string(kMaxMetadataKeys) + " metadata keys", string_begin());
  metadata_key_ = name;
  return true;
}

bool HeaderReader::tensor_key(const std::string& name) {
  metadata_next_ = name == "__metadata__";
  if (metadata_next_) {
    if (metadata_seen_) return refuse(ErrorCode::duplicate_key, "__metadata__ stands twice", string_begin());
    metadata_seen_ = true;
    return true;
  }
  key_ends.push_back(static_cast<std::uint32_t>(string_end()));
  header.tensors.emplace_back().name = name;
  fields_seen_ = 0;
  offsets_.clear();
  return true;
}

bool HeaderReader::tensor_field(const std::string& name) {
  field_ = name == "dtype" ? kDtype : name == "shape" ? kShape : name == "data_offsets" ? kOffsets : kNone;
  if (field_ == kNone)
    return refuse(ErrorCode::bad_header,
                  "unknown key \"" + printable(name, 100) + "\"; an entry has dtype, shape and data_offsets",
                  string_begin(), tensor_name());
  if ((fields_seen_ & field_) != 0)
    return refuse(ErrorCode::duplicate_key, "the key \"" + name + "\" stands twice", string_begin(), tensor_name());
  fields_seen_ |= field_;
  return true;
}

bool HeaderReader::start_object(std::size_t) {
  if (in_ == In::text) {
    in_ = In::header;
  } else if (in_ == In::header) {
    in_ = metadata_next_ ? In::metadata : In::tensor;
    field_ = kNone;
  } else {
    return refuse_value("an object");
  }
  return true;
}

bool HeaderReader::end_object() {
  if (in_ == In::tensor && !finish_tensor()) return false;
  in_ = In::header;  // or the end of the header itself: nothing can follow but the end of the text
  return true;
}

bool HeaderReader::start_array(std::size_t) {
  if (in_ == In::tensor && field_ == kShape)
    in_ = In::shape;
  else if (in_ == In::tensor && field_ == kOffsets)
    in_ = In::offsets;
  else
    return refuse_value("a list");
  return true;
}

bool HeaderReader::end_array() {
  in_ = In::tensor;
  return true;
}

bool HeaderReader::finish_tensor() {
  TensorInfo& t = header.tensors.back();
  const auto refuse_this = [&](ErrorCode code, std::string message) {
    return refuse(code, std::move(message), key_position(header.tensors.size() - 1), t.name);
  };
  if (fields_seen_ != (kDtype | kShape | kOffsets))
    return refuse_this(ErrorCode::bad_header,
                       std::string("the entry lacks ") + ((fields_seen_ & kDtype) == 0   ? "dtype"
                                                          : (fields_seen_ & kShape) == 0 ? "shape"
                                                                                         : "data_offsets"));
  if (offsets_.size() != 2) return refuse_this(ErrorCode::bad_offsets, "data_offsets does not hold two numbers");
  if (offsets_[0] > offsets_[1])
    return refuse_this(ErrorCode::bad_offsets, "data_offsets are reversed: begin " + std::to_string(offsets_[0]) +
                                                   ", end " + std::to_string(offsets_[1]));
  const Result<std::uint64_t> bytes = io::tensor_bytes(t.dtype, t.shape);
  if (!bytes) return refuse_this(bytes.error().code, bytes.error().message);
  if (*bytes != offsets_[1] - offsets_[0])
    return refuse_this(ErrorCode::size_mismatch, "shape and dtype " + std::string(dtype_info(t.dtype).name) + " make " +
                                                     std::to_string(*bytes) + " bytes, but data_offsets span " +
                                                     std::to_string(offsets_[1] - offsets_[0]));
  t.offset = offsets_[0];
  t.bytes = *bytes;
  return true;
}

/// Refuses two tensors of one name. Sorting by hash costs n log n even for names made to collide.
Status check_names(HeaderReader& reader) {
  struct Hashed {
    std::uint64_t hash;
    std::uint32_t index;
  };
  const std::vector<TensorInfo>& tensors = reader.header.tensors;
  std::vector<Hashed> sorted(tensors.size());
  for (std::uint32_t i = 0; i < tensors.size(); ++i) sorted[i] = {seed_from_name(tensors[i].name, 0), i};
  std::sort(sorted.begin(), sorted.end(), [&](const Hashed& a, const Hashed& b) {
    if (a.hash != b.hash) return a.hash < b.hash;
    const int order = tensors[a.index].name.compare(tensors[b.index].name);
    return order != 0 ? order < 0 : a.index < b.index;
  });
  for (std::size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i - 1].hash == sorted[i].hash && tensors[sorted[i - 1].index].name == tensors[sorted[i].index].name)
      return reader.refuse_tensor(sorted[i].index, ErrorCode::duplicate_key, "the tensor's name stands twice");
  return {};
}

/// Tensors follow each other without hole or overlap and end where the file ends. Offsets become those in the file.
Status check_offsets(HeaderReader& reader, std::uint64_t data_begin, std::uint64_t file_size, const Where& where) {
  std::vector<TensorInfo>& tensors = reader.header.tensors;
  const auto before = [&](std::uint32_t a, std::uint32_t b) {
    if (tensors[a].offset != tensors[b].offset) return tensors[a].offset < tensors[b].offset;
    return tensors[a].bytes != tensors[b].bytes ? tensors[a].bytes < tensors[b].bytes : a < b;
  };
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), before);
  std::uint64_t end = 0;
  for (const std::uint32_t i : order) {
    const TensorInfo& t = tensors[i];
    if (t.offset != end)
      return reader.refuse_tensor(i, t.offset < end ? ErrorCode::overlap : ErrorCode::hole,
                                  "begins at byte " + std::to_string(t.offset) +
                                      " of the data, but the tensors before it end at " + std::to_string(end));
    end = t.offset + t.bytes;  // the entry's own end offset, so it cannot wrap
  }
  const std::uint64_t data_bytes = file_size - data_begin;
  if (end != data_bytes) {
    Where at = where;
    at.offset = end > data_bytes ? file_size : data_begin + end;
    const std::string sizes =
        "the header describes " + std::to_string(end) + " bytes of data, the file holds " + std::to_string(data_bytes);
    if (end > data_bytes) return fail(ErrorCode::truncated, sizes + "; fetch it again", std::move(at));
    return fail(ErrorCode::trailing_data, sizes, std::move(at));
  }
  if (!std::is_sorted(order.begin(), order.end()))
    std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
      return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
    });
  for (TensorInfo& t : tensors) t.offset += data_begin;
  return {};
}

}  // namespace

Result<std::uint64_t> tensor_bytes(DType dtype, std::span<const std::uint64_t> shape) {
  std::optional<std::uint64_t> bits = dtype_info(dtype).bits;
  for (const std::uint64_t n : shape) {
    bits = checked_mul(*bits, n);
    if (!bits) return fail(ErrorCode::overflow, "the shape's size in bits exceeds 64 bits");
  }
  if (*bits % 8 != 0)
    return fail(ErrorCode::misaligned, "elements of " + std::to_string(dtype_info(dtype).bits) +
                                           " bits do not fill whole bytes in this shape");
  return *bits / 8;
}

Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> json, std::uint64_t file_size,
                                                   const Where& where) {
  return guarded([&]() -> Result<SafetensorsHeader> {
    Where at = where;
    at.offset = 8;
    if (json.size() > kSafetensorsMaxHeader)
      return fail(ErrorCode::limit, "the header has more than " + std::to_string(kSafetensorsMaxHeader) + " bytes", at);
    const std::uint64_t data_begin = 8 + json.size();
    if (file_size < data_begin) return fail(ErrorCode::truncated, "the file ends within its header", at);
    const std::string_view text(reinterpret_cast<const char*>(json.data()), json.size());
    const JsonLimits limits{.max_bytes = kSafetensorsMaxHeader};
    if (Status s = check_json_text(text, limits, at); !s) return propagate(s);
    HeaderReader reader(text, at);
    if (Status s = parse_events(text, reader); !s) return propagate(s);
    if (Status s = check_names(reader); !s) return propagate(s);
    if (Status s = check_offsets(reader, data_begin, file_size, where); !s) return propagate(s);
    return std::move(reader.header);
  });
}

Result<std::uint64_t> read_header_length(const InputFile& file) {
  Where where = where_of(file.path());
  if (file.size() < 8) {
    where.offset = file.size();
    return fail(ErrorCode::truncated,
                "the file ends here; a safetensors file begins with a header length of 8 bytes; fetch it again", where);
  }
  std::array<std::byte, 8> bytes;
  if (Status s = file.read_at(0, bytes); !s) return propagate(s);
  const std::uint64_t length = load_header_length(bytes);
  where.offset = 0;
  // Beyond a terabyte it is no length: some other text or format, or a corrupt file.
  if (length < 2 || length > std::uint64_t{1} << 40)
    return fail(
        ErrorCode::bad_header,
        "the header would have " + std::to_string(length) + " bytes; this is no safetensors file, or a damaged one",
        where);
  if (length > kSafetensorsMaxHeader)
    return fail(ErrorCode::limit,
                "the header would have " + std::to_string(length) + " bytes, at most " +
                    std::to_string(kSafetensorsMaxHeader) + " are read; is this a safetensors file?",
                where);
  if (length > file.size() - 8)
    return fail(ErrorCode::truncated,
                "the header has " + std::to_string(length) + " bytes, but the file has only " +
                    std::to_string(file.size() - 8) + " after the length; fetch it again",
                where);
  return length;
}

Result<OpenedSafetensors> open_safetensors(const std::filesystem::path& path, Access access) {
  Result<InputFile> file = InputFile::open(path, access);
  if (!file) return propagate(file);
  return open_safetensors(std::move(*file));
}

Result<OpenedSafetensors> open_safetensors(InputFile file) {
  const Result<const FileFormat*> kind = sniff(file);
  if (!kind) return propagate(kind);
  if (*kind != file_format("safetensors"))
    return fail(ErrorCode::unsupported, "is a NumPy array; a safetensors checkpoint is needed", where_of(file.path()));
  const Result<std::uint64_t> length = read_header_length(file);
  if (!length) return propagate(length);
  std::vector<std::byte> json;
  std::span<const std::byte> text = file.mapped();
  if (text.empty()) {
    json.resize(*length);
    if (Status s = file.read_at(8, json); !s) return propagate(s);
    text = json;
  } else {
    text = text.subspan(8, *length);
  }
  Result<SafetensorsHeader> header = parse_safetensors_header(text, file.size(), where_of(file.path()));
  if (!header) return propagate(header);
  return OpenedSafetensors{std::move(file), std::move(*header)};
}

}  // namespace kvant::io
