// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/packed_file.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "core/guard.hpp"
#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/first_failure.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/utf8.hpp"
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvant::io {
namespace {

constexpr std::string_view kFormat = "kvant-packed", kVersion = "1", kHashes = "kvant.xxh64";

/// Of several pieces of bytes, as if they were one.
class Hash {
 public:
  Hash() { XXH64_reset(&state_, 0); }
  void add(std::span<const std::byte> bytes) noexcept { XXH64_update(&state_, bytes.data(), bytes.size()); }
  [[nodiscard]] std::uint64_t value() const noexcept { return XXH64_digest(&state_); }

 private:
  XXH64_state_t state_;
};

/// What `checksum` in the metadata says of the text of `layers`.
std::string checksum_of(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  Hash hash;
  hash.add(std::as_bytes(std::span(text)));
  std::string hex(16, '0');
  for (std::size_t i = 0; i < hex.size(); ++i) hex[i] = kDigits[hash.value() >> (60 - 4 * i) & 15];
  return hex;
}

std::string columns_of(const std::string& name) { return name + "#columns"; }
std::string scales_of(const std::string& name, std::size_t level) { return name + "#scales" + std::to_string(level); }
std::string offsets_of(const std::string& name, std::size_t level) { return name + "#offsets" + std::to_string(level); }
/// `X.bias` of `X.weight`.
std::string bias_of(std::string_view name) {
  constexpr std::string_view kSuffix = ".weight";
  if (name.ends_with(kSuffix)) name.remove_suffix(kSuffix.size());
  return std::string(name) + ".bias";
}

/// The levels above the inner ones, and the tensors that hold them.
template <class Weight, class Body>
void for_each_outer_level(const std::string& name, Weight& weight, Body body) {
  std::size_t i = 0;
  for (auto& level : weight.outer_scales) body(scales_of(name, ++i), level);
  i = 0;
  for (auto& level : weight.outer_offsets) body(offsets_of(name, ++i), level);
}

/// Tensors that a layer has beside its panels, in the order in which they are hashed.
std::vector<TensorSpec> companions_of(const PackedLayer& layer) {
  std::vector<TensorSpec> specs;
  if (layer.has_columns) specs.push_back({columns_of(layer.name), DType::u32, {layer.weight.shape.k}});
  for_each_outer_level(layer.name, layer.weight, [&](std::string name, const ScaleLevel& level) {
    specs.push_back({std::move(name), DType::f32, {level.rows, level.cols}});
  });
  return specs;
}

Json to_json(const PackedLayer& layer) {
  const PackedShape& shape = layer.weight.shape;
  Json json = Json::object();
  json.set("name", layer.name)
      .set("scheme", to_text(layer.scheme()))
      .set("layout", layout_info(shape.layout).id)
      .set("rows", shape.n)
      .set("inputs", shape.inputs)
      .set("scales", shape.scales_f32 ? "fp32" : "fp16")
      .set("specials", layout_info(shape.layout).bits == 8 && shape.code_step == 0 && shape.mantissa_bits == 0)
      .set("columns", layer.has_columns)
      .set("reciprocal", layer.weight.reciprocal)
      .set("input_scale", static_cast<double>(layer.inputs.parameters.scale))
      .set("input_zero", layer.inputs.parameters.zero);
  return json;
}

/// The members of a layer's description; the first that is missing or of another kind is remembered.
class Description {
 public:
  explicit Description(const Json& json) : json_(json) {}

  std::string text(std::string_view key) {
    const Json* value = json_.find(key);
    const std::string* found = value != nullptr ? value->as_string() : nullptr;
    return found != nullptr ? *found : (wrong(key), std::string());
  }
  std::size_t size(std::string_view key) {
    const auto found = number_of(key, &Json::as_uint64);
    if (found && *found <= kvant::detail::kMostFeatures) return static_cast<std::size_t>(*found);
    return wrong(key), std::size_t{0};
  }
  bool flag(std::string_view key) {
    const auto found = number_of(key, &Json::as_bool);
    return found ? *found : (wrong(key), false);
  }
  InputParameters input() {
    const auto scale = number_of("input_scale", &Json::as_double);
    const auto zero = number_of("input_zero", &Json::as_int64);
    if (!scale || !(*scale > 0 && *scale <= 3e38)) return wrong("input_scale"), InputParameters{};
    if (!zero || *zero < -256 || *zero > 256) return wrong("input_zero"), InputParameters{};
    return {static_cast<float>(*scale), static_cast<std::int32_t>(*zero)};
  }
  void wrong(std::string_view key) {
    if (wrong_.empty()) wrong_ = key;
  }
  [[nodiscard]] const std::string& first_wrong() const noexcept { return wrong_; }

 private:
  template <class T>
  std::optional<T> number_of(std::string_view key, std::optional<T> (Json::*as)() const noexcept) const {
    const Json* value = json_.find(key);
    return value != nullptr ? (value->*as)() : std::nullopt;
  }

  const Json& json_;
  std::string wrong_;
};

/// Those of a weight whose scheme and shape are known.
void add_outer_levels(PackedWeight& weight) {
  const Granularity& granularity = weight.scheme.granularity;
  const PackedShape& shape = weight.shape;
  weight.outer_scales = outer_level_shapes(weight.scheme.scales, granularity, shape.n, shape.inputs);
  if (weight.scheme.offsets)
    weight.outer_offsets = outer_level_shapes(*weight.scheme.offsets, granularity, shape.n, shape.inputs);
}

Result<PackedLayer> read_layer(const Json& json) {
  Description d(json);
  PackedLayer layer;
  layer.name = d.text("name");
  const std::string scheme = d.text("scheme");
  const std::string layout = d.text("layout");
  const std::string scales = d.text("scales");
  const std::size_t rows = d.size("rows");
  const std::size_t inputs = d.size("inputs");
  const bool specials = d.flag("specials");
  layer.has_columns = d.flag("columns");
  layer.weight.reciprocal = d.flag("reciprocal");
  layer.inputs.parameters = d.input();
  if (scales != "fp32" && scales != "fp16") d.wrong("scales");
  const std::string name = "layer '" + printable(layer.name, 100) + "'";
  if (!d.first_wrong().empty())
    return fail(ErrorCode::bad_metadata, name + " is without a valid '" + d.first_wrong() + "'");
  const auto parsed = parse_layer_scheme(scheme);
  if (!parsed) return propagate(parsed);
  const LayoutInfo* row = kernels::layout_of(layout);
  if (row == nullptr)
    return fail(ErrorCode::unsupported, name + " has the layout '" + printable(layout, 40) +
                                            "', which this build does not know; pack the model anew");
  if (!kvant::detail::holds(row->layout, parsed->weight))
    return fail(ErrorCode::bad_metadata, name + " has the layout " + layout + ", which holds no " + scheme);
  layer.weight.scheme = parsed->weight;
  layer.inputs.activation = parsed->activation;
  layer.weight.shape = make_shape(parsed->weight, rows, inputs, {row->layout, scales == "fp32", specials});
  add_outer_levels(layer.weight);
  return layer;
}

tl::unexpected<Error> located(const Error& error, const std::filesystem::path& path) {
  Error out = error;
  if (out.where.file.empty()) out.where.file = where_of(path).file;
  return tl::unexpected<Error>(std::move(out));
}

}  // namespace

PackedLayer PackedLayer::of_floats(std::string name, FormatId format, std::size_t rows, std::size_t inputs) {
  PackedLayer layer;
  layer.name = std::move(name);
  layer.weight.scheme.format = format;
  const Layout layout = format == format_id<bf16> ? Layout::bf16_p32 : Layout::f32_p32;
  layer.weight.shape = make_shape(layer.weight.scheme, rows, inputs, {.layout = layout});
  return layer;
}

Result<PackedLayer> PackedLayer::of(std::string name, const QMatrix& q, const LayerInputs& inputs,
                                    const Context& context) {
  if (!is_listed(q.scheme.format) || !is_listed(q.scheme.scales.inner))
    return fail(ErrorCode::unsupported, "has a format of its own, which packed files do not hold", {{}, name, {}});
  const auto shape = plan_packing(q, context);
  if (!shape) return propagate(shape);
  PackedLayer layer;
  layer.name = std::move(name);
  layer.weight.shape = *shape;
  layer.weight.scheme = q.scheme;
  add_outer_levels(layer.weight);
  layer.weight.reciprocal = q.reciprocal;
  layer.has_columns = shape->k != shape->inputs || !q.columns.empty();
  layer.inputs = inputs;
  return layer;
}

const TensorInfo* PackedFile::tensor(std::string_view name) const noexcept {
  const auto found = places_.find(name);
  return found != places_.end() ? &file_.tensors()[found->second] : nullptr;
}

std::span<const unsigned char> PackedFile::bytes(const TensorInfo& tensor) const noexcept {
  const auto mapped = file_.file().mapped().subspan(tensor.offset, tensor.bytes);
  return {reinterpret_cast<const unsigned char*>(mapped.data()), mapped.size()};
}

const PackedLayer* PackedFile::find(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found != by_name_.end() ? &layers_[found->second] : nullptr;
}

/// Panels and companions of the layer are there, in the sizes that follow from its shape.
Status PackedFile::check_tensors(const PackedLayer& layer) const {
  const std::string name = "layer '" + printable(layer.name, 100) + "'";
  const PackedShape& shape = layer.weight.shape;
  const TensorInfo* panels_found = tensor(layer.name);
  if (panels_found == nullptr) return fail(ErrorCode::missing_tensor, "has no tensor for " + name);
  const auto size = checked_mul(panels(shape), shape.panel_stride);
  if (panels_found->dtype != DType::u8 || !size || panels_found->bytes != *size || panels_found->offset % 64 != 0)
    return fail(ErrorCode::bad_shape, name + " has " + std::to_string(panels_found->bytes) + " bytes at " +
                                          std::to_string(panels_found->offset) + ", expected " +
                                          (size ? std::to_string(*size) : "more than there can be") +
                                          " at a multiple of 64");
  for (const TensorSpec& spec : companions_of(layer)) {
    const TensorInfo* found = tensor(spec.name);
    const auto expected = tensor_bytes(spec.dtype, spec.shape);
    if (found == nullptr) return fail(ErrorCode::missing_tensor, name + " has no '" + printable(spec.name, 100) + "'");
    if (found->dtype != spec.dtype || !expected || found->bytes != *expected)
      return fail(ErrorCode::bad_shape, name + " has '" + printable(spec.name, 100) + "' in another size or type");
  }
  return {};
}

Status PackedFile::read_layers() {
  const auto text = [&](const char* key) {
    const auto found = file_.metadata().find(key);
    return found != file_.metadata().end() ? found->second : std::string();
  };
  if (text("format") != kFormat)
    return fail(ErrorCode::unsupported, "is no packed file of kvant; 'format' in its metadata is not kvant-packed");
  if (text("version") != kVersion)
    return fail(ErrorCode::unsupported, "is version '" + printable(text("version"), 20) +
                                            "' of kvant's packed files; this build reads version 1");
  const std::string described = text("layers");
  const auto json = parse_json(described, {.max_bytes = kSafetensorsMaxHeader});
  if (!json) return propagate(json);
  if (!json->is_array()) return fail(ErrorCode::bad_metadata, "has a list of layers that is none");
  for (std::size_t i = 0; i < file_.tensors().size(); ++i) places_.emplace(file_.tensors()[i].name, i);
  std::map<std::string_view, std::size_t> others = places_;
  others.erase(kHashes);
  for (const Json& one : json->items()) {
    auto layer = read_layer(one);
    if (!layer) return propagate(layer);
    if (const Status ok = check_tensors(*layer); !ok) return ok;
    if (!by_name_.emplace(tensor(layer->name)->name, layers_.size()).second)
      return fail(ErrorCode::duplicate_key, "has two layers '" + printable(layer->name, 100) + "'");
    others.erase(layer->name);
    for (const TensorSpec& spec : companions_of(*layer)) others.erase(spec.name);
    layers_.push_back(std::move(*layer));
  }
  for (const auto& [name, place] : others) others_.push_back(place);
  const TensorInfo* hashes = tensor(kHashes);
  if (hashes == nullptr || hashes->dtype != DType::u64 || hashes->bytes / 8 != layers_.size() + others_.size())
    return fail(ErrorCode::missing_tensor, "has no list of hashes, one for each layer and other tensor");
  if (text("checksum") != checksum_of(described))
    return fail(ErrorCode::bad_checksum, "describes its layers otherwise than it was written; pack the model anew");
  return {};
}

Result<PackedFile> PackedFile::of(Result<SafetensorsFile> file) {
  return guarded([&]() -> Result<PackedFile> {
    if (!file) return propagate(file);
    PackedFile result(std::move(*file));
    if (const Status ok = result.read_layers(); !ok) return located(ok.error(), result.file_.file().path());
    return result;
  });
}

Result<PackedFile> PackedFile::open(const std::filesystem::path& path) {
  return of(SafetensorsFile::open(path, Access::mmap));
}

Result<PackedFile> PackedFile::over(std::span<const std::byte> bytes) {
  if (std::bit_cast<std::uintptr_t>(bytes.data()) % AlignedBytes::kAlignment != 0)
    return fail(ErrorCode::usage, "the bytes of a packed file have to begin at a multiple of 64");
  return of(SafetensorsFile::over(bytes));
}

template <class T>
std::vector<T> PackedFile::numbers(std::string_view name) const {
  const auto data = bytes(*tensor(name));
  std::vector<T> out(data.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), data.data(), out.size() * sizeof(T));
  return out;
}

