// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/packed_file.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "guard.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/utf8.hpp"
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvant::io {
namespace {

constexpr std::string_view kFormat = "kvant-packed", kVersion = "1", kHashes = "kvant.xxh64";

std::uint64_t hash_of(std::span<const unsigned char> bytes) noexcept { return XXH64(bytes.data(), bytes.size(), 0); }

/// What `checksum` in the metadata says of the text of `layers`.
std::string checksum_of(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const std::uint64_t hash = XXH64(text.data(), text.size(), 0);
  std::string hex(16, '0');
  for (std::size_t i = 0; i < hex.size(); ++i) hex[i] = kDigits[hash >> (60 - 4 * i) & 15];
  return hex;
}

std::string columns_of(const std::string& name) { return name + "#columns"; }
std::string scales_of(const std::string& name, std::size_t level) { return name + "#scales" + std::to_string(level); }
/// `X.bias` of `X.weight`.
std::string bias_of(std::string_view name) {
  constexpr std::string_view kSuffix = ".weight";
  if (name.ends_with(kSuffix)) name.remove_suffix(kSuffix.size());
  return std::string(name) + ".bias";
}

Json to_json(const PackedLayer& layer) {
  Json levels = Json::array();
  for (const ScaleLevel& level : layer.outer_levels) {
    Json one = Json::array();
    one.push_back(format_info(level.type).name).push_back(level.rows).push_back(level.cols);
    levels.push_back(std::move(one));
  }
  Json json = Json::object();
  json.set("name", layer.name)
      .set("scheme", to_text(layer.scheme))
      .set("layout", layout_info(layer.traits.layout).id)
      .set("rows", layer.rows)
      .set("inputs", layer.inputs)
      .set("scales", layer.traits.scales_f32 ? "fp32" : "fp16")
      .set("specials", layer.traits.has_specials)
      .set("columns", layer.has_columns)
      .set("reciprocal", layer.reciprocal)
      .set("levels", std::move(levels))
      .set("input_scale", static_cast<double>(layer.input.scale))
      .set("input_zero", layer.input.zero);
  return json;
}

/// The members of a layer's description; each getter remembers that one was missing or of another kind.
class Description {
 public:
  explicit Description(const Json& json) : json_(json) {}

  std::string text(std::string_view key) {
    const Json* value = json_.find(key);
    const std::string* found = value != nullptr ? value->as_string() : nullptr;
    return found != nullptr ? *found : (wrong(key), std::string());
  }
  std::size_t size(std::string_view key) {
    const Json* value = json_.find(key);
    const auto found = value != nullptr ? value->as_uint64() : std::nullopt;
    return found ? static_cast<std::size_t>(*found) : (wrong(key), std::size_t{0});
  }
  bool flag(std::string_view key) {
    const Json* value = json_.find(key);
    const auto found = value != nullptr ? value->as_bool() : std::nullopt;
    return found ? *found : (wrong(key), false);
  }
  double number(std::string_view key) {
    const Json* value = json_.find(key);
    const auto found = value != nullptr ? value->as_double() : std::nullopt;
    return found ? *found : (wrong(key), 0.0);
  }
  std::span<const Json> items(std::string_view key) {
    const Json* value = json_.find(key);
    if (value != nullptr && value->is_array()) return value->items();
    wrong(key);
    return {};
  }
  void wrong(std::string_view key) {
    if (wrong_.empty()) wrong_ = key;
  }
  [[nodiscard]] const std::string& first_wrong() const noexcept { return wrong_; }

 private:
  const Json& json_;
  std::string wrong_;
};

std::vector<ScaleLevel> read_levels(Description& d) {
  std::vector<ScaleLevel> levels;
  for (const Json& one : d.items("levels")) {
    const std::span<const Json> parts = one.items();
    const std::string* type = parts.size() == 3 ? parts[0].as_string() : nullptr;
    const auto format = type != nullptr ? format_from_name(*type) : std::nullopt;
    const auto rows = parts.size() == 3 ? parts[1].as_uint64() : std::nullopt;
    const auto cols = parts.size() == 3 ? parts[2].as_uint64() : std::nullopt;
    const auto count = rows && cols ? checked_mul(*rows, *cols) : std::nullopt;
    if (!format || !count || levels.size() == 2) {
      d.wrong("levels");
      return {};
    }
    levels.push_back({*format, static_cast<std::size_t>(*rows), static_cast<std::size_t>(*cols), {}});
  }
  return levels;
}

/// Whether a layout holds what a scheme has: codes, or floats of that very type.
bool holds(Layout layout, const Scheme& scheme) noexcept {
  if (layout == Layout::f32_p32) return scheme.format == format_id<fp32>;
  if (layout == Layout::bf16_p32) return scheme.format == format_id<bf16>;
  return !scheme.is_cast() && scheme.info().bits <= layout_info(layout).bits;
}

Result<PackedLayer> read_layer(const Json& json) {
  Description d(json);
  PackedLayer layer;
  layer.name = d.text("name");
  const std::string scheme = d.text("scheme");
  const std::string layout = d.text("layout");
  layer.rows = d.size("rows");
  layer.inputs = d.size("inputs");
  const std::string scales = d.text("scales");
  layer.traits.scales_f32 = scales == "fp32";
  layer.traits.has_specials = d.flag("specials");
  layer.has_columns = d.flag("columns");
  layer.reciprocal = d.flag("reciprocal");
  layer.outer_levels = read_levels(d);
  layer.input.scale = static_cast<float>(d.number("input_scale"));
  const double zero = d.number("input_zero");
  if (!(zero >= -256 && zero <= 256 && zero == std::floor(zero))) d.wrong("input_zero");
  if (scales != "fp32" && scales != "fp16") d.wrong("scales");
  if (!(layer.input.scale > 0.0f) || !is_finite(layer.input.scale)) d.wrong("input_scale");
  constexpr std::size_t kMost = std::size_t{1} << 40;
  if (layer.rows > kMost || layer.inputs > kMost) d.wrong("rows");
  if (!d.first_wrong().empty())
    return fail(ErrorCode::bad_metadata,
                "a layer '" + printable(layer.name, 100) + "' without a valid '" + d.first_wrong() + "'");
  layer.input.zero = static_cast<std::int32_t>(zero);
  const auto parsed = parse_scheme(scheme);
  if (!parsed) return propagate(parsed);
  layer.scheme = *parsed;
  const LayoutInfo* row = kernels::layout_of(layout);
  if (row == nullptr)
    return fail(ErrorCode::unsupported, "layer '" + printable(layer.name, 100) + "' has the layout '" +
                                            printable(layout, 40) + "', which this build does not know; pack it anew");
  layer.traits.layout = row->layout;
  if (!holds(row->layout, layer.scheme))
    return fail(ErrorCode::bad_metadata,
                "layer '" + printable(layer.name, 100) + "' has the layout " + layout + ", which holds no " + scheme);
  return layer;
}

tl::unexpected<Error> located(const Error& error, const std::filesystem::path& path) {
  Error out = error;
  if (out.where.file.empty()) out.where.file = where_of(path).file;
  return tl::unexpected<Error>(std::move(out));
}

}  // namespace

const TensorInfo* PackedFile::tensor(std::string_view name) const noexcept {
  const auto found =
      std::find_if(file_.tensors().begin(), file_.tensors().end(), [&](const TensorInfo& t) { return t.name == name; });
  return found != file_.tensors().end() ? &*found : nullptr;
}

std::span<const unsigned char> PackedFile::bytes(const TensorInfo& tensor) const noexcept {
  const auto mapped = file_.file().mapped().subspan(tensor.offset, tensor.bytes);
  return {reinterpret_cast<const unsigned char*>(mapped.data()), mapped.size()};
}

const PackedLayer* PackedFile::find(std::string_view name) const noexcept {
  const auto found =
      std::find_if(layers_.begin(), layers_.end(), [&](const PackedLayer& layer) { return layer.name == name; });
  return found != layers_.end() ? &*found : nullptr;
}

Status PackedFile::read_layers() {
  const Metadata& metadata = file_.metadata();
  const auto text = [&](const char* key) {
    const auto found = metadata.find(key);
    return found != metadata.end() ? found->second : std::string();
  };
  if (text("format") != kFormat)
    return fail(ErrorCode::unsupported, "is no packed file of kvant; 'format' in its metadata is not kvant-packed");
  if (text("version") != kVersion)
    return fail(ErrorCode::unsupported, "is version '" + printable(text("version"), 20) +
                                            "' of kvant's packed files; this build reads version 1");
  const auto json = parse_json(text("layers"), {.max_bytes = kSafetensorsMaxHeader});
  if (!json) return propagate(json);
  for (const Json& one : json->items()) {
    auto layer = read_layer(one);
    if (!layer) return propagate(layer);
    const TensorInfo* found = tensor(layer->name);
    if (found == nullptr)
      return fail(ErrorCode::missing_tensor, "has no tensor for layer '" + printable(layer->name, 100) + "'");
    if (found->dtype != DType::u8 || found->bytes != packed_bytes(layer->shape()) || found->offset % 64 != 0)
      return fail(ErrorCode::bad_shape, "layer '" + printable(layer->name, 100) + "' has " +
                                            std::to_string(found->bytes) + " bytes at " +
                                            std::to_string(found->offset) + ", expected " +
                                            std::to_string(packed_bytes(layer->shape())) + " at a multiple of 64");
    layers_.push_back(std::move(*layer));
  }
  const TensorInfo* hashes = tensor(kHashes);
  if (hashes == nullptr || hashes->dtype != DType::u64 || hashes->bytes / 8 != layers_.size())
    return fail(ErrorCode::missing_tensor, "has no list of checksums, one for each layer");
  if (text("checksum") != checksum_of(text("layers")))
    return fail(ErrorCode::bad_checksum, "describes its layers otherwise than it was written; pack the model anew");
  return {};
}

Result<PackedFile> PackedFile::open(const std::filesystem::path& path) {
  return guarded([&]() -> Result<PackedFile> {
    auto file = SafetensorsFile::open(path, Access::mmap);
    if (!file) return propagate(file);
    PackedFile result(std::move(*file));
    if (const Status ok = result.read_layers(); !ok) return located(ok.error(), path);
    return result;
  });
}

template <class T>
Result<std::vector<T>> PackedFile::numbers(const std::string& name, DType dtype, std::size_t count) const {
  const TensorInfo* found = tensor(name);
  if (found == nullptr || found->dtype != dtype || found->bytes / sizeof(T) != count)
    return fail(ErrorCode::bad_metadata, "has no tensor '" + printable(name, 100) + "' of " + std::to_string(count) +
                                             " " + std::string(dtype_info(dtype).name));
  std::vector<T> out(count);
  if (const Status ok = file_.read(*found, 0, std::as_writable_bytes(std::span(out))); !ok) return propagate(ok);
  return out;
}

Result<Linear> PackedFile::layer(const PackedLayer& layer, const Context& context) const {
  return guarded([&]() -> Result<Linear> {
    const auto failed = [&](const Error& error) { return located(error, file_.file().path()); };
    PackedWeight weight{layer.shape(), layer.scheme, layer.outer_levels, layer.reciprocal, {}, {}};
    for (std::size_t i = 0; i < weight.outer_scales.size(); ++i) {
      ScaleLevel& level = weight.outer_scales[i];
      auto values = numbers<float>(scales_of(layer.name, i + 1), DType::f32, level.rows * level.cols);
      if (!values) return failed(values.error());
      level.values = std::move(*values);
    }
    if (layer.has_columns) {
      auto columns = numbers<std::uint32_t>(columns_of(layer.name), DType::u32, weight.shape.k);
      if (!columns) return failed(columns.error());
      weight.columns = std::move(*columns);
    }
    std::vector<float> bias;
    if (const TensorInfo* found = tensor(bias_of(layer.name)); found != nullptr && found->dtype == DType::f32) {
      auto values = numbers<float>(found->name, DType::f32, layer.rows);
      if (!values) return failed(values.error());
      bias = std::move(*values);
    }
    const auto data = bytes(*tensor(layer.name));
    const std::size_t group = weight.shape.group;
    const bool preferred =
        !layout_info(weight.shape.layout).has_groups() ||
        context.kernels().prefers(weight.shape.layout, weight.scheme.info().bits,
                                  layer.scheme.granularity.block_cols(layer.inputs) < layer.inputs ? group : 0);
    auto linear = preferred ? Linear::over(std::move(weight), data, std::move(bias), layer.input)
                            : Linear::from({unpack(weight, data), std::move(bias), layer.input}, context);
    if (!linear) return failed(linear.error());
    return linear;
  });
}

Status PackedFile::verify(const Context& context) const {
  return guarded([&]() -> Status {
    const auto expected = numbers<std::uint64_t>(std::string(kHashes), DType::u64, layers_.size());
    if (!expected) return propagate(expected);
    std::atomic<std::size_t> wrong{layers_.size()};
    context.for_each(layers_.size(), [&](std::size_t i) {
      if (hash_of(bytes(*tensor(layers_[i].name))) == (*expected)[i]) return;
      std::size_t first = wrong.load();
      while (i < first && !wrong.compare_exchange_weak(first, i)) {
      }
    });
    if (wrong == layers_.size()) return {};
    Where where = where_of(file_.file().path());
    where.tensor = printable(layers_[wrong].name);
    return fail(ErrorCode::bad_checksum, "is not as it was written; pack the model anew", std::move(where));
  });
}

PackedWriter::PackedWriter(SafetensorsWriter writer, std::vector<PackedLayer> layers)
    : writer_(std::move(writer)), layers_(std::move(layers)), hashes_(layers_.size()) {}

Result<PackedWriter> PackedWriter::create(const std::filesystem::path& path, std::vector<PackedLayer> layers,
                                          std::vector<TensorSpec> tensors, OutputMode mode) {
  return guarded([&]() -> Result<PackedWriter> {
    Json described = Json::array();
    for (const PackedLayer& layer : layers) {
      const PackedShape shape = layer.shape();
      described.push_back(to_json(layer));
      tensors.push_back({layer.name, DType::u8, {packed_bytes(shape)}});
      for (std::size_t i = 0; i < layer.outer_levels.size(); ++i)
        tensors.push_back(
            {scales_of(layer.name, i + 1), DType::f32, {layer.outer_levels[i].rows, layer.outer_levels[i].cols}});
      if (layer.has_columns) tensors.push_back({columns_of(layer.name), DType::u32, {shape.k}});
    }
    tensors.push_back({std::string(kHashes), DType::u64, {layers.size()}});
    const std::string text = to_text(described);
    const Metadata metadata{{"format", std::string(kFormat)},
                            {"version", std::string(kVersion)},
                            {"layers", text},
                            {"checksum", checksum_of(text)}};
    auto writer =
        SafetensorsWriter::create(path, std::move(tensors), metadata, mode, SafetensorsWriter::Alignment::cache_lines);
    if (!writer) return propagate(writer);
    return PackedWriter(std::move(*writer), std::move(layers));
  });
}

Status PackedWriter::write(std::size_t index, const PackedWeight& layer) {
  return guarded([&]() -> Status {
    const PackedLayer& described = layers_[index];
    const std::span<const unsigned char> data{layer.bytes.data(), layer.bytes.size()};
    hashes_[index] = hash_of(data);
    if (const Status ok = writer_.write(described.name, 0, std::as_bytes(data)); !ok) return ok;
    for (std::size_t i = 0; i < layer.outer_scales.size(); ++i)
      if (const Status ok = writer_.write(scales_of(described.name, i + 1), 0,
                                          std::as_bytes(std::span(layer.outer_scales[i].values)));
          !ok)
        return ok;
    if (!described.has_columns) return {};
    return writer_.write(columns_of(described.name), 0, std::as_bytes(std::span(layer.columns)));
  });
}

Status PackedWriter::write(std::string_view tensor, std::span<const std::byte> data) {
  return writer_.write(tensor, 0, data);
}

Status PackedWriter::commit() {
  if (const Status ok = writer_.write(kHashes, 0, std::as_bytes(std::span(hashes_))); !ok) return ok;
  return writer_.commit();
}

}  // namespace kvant::io
