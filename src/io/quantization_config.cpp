// SPDX-License-Identifier: Apache-2.0
// The quantization_config of a checkpoint, written and read: compressed-tensors' and kvant's own.
#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>

#include "core/guard.hpp"
#include "kvant/io/utf8.hpp"
#include "storage.hpp"

namespace kvant::io {
namespace {

constexpr std::uint64_t kKvantVersion = 1;
/// Of configurations with "transposed", which version 1 would pass over.
constexpr std::uint64_t kTransposedVersion = 2;
/// Of configurations with "codebooks", whose schemes they do not know.
constexpr std::uint64_t kCodebookVersion = 3;
/// Of configurations with "stacks".
constexpr std::uint64_t kStackVersion = 4;
constexpr std::string_view kCustom = "custom:";  ///< how to_text() begins with a codebook's name

// ---- writing -------------------------------------------------------------------------------------------------------

/// compressed-tensors' name for how a scheme's tensors are stored.
std::string_view ct_format(const LayerScheme& layer) {
  const Scheme& s = layer.weight;
  if (s.scales.op == ScaleOp::quotient) return "nvfp4-pack-quantized";
  if (s.scales.inner == format_id<e8m0>) return s.info().bits == 4 ? "mxfp4-pack-quantized" : "mxfp8-quantized";
  if (s.format == format_id<fp8_e4m3fn>) return "float-quantized";
  return layer.activation ? "int-quantized" : "pack-quantized";
}

/// The keys that weights and activations share; a key that says the default is left out, since older versions of the
/// library refuse the ones they do not know.
Json ct_arguments(const FormatInfo& format, const Granularity& g, Symmetry symmetry, bool dynamic) {
  Json args = Json::object();
  args.set("num_bits", format.bits);
  args.set("type", format.kind == FormatKind::integer ? "int" : "float");
  args.set("symmetric", symmetry == Symmetry::symmetric);
  switch (g.kind()) {
    case Granularity::Kind::tensor:
      args.set("strategy", "tensor");
      break;
    case Granularity::Kind::token:
      args.set("strategy", "token");
      break;
    case Granularity::Kind::group:
      args.set("strategy", "group");
      args.set("group_size", g.cols_parameter());
      break;
    case Granularity::Kind::block:
      args.set("strategy", "block");
      args.set("block_structure", Json::array().push_back(g.rows_parameter()).push_back(g.cols_parameter()));
      break;
    default:
      args.set("strategy", "channel");
      break;
  }
  args.set("dynamic", dynamic);
  return args;
}

/// What compressed-tensors says about a scheme's weights.
Json ct_weights(const Scheme& s) {
  Json args = ct_arguments(s.info(), s.granularity, s.symmetry, false);
  if (s.scales.op == ScaleOp::quotient) args.set("strategy", "tensor_group");
  // Of 8 bits in groups of 32, this tells MXFP8 from floats under ordinary scales.
  if (s.scales.inner == format_id<e8m0> && s.info().bits == 8) args.set("scale_dtype", "torch.uint8");
  return args;
}

/// What it says about activations. Contract: they are dynamic.
Json ct_activations(const ActivationScheme& a) {
  Json args = ct_arguments(format_info(a.format), a.granularity, a.symmetry, true);
  if (a.scale_type == format_id<e8m0>) args.set("scale_dtype", "torch.uint8");
  return args;
}

/// A weight's scheme in the words of the convention: a group of all columns is a channel.
LayerScheme ct_scheme(const QuantizedWeight& w) {
  LayerScheme layer = w.scheme;
  Scheme& s = layer.weight;
  if (block_format(s) == nullptr && s.granularity.kind() == Granularity::Kind::group &&
      s.granularity.cols_parameter() >= w.cols)
    s.granularity = PerChannel{};
  return layer;
}

Json ct_config(std::span<const QuantizedWeight> weights, std::span<const std::string> ignored) {
  std::map<std::string, std::vector<const QuantizedWeight*>> by_scheme;
  for (const QuantizedWeight& w : weights) by_scheme[to_text(ct_scheme(w))].push_back(&w);
  Json groups = Json::object();
  std::string format;
  std::size_t index = 0;
  for (const auto& [text, members] : by_scheme) {
    const LayerScheme s = ct_scheme(*members.front());
    Json targets = Json::array();
    if (by_scheme.size() == 1)
      targets.push_back("Linear");
    else
      for (const QuantizedWeight* w : members) targets.push_back(module_of(w->name));
    Json group = Json::object();
    group.set("targets", std::move(targets));
    group.set("weights", ct_weights(s.weight));
    group.set("input_activations", s.activation ? ct_activations(*s.activation) : Json());
    group.set("output_activations", Json());
    group.set("format", ct_format(s));
    format = format.empty() || format == ct_format(s) ? std::string(ct_format(s)) : "mixed-precision";
    groups.set("group_" + std::to_string(index++), std::move(group));
  }
  Json ignore = Json::array();
  for (const std::string& name : ignored) ignore.push_back(module_of(name));
  Json config = Json::object();
  config.set("quant_method", "compressed-tensors");
  config.set("format", format);
  config.set("quantization_status", "compressed");
  config.set("config_groups", std::move(groups));
  config.set("ignore", std::move(ignore));
  config.set("kv_cache_scheme", Json());
  config.set("global_compression_ratio", Json());
  return config;
}

/// The levels of the codebooks that schemes refer to.
Json levels_of(std::span<const QuantizedWeight> weights) {
  Json codebooks = Json::object();
  for (const QuantizedWeight& w : weights) {
    const FormatInfo& format = w.scheme.weight.info();
    if (is_listed(w.scheme.weight.format) || codebooks.find(format.name) != nullptr) continue;
    Json levels = Json::array();
    for (std::uint32_t code = 0; code <= format.threshold_count; ++code)
      levels.push_back(static_cast<double>(format.decode(code)));
    codebooks.set(std::string(format.name), std::move(levels));
  }
  return codebooks;
}

// ---- reading -------------------------------------------------------------------------------------------------------

tl::unexpected<Error> bad_config(std::string message, const Where& where) {
  return fail(ErrorCode::bad_config, "quantization_config " + std::move(message), where);
}

/// A weight in kvant's own convention, every tensor of it checked.
Result<StoredWeight> find_own_weight(const Checkpoint& checkpoint, const std::string& name, const LayerScheme& scheme) {
  const auto shape = read_shape(checkpoint, name);
  if (!shape) return propagate(shape);
  StoredWeight w;
  w.name = name;
  w.scheme = scheme;
  w.rows = shape->rows;
  w.cols = shape->cols;
  w.codes = code_storage(w, Convention::kvant);
  w.zeros = has_zero_points(scheme.weight) ? StoredWeight::Zeros::bytes : StoredWeight::Zeros::none;
  for (const TensorSpec& spec : stored_tensors(w, Convention::kvant)) {
    if (const Status ok = check_stored(checkpoint, spec.name, spec.dtype, {spec.shape}); !ok) return propagate(ok);
    w.tensors.push_back(spec.name);
  }
  return w;
}

/// The levels under "codebooks", by name.
Result<std::vector<std::shared_ptr<const RuntimeCodebook>>> read_codebooks(const Json& config, const Where& where) {
  std::vector<std::shared_ptr<const RuntimeCodebook>> books;
  const Json* all = config.find("codebooks");
  if (all == nullptr) return books;
  if (!all->is_object()) return bad_config("has something else than an object under \"codebooks\"", where);
  for (const auto& [name, value] : all->members()) {
    std::vector<float> levels;
    for (const Json& item : value.items()) {
      const auto number = item.as_double();
      const auto level = static_cast<float>(number.value_or(0));
      if (!number || static_cast<double>(level) != *number)
        return bad_config("has a level of the codebook " + printable(name, 100) + " that is no fp32", where);
      levels.push_back(level);
    }
    auto book = RuntimeCodebook::make(name, std::move(levels));
    if (!book || !is_storable_codebook(book->id()))
      return bad_config(
          "has a codebook " + printable(name, 100) + " that is none" + (book ? "" : ": " + book.error().message),
          where);
    books.push_back(std::make_shared<const RuntimeCodebook>(std::move(*book)));
  }
  return books;
}

/// `custom:NAME…`: what a text says of a codebook's scheme it may say of NF4's.
Result<LayerScheme> parse_custom(std::string_view text,
                                 const std::vector<std::shared_ptr<const RuntimeCodebook>>& books) {
  std::string_view rest = text.substr(kCustom.size());
  const std::string_view name = rest.substr(0, rest.find_first_of("-/"));
  rest.remove_prefix(name.size());
  auto scheme = parse_layer_scheme("nf4" + std::string(rest));
  if (!scheme) return scheme;
  for (const auto& book : books) {
    if (book->name() != name) continue;
    scheme->weight.format = book->id();
    if (const Status fits = check_scheme(*scheme, text); !fits) return propagate(fits);
    return scheme;
  }
  return kvant::detail::bad_scheme(text, "names a codebook that is not stored");
}

/// The weights that "transposed" names, all of them among `tensors`.
Result<std::set<std::string>> read_transposed(const Json& config, const Json& tensors, const Where& where) {
  std::set<std::string> names;
  const Json* list = config.find("transposed");
  if (list == nullptr) return names;
  if (!list->is_array()) return bad_config("has something else than a list under \"transposed\"", where);
  for (const Json& item : list->items()) {
    const std::string* name = item.as_string();
    if (name == nullptr || tensors.find(*name) == nullptr)
      return bad_config("names as transposed what is none of its tensors: " + printable(to_text(item), 200), where);
    names.insert(*name);
  }
  return names;
}

/// The number of matrices of each weight that "stacks" names, all of them among `tensors`.
Result<std::map<std::string, std::uint64_t>> read_stacks(const Json& config, const Json& tensors, const Where& where) {
  std::map<std::string, std::uint64_t> members;
  const Json* stacks = config.find("stacks");
  if (stacks == nullptr) return members;
  if (!stacks->is_object()) return bad_config("has something else than an object under \"stacks\"", where);
  for (const auto& [name, value] : stacks->members()) {
    const std::uint64_t count = value.as_uint64().value_or(0);
    if (count == 0 || tensors.find(name) == nullptr)
      return bad_config("has a stack that is none of its tensors, or without matrices: " + printable(name, 200), where);
    members[name] = count;
  }
  return members;
}

Result<StoredWeights> read_kvant(const Checkpoint& checkpoint, const Json& config, const Where& where) {
  const Json* version = config.find("version");
  const auto number = version != nullptr ? version->as_uint64() : std::nullopt;
  if (!number || *number < kKvantVersion || *number > kStackVersion)
    return fail(ErrorCode::unsupported,
                "quantization_config has a version that this kvant does not read, expected " +
                    std::to_string(kKvantVersion) + " to " + std::to_string(kStackVersion),
                where);
  const Json* tensors = config.find("tensors");
  if (tensors == nullptr || !tensors->is_object()) return bad_config("lacks the object \"tensors\"", where);
  const auto transposed = read_transposed(config, *tensors, where);
  if (!transposed) return propagate(transposed);
  const auto stacks = read_stacks(config, *tensors, where);
  if (!stacks) return propagate(stacks);
  StoredWeights result;
  result.convention = convention_name(Convention::kvant);
  auto codebooks = read_codebooks(config, where);
  if (!codebooks) return propagate(codebooks);
  result.codebooks = std::move(*codebooks);
  for (const auto& [name, value] : tensors->members()) {
    const std::string* text = value.as_string();
    if (text == nullptr) return bad_config("names no scheme for " + name, where);
    const auto scheme = text->starts_with(kCustom) ? parse_custom(*text, result.codebooks) : parse_layer_scheme(*text);
    if (!scheme || scheme->is_cast())
      return bad_config("has '" + *text + "' for " + name + ", which is no scheme", where);
    auto weight = find_own_weight(checkpoint, name, *scheme);
    if (!weight) return propagate(weight);
    weight->transposed = transposed->contains(name);
    if (const auto stack = stacks->find(name); stack != stacks->end()) weight->members = stack->second;
    if (weight->members != 0 && (weight->rows < weight->members || weight->rows % weight->members != 0))
      return fail(ErrorCode::bad_metadata,
                  "has " + std::to_string(weight->rows) + " rows, which " + std::to_string(weight->members) +
                      " matrices cannot share",
                  {checkpoint.path().string(), name, {}});
    result.weights.push_back(std::move(*weight));
  }
  return result;
}

/// The conventions that are read, by what a configuration calls them.
struct ReadConvention {
  std::string_view method, name;
  Result<StoredWeights> (*read)(const Checkpoint& checkpoint, const Json& config, const Where& where);
};
constexpr std::array kReadConventions{
    ReadConvention{"kvant", convention_name(Convention::kvant), &read_kvant},
    ReadConvention{"compressed-tensors", convention_name(Convention::compressed_tensors), &read_compressed_tensors},
    ReadConvention{"fp8", "fine-grained FP8", &read_fine_grained_fp8},
    ReadConvention{"mxfp4", "MXFP4 of gpt-oss", &read_gpt_oss_mxfp4},
};

const ReadConvention* convention_of(const Json& config) {
  const std::string_view method = text_of(config, "quant_method");
  const auto* found = std::ranges::find(kReadConventions, method, &ReadConvention::method);
  return found != kReadConventions.end() ? found : nullptr;
}

/// No tensor belongs to two weights.
Status check_shared(const Checkpoint& checkpoint, const StoredWeights& stored) {
  std::unordered_set<std::string_view> seen;
  for (const StoredWeight& w : stored.weights)
    for (const std::string& name : w.tensors)
      if (!seen.insert(name).second)
        return fail(ErrorCode::bad_metadata, "belongs to two quantized weights",
                    {checkpoint.path().string(), name, {}});
  return {};
}

}  // namespace

std::string_view read_convention(const Json& config) {
  const ReadConvention* found = convention_of(config);
  return found != nullptr ? found->name : std::string_view();
}

Result<std::optional<Json>> find_quantization_config(const Checkpoint& checkpoint, const Where& where) {
  if (checkpoint.is_folder()) {
    const Json* found = checkpoint.config() ? checkpoint.config()->find("quantization_config") : nullptr;
    return found != nullptr && !found->is_null() ? std::optional<Json>(*found) : std::nullopt;
  }
  const auto it = checkpoint.metadata().find("quantization_config");
  if (it == checkpoint.metadata().end()) return std::optional<Json>{};
  auto parsed = parse_json(it->second, JsonLimits{}, where);
  if (!parsed) return propagate(parsed);
  return std::optional<Json>(std::move(*parsed));
}

bool says_nothing(const Json& value) {
  return value.is_null() || value.as_bool() == false || (value.is_object() && value.members().empty()) ||
         (value.is_array() && value.items().empty());
}

Status check_keys(const Json& object, std::span<const std::string_view> known, const std::string& of,
                  const Where& where) {
  for (const Json::Member& m : object.members())
    if (std::find(known.begin(), known.end(), m.key) == known.end() && !says_nothing(m.value))
      return fail(ErrorCode::unsupported,
                  "quantization_config has the key \"" + printable(m.key, 60) + "\"" + of +
                      ", which is not read: " + printable(to_text(m.value), 80),
                  where);
  return {};
}

bool is_embedding(std::string_view module) noexcept {
  const std::string_view last = module.substr(module.rfind('.') + 1);
  return last.find("embed") != std::string_view::npos || last == "wte" || last == "wpe" || last == "shared";
}

std::string_view text_of(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  const std::string* text = value != nullptr ? value->as_string() : nullptr;
  return text != nullptr ? std::string_view(*text) : std::string_view();
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string text;
  for (const std::uint64_t n : shape) text += (text.empty() ? "" : ", ") + std::to_string(n);
  return "[" + text + "]";
}

Status check_stored(const Checkpoint& checkpoint, const std::string& name, DType dtype,
                    std::initializer_list<std::vector<std::uint64_t>> shapes) {
  const Where where{checkpoint.path().string(), name, {}};
  const CheckpointTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr)
    return fail(ErrorCode::bad_metadata, "is missing, but the quantization configuration needs it", where);
  if (tensor->dtype != dtype)
    return fail(
        ErrorCode::bad_metadata,
        "is " + std::string(dtype_info(tensor->dtype).name) + ", expected " + std::string(dtype_info(dtype).name),
        where);
  if (std::find(shapes.begin(), shapes.end(), tensor->shape) != shapes.end()) return {};
  return fail(ErrorCode::bad_metadata,
              "has the shape " + shape_text(tensor->shape) + ", expected " + shape_text(*shapes.begin()) +
                  " by its scheme and shape",
              where);
}