Result<Linear> PackedFile::layer(const PackedLayer& layer, const Context& context) const {
  return guarded([&]() -> Result<Linear> {
    if (const Status ok = check_tensors(layer); !ok) return located(ok.error(), file_.file().path());
    PackedWeight weight = layer.weight;
    for_each_outer_level(layer.name, weight,
                         [&](const std::string& name, ScaleLevel& level) { level.values = numbers<float>(name); });
    if (layer.has_columns) weight.columns = numbers<std::uint32_t>(columns_of(layer.name));
    std::vector<float> bias;
    if (const TensorInfo* found = tensor(bias_of(layer.name)); found != nullptr) {
      if (found->dtype != DType::f32)
        return located({ErrorCode::bad_metadata, "a bias that is no F32", {{}, printable(found->name), {}}},
                       file_.file().path());
      bias = numbers<float>(found->name);
    }
    const auto data = bytes(*tensor(layer.name));
    const PackedShape& shape = weight.shape;
    const bool preferred =
        !layout_info(shape.layout).has_groups() || layout_for(weight.scheme, shape.inputs, context) == shape.layout;
    const Status fits = check(weight, data);
    auto linear = !fits       ? Result<Linear>(propagate(fits))
                  : preferred ? Linear::over(std::move(weight), data, std::move(bias), layer.inputs)
                              : Linear::from({unpack(weight, data), std::move(bias), layer.inputs}, context);
    if (!linear) return located(linear.error(), file_.file().path());
    return linear;
  });
}

Status PackedFile::verify(const Context& context) const {
  return guarded([&]() -> Status {
    const auto expected = numbers<std::uint64_t>(kHashes);
    FirstFailure wrong;
    context.for_each(expected.size(), [&](std::size_t i) {
      Hash hash;
      if (i < layers_.size()) {
        hash.add(std::as_bytes(bytes(*tensor(layers_[i].name))));
        for (const TensorSpec& spec : companions_of(layers_[i])) hash.add(std::as_bytes(bytes(*tensor(spec.name))));
      } else {
        hash.add(std::as_bytes(bytes(file_.tensors()[others_[i - layers_.size()]])));
      }
      if (hash.value() != expected[i]) wrong.report(i);
    });
    if (!wrong.any()) return {};
    const std::size_t i = wrong.task();
    Where where = where_of(file_.file().path());
    where.tensor = printable(i < layers_.size() ? layers_[i].name : file_.tensors()[others_[i - layers_.size()]].name);
    return fail(ErrorCode::bad_checksum, "is not as it was written; pack the model anew", std::move(where));
  });
}

PackedWriter::PackedWriter(SafetensorsWriter writer, std::vector<PackedLayer> layers, std::vector<std::string> others)
    : writer_(std::move(writer)),
      layers_(std::move(layers)),
      others_(std::move(others)),
      hashes_(layers_.size() + others_.size()) {}