Result<MatrixShape> read_shape(const Checkpoint& checkpoint, const std::string& name) {
  const std::string shape_name = name + "_shape";
  const Where where{checkpoint.path().string(), shape_name, {}};
  const CheckpointTensor* shape = checkpoint.find(shape_name);
  if (shape == nullptr)
    return fail(ErrorCode::bad_metadata, "is missing, but the quantization configuration needs it", where);
  std::uint64_t dims[2] = {0, 0};
  const bool wide = shape->dtype == DType::i64 || shape->dtype == DType::u64;
  const bool narrow = shape->dtype == DType::i32;
  if (shape->bytes != (wide ? 16u : 8u) || (!wide && !narrow))
    return fail(ErrorCode::bad_metadata, "is not two integers", where);
  if (wide) {
    if (const Status read = checkpoint.read_bytes(*shape, 0, std::as_writable_bytes(std::span(dims))); !read)
      return propagate(read);
  } else {
    std::uint32_t halves[2] = {0, 0};
    if (const Status read = checkpoint.read_bytes(*shape, 0, std::as_writable_bytes(std::span(halves))); !read)
      return propagate(read);
    std::copy(std::begin(halves), std::end(halves), std::begin(dims));
  }
  // A row takes at least one bit a code, so a shape beyond the file's own size is a lie.
  const CheckpointTensor* codes = checkpoint.find(name + "_packed");
  if (codes == nullptr || (dims[1] != 0 && dims[0] > codes->bytes) || (dims[0] != 0 && dims[1] / 8 > codes->bytes))
    return fail(ErrorCode::bad_metadata, "does not fit " + name + "_packed", where);
  return MatrixShape{dims[0], dims[1]};
}

Json quantization_config(std::span<const QuantizedWeight> weights, std::span<const std::string> ignored,
                         Convention convention) {
  if (convention == Convention::compressed_tensors) return ct_config(weights, ignored);
  Json tensors = Json::object();
  Json transposed = Json::array();
  Json stacks = Json::object();
  for (const QuantizedWeight& w : weights) {
    tensors.set(w.name, to_text(w.scheme));
    if (w.transposed) transposed.push_back(w.name);
    if (w.members != 0) stacks.set(w.name, w.members);
  }
  Json codebooks = levels_of(weights);
  Json config = Json::object();
  config.set("quant_method", "kvant");
  config.set("version", !stacks.members().empty()      ? kStackVersion
                        : !codebooks.members().empty() ? kCodebookVersion
                        : transposed.items().empty()   ? kKvantVersion
                                                       : kTransposedVersion);
  config.set("tensors", std::move(tensors));
  if (!codebooks.members().empty()) config.set("codebooks", std::move(codebooks));
  if (!transposed.items().empty()) config.set("transposed", std::move(transposed));
  if (!stacks.members().empty()) config.set("stacks", std::move(stacks));
  return config;
}

Result<std::optional<StoredWeights>> find_stored_weights(const Checkpoint& checkpoint) {
  return guarded([&]() -> Result<std::optional<StoredWeights>> {
    const Where where{
        checkpoint.is_folder() ? (checkpoint.path() / "config.json").string() : checkpoint.path().string(), {}, {}};
    if (const auto foreign = find_foreign_convention(checkpoint))
      return fail(ErrorCode::unsupported,
                  "is quantized in the convention of " + foreign->name + " (" + printable(foreign->evidence, 200) +
                      "), which is not read",
                  {checkpoint.path().string(), {}, {}});
    const auto config = find_quantization_config(checkpoint, where);
    if (!config) return propagate(config);
    if (!*config) return std::optional<StoredWeights>{};
    // Of no method, compressed-tensors says what it lacks.
    const ReadConvention* convention = convention_of(**config);
    auto stored = (convention != nullptr ? convention->read : &read_compressed_tensors)(checkpoint, **config, where);
    if (!stored) return propagate(stored);
    if (const Status ok = check_shared(checkpoint, *stored); !ok) return propagate(ok);
    return std::optional<StoredWeights>(std::move(*stored));
  });
}

}  // namespace kvant::io