Result<PackedWriter> PackedWriter::create(const std::filesystem::path& path, std::vector<PackedLayer> layers,
                                          std::vector<TensorSpec> tensors, OutputMode mode) {
  return guarded([&]() -> Result<PackedWriter> {
    std::vector<std::string> others;
    for (const TensorSpec& spec : tensors) others.push_back(spec.name);
    std::sort(others.begin(), others.end());
    Json described = Json::array();
    for (const PackedLayer& layer : layers) {
      described.push_back(to_json(layer));
      tensors.push_back({layer.name, DType::u8, {packed_bytes(layer.weight.shape)}});
      for (TensorSpec& spec : companions_of(layer)) tensors.push_back(std::move(spec));
    }
    tensors.push_back({std::string(kHashes), DType::u64, {layers.size() + others.size()}});
    const std::string text = to_text(described);
    const Metadata metadata{{"format", std::string(kFormat)},
                            {"version", std::string(kVersion)},
                            {"layers", text},
                            {"checksum", checksum_of(text)}};
    auto writer =
        SafetensorsWriter::create(path, std::move(tensors), metadata, mode, SafetensorsWriter::Alignment::cache_lines);
    if (!writer) return propagate(writer);
    return PackedWriter(std::move(*writer), std::move(layers), std::move(others));
  });
}

Status PackedWriter::write(std::size_t index, const PackedWeight& layer) {
  return guarded([&]() -> Status {
    expects(index < layers_.size(), "a layer of the file");
    const PackedLayer& described = layers_[index];
    Hash hash;
    const auto put = [&](const std::string& name, std::span<const std::byte> data) {
      hash.add(data);
      return writer_.write(name, 0, data);
    };
    if (const Status ok = put(described.name, std::as_bytes(std::span(layer.bytes.data(), layer.bytes.size()))); !ok)
      return ok;
    if (described.has_columns)
      if (const Status ok = put(columns_of(described.name), std::as_bytes(std::span(layer.columns))); !ok) return ok;
    Status written;
    for_each_outer_level(described.name, layer, [&](const std::string& name, const ScaleLevel& level) {
      if (written) written = put(name, std::as_bytes(std::span(level.values)));
    });
    if (!written) return written;
    hashes_[index] = hash.value();
    return {};
  });
}

Status PackedWriter::write(std::string_view tensor, std::span<const std::byte> data) {
  const auto found = std::lower_bound(others_.begin(), others_.end(), tensor);
  if (found == others_.end() || *found != tensor)
    return fail(ErrorCode::usage, "this tensor was not announced to the writer", {{}, printable(tensor), {}});
  Hash hash;
  hash.add(data);
  hashes_[layers_.size() + static_cast<std::size_t>(found - others_.begin())] = hash.value();
  return writer_.write(tensor, 0, data);
}

Status PackedWriter::commit() {
  if (const Status ok = writer_.write(kHashes, 0, std::as_bytes(std::span(hashes_))); !ok) return ok;
  return writer_.commit();
}

}  // namespace kvant::io
