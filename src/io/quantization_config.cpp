// SPDX-License-Identifier: Apache-2.0
// The quantization_config of a checkpoint, written and read: compressed-tensors' and kvant's own.
#include <algorithm>
#include <map>
#include <string>

#include "guard.hpp"
#include "kvant/io/stored_weight.hpp"

namespace kvant::io {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::uint64_t kKvantVersion = 1;

std::string module_of(std::string_view tensor) {
  return std::string(tensor.ends_with(kWeight) ? tensor.substr(0, tensor.size() - kWeight.size()) : tensor);
}

// ---- writing -------------------------------------------------------------------------------------------------------

/// compressed-tensors' name for how a scheme's tensors are stored.
std::string_view ct_format(const Scheme& s) {
  if (s.nesting == ScaleNesting::per_tensor) return "nvfp4-pack-quantized";
  if (s.scale_type == format_id<e8m0>) return s.info().bits == 4 ? "mxfp4-pack-quantized" : "mxfp8-quantized";
  if (s.format == format_id<fp8_e4m3fn>) return "float-quantized";
  return s.activation ? "int-quantized" : "pack-quantized";
}

Json ct_arguments(const FormatInfo& format, const Granularity& g, bool symmetric, bool dynamic) {
  Json args = Json::object();
  args.set("num_bits", format.bits);
  args.set("type", format.kind == FormatKind::integer ? "int" : "float");
  args.set("symmetric", symmetric);
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
  Json args = ct_arguments(s.info(), s.granularity, s.symmetry == Symmetry::symmetric, false);
  const bool nvfp4 = s.nesting == ScaleNesting::per_tensor;
  if (nvfp4) args.set("strategy", "tensor_group");
  if (nvfp4 || s.scale_type == format_id<e8m0>) {
    const char* dtype = nvfp4 ? "torch.float8_e4m3fn" : "torch.uint8";
    args.set("scale_dtype", dtype).set("zp_dtype", dtype);
  }
  return args;
}

Json ct_config(std::span<const QuantizedWeight> weights, std::span<const std::string> ignored) {
  std::map<std::string, std::vector<const QuantizedWeight*>> by_scheme;
  for (const QuantizedWeight& w : weights) by_scheme[to_text(w.scheme)].push_back(&w);
  Json groups = Json::object();
  std::string format;
  std::size_t index = 0;
  for (const auto& [text, members] : by_scheme) {
    const Scheme& s = members.front()->scheme;
    Json targets = Json::array();
    if (by_scheme.size() == 1)
      targets.push_back("Linear");
    else
      for (const QuantizedWeight* w : members) targets.push_back(module_of(w->name));
    Json group = Json::object();
    group.set("targets", std::move(targets));
    group.set("weights", ct_weights(s));
    group.set(
        "input_activations",
        s.activation ? ct_arguments(format_info(s.activation->format), s.activation->granularity, true, true) : Json());
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

// ---- reading -------------------------------------------------------------------------------------------------------

tl::unexpected<Error> bad_config(std::string message, const Where& where) {
  return fail(ErrorCode::bad_config, "quantization_config " + std::move(message), where);
}

std::string_view text_of(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  const std::string* text = value != nullptr ? value->as_string() : nullptr;
  return text != nullptr ? std::string_view(*text) : std::string_view();
}

Result<std::optional<Json>> find_config(const Checkpoint& checkpoint, const Where& where) {
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

/// The logical shape: the one in X_shape, or that of the codes, of which several may fill a byte.
Result<MatrixShape> shape_of(const Checkpoint& checkpoint, const std::string& name) {
  const Where where{checkpoint.path().string(), name, {}};
  const CheckpointTensor* shape = checkpoint.find(name + "_shape");
  if (shape == nullptr) {
    const CheckpointTensor* nibbles = checkpoint.find(name + "_packed");
    if (nibbles != nullptr && nibbles->dtype == DType::u8 && nibbles->shape.size() == 2)
      return MatrixShape{nibbles->shape[0], nibbles->shape[1] * 2};
    const CheckpointTensor* codes = checkpoint.find(name);
    if (codes == nullptr || codes->shape.size() != 2)
      return fail(ErrorCode::bad_metadata, "has neither codes in two dimensions nor " + name + "_shape", where);
    return MatrixShape{codes->shape[0], codes->shape[1]};
  }
  std::uint64_t dims[2] = {0, 0};
  if (shape->bytes != sizeof dims || (shape->dtype != DType::i64 && shape->dtype != DType::u64))
    return fail(ErrorCode::bad_metadata, "is not two 64-bit integers", {where.file, name + "_shape", {}});
  if (const Status read = checkpoint.read_bytes(*shape, 0, std::as_writable_bytes(std::span(dims))); !read)
    return propagate(read);
  // A row takes at least one bit a code, so a shape beyond the file's own size is a lie.
  const CheckpointTensor* codes = checkpoint.find(name + "_packed");
  if (codes == nullptr || (dims[1] != 0 && dims[0] > codes->bytes) || (dims[0] != 0 && dims[1] / 8 > codes->bytes))
    return fail(ErrorCode::bad_metadata, "does not fit " + name + "_packed", {where.file, name + "_shape", {}});
  return MatrixShape{dims[0], dims[1]};
}

Result<std::vector<QuantizedWeight>> read_kvant(const Checkpoint& checkpoint, const Json& config, const Where& where) {
  const Json* version = config.find("version");
  if (version == nullptr || version->as_uint64() != kKvantVersion)
    return fail(
        ErrorCode::unsupported,
        "quantization_config has a version that this kvant does not read, expected " + std::to_string(kKvantVersion),
        where);
  const Json* tensors = config.find("tensors");
  if (tensors == nullptr || !tensors->is_object()) return bad_config("lacks the object \"tensors\"", where);
  std::vector<QuantizedWeight> weights;
  for (const auto& [name, value] : tensors->members()) {
    const std::string* text = value.as_string();
    if (text == nullptr) return bad_config("names no scheme for " + name, where);
    auto scheme = parse_scheme(*text);
    if (!scheme || scheme->is_cast())
      return bad_config("has '" + *text + "' for " + name + ", which is no scheme", where);
    const auto shape = shape_of(checkpoint, name);
    if (!shape) return propagate(shape);
    weights.push_back({name, *scheme, shape->rows, shape->cols});
  }
  return weights;
}

/// The number of rows and columns of a block; zeros where there are none.
MatrixShape block_of(const Json& args) {
  const Json* block = args.find("block_structure");
  if (block == nullptr || block->items().size() != 2) return {0, 0};
  return {block->items()[0].as_uint64().value_or(0), block->items()[1].as_uint64().value_or(0)};
}

/// The scheme of a group's weights; the type of their scales is told by the tensors, where there is a choice.
Result<Scheme> ct_weight_scheme(const Json& args, const Where& where) {
  const Json* bits = args.find("num_bits");
  const std::uint64_t width = bits != nullptr ? bits->as_uint64().value_or(0) : 0;
  const bool is_float = text_of(args, "type") == "float";
  const std::string_view strategy = text_of(args, "strategy");
  const Json* size = args.find("group_size");
  const std::uint64_t group_size = size != nullptr ? size->as_uint64().value_or(0) : 0;
  if (is_float && width == 4) {
    if (strategy == "tensor_group" && group_size == 16) return parse_scheme("nvfp4");
    if (strategy == "group" && group_size == 32) return parse_scheme("mxfp4");
  }
  if (is_float && width == 8 && strategy == "group" && group_size == 32) return parse_scheme("mxfp8_e4m3fn");
  const auto format = format_from_name(is_float ? "fp8_e4m3fn" : "int" + std::to_string(width));
  if (!format || format_info(*format).bits != width)
    return fail(ErrorCode::unsupported, "quantization_config has weights of a type that kvant does not read", where);
  Scheme s;
  s.format = *format;
  const MatrixShape block = block_of(args);
  if (strategy == "group" && group_size != 0)
    s.granularity = PerGroup{static_cast<std::size_t>(group_size)};
  else if (strategy == "channel")
    s.granularity = PerChannel{};
  else if (strategy == "tensor")
    s.granularity = PerTensor{};
  else if (strategy == "block" && block.rows != 0 && block.cols != 0)
    s.granularity = PerBlock{static_cast<std::size_t>(block.rows), static_cast<std::size_t>(block.cols)};
  else
    return fail(ErrorCode::unsupported,
                "quantization_config has the strategy '" + std::string(strategy) +
                    "' for weights of this type, expected group, channel, tensor or block",
                where);
  const Json* symmetric = args.find("symmetric");
  if (symmetric != nullptr && symmetric->as_bool() == false) s.symmetry = Symmetry::asymmetric;
  return s;
}

/// The scheme of one config group.
Result<Scheme> ct_scheme(const Json& group, const Where& where) {
  const Json* args = group.find("weights");
  if (args == nullptr || !args->is_object()) return bad_config("has a group without weights", where);
  auto s = ct_weight_scheme(*args, where);
  if (!s) return s;
  if (!check_scheme(*s, to_text(*s)))
    return fail(ErrorCode::unsupported, "quantization_config has weights like " + to_text(*s) + ", which is no scheme",
                where);
  const Json* input = group.find("input_activations");
  if (input == nullptr || input->is_null()) return s;
  const Json* dynamic = input->find("dynamic");
  const Json* input_symmetric = input->find("symmetric");
  const Json* input_bits = input->find("num_bits");
  if (dynamic == nullptr || dynamic->as_bool() != true || text_of(*input, "strategy") != "token" ||
      text_of(*input, "type") != "int" || input_bits == nullptr || input_bits->as_uint64() != 8u ||
      (input_symmetric != nullptr && input_symmetric->as_bool() == false))
    return fail(ErrorCode::unsupported,
                "quantization_config has activations other than dynamic symmetric int8 per token", where);
  s->activation = ActivationScheme{};
  return s;
}

struct CtGroup {
  Scheme scheme;
  std::vector<std::string> targets;
};

Result<std::vector<CtGroup>> ct_groups(const Json& config, const Where& where) {
  const Json* groups = config.find("config_groups");
  if (groups == nullptr || !groups->is_object()) return bad_config("lacks the object \"config_groups\"", where);
  std::vector<CtGroup> result;
  for (const auto& [key, value] : groups->members()) {
    const auto scheme = ct_scheme(value, where);
    if (!scheme) return propagate(scheme);
    CtGroup group{*scheme, {}};
    const Json* targets = value.find("targets");
    for (const Json& target : targets != nullptr ? targets->items() : std::span<const Json>{}) {
      const std::string* text = target.as_string();
      if (text == nullptr) return bad_config("has a target that is no text", where);
      if (text->starts_with("re:"))
        return fail(ErrorCode::unsupported,
                    "quantization_config has the pattern target '" + *text + "', expected names or Linear", where);
      group.targets.push_back(*text);
    }
    result.push_back(std::move(group));
  }
  return result;
}

std::optional<FormatId> scale_type(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return format_id<fp16>;
    case DType::bf16:
      return format_id<bf16>;
    case DType::f32:
      return format_id<fp32>;
    default:
      return std::nullopt;
  }
}

Result<std::vector<QuantizedWeight>> read_ct(const Checkpoint& checkpoint, const Json& config, const Where& where) {
  const auto groups = ct_groups(config, where);
  if (!groups) return propagate(groups);
  std::vector<QuantizedWeight> weights;
  constexpr std::string_view kScale = ".weight_scale";
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (!std::string_view(tensor.name).ends_with(kScale)) continue;
    const std::string module = tensor.name.substr(0, tensor.name.size() - kScale.size());
    const auto group = std::find_if(groups->begin(), groups->end(), [&](const CtGroup& g) {
      return std::find_if(g.targets.begin(), g.targets.end(),
                          [&](const std::string& t) { return t == module || t == "Linear"; }) != g.targets.end();
    });
    if (group == groups->end())
      return fail(ErrorCode::bad_metadata, "belongs to no config group", {where.file, tensor.name, {}});
    const bool is_fixed = block_format(group->scheme) != nullptr;
    const auto scale = is_fixed ? std::optional(group->scheme.scale_type) : scale_type(tensor.dtype);
    if (!scale)
      return fail(ErrorCode::bad_metadata,
                  "is " + std::string(dtype_info(tensor.dtype).name) + ", expected F16, BF16 or F32",
                  {where.file, tensor.name, {}});
    QuantizedWeight w{module + std::string(kWeight), group->scheme, 0, 0};
    w.scheme.scale_type = *scale;
    const auto shape = shape_of(checkpoint, w.name);
    if (!shape) return propagate(shape);
    w.rows = shape->rows;
    w.cols = shape->cols;
    if (const auto why = beyond_compressed_tensors(w))
      return fail(ErrorCode::unsupported, *why, {where.file, w.name, {}});
    weights.push_back(std::move(w));
  }
  return weights;
}

}  // namespace

Json quantization_config(std::span<const QuantizedWeight> weights, std::span<const std::string> ignored,
                         Convention convention) {
  if (convention == Convention::compressed_tensors) return ct_config(weights, ignored);
  Json tensors = Json::object();
  for (const QuantizedWeight& w : weights) tensors.set(w.name, to_text(w.scheme));
  Json config = Json::object();
  config.set("quant_method", "kvant");
  config.set("version", kKvantVersion);
  config.set("tensors", std::move(tensors));
  return config;
}

Result<std::optional<StoredWeights>> find_stored_weights(const Checkpoint& checkpoint) {
  return guarded([&]() -> Result<std::optional<StoredWeights>> {
    const Where where{
        checkpoint.is_folder() ? (checkpoint.path() / "config.json").string() : checkpoint.path().string(), {}, {}};
    const auto config = find_config(checkpoint, where);
    if (!config) return propagate(config);
    if (!*config) return std::optional<StoredWeights>{};
    const std::string_view method = text_of(**config, "quant_method");
    const bool is_ct = method == "compressed-tensors";
    if (!is_ct && method != "kvant")
      return fail(ErrorCode::unsupported,
                  "quant_method is '" + std::string(method) + "', expected kvant or compressed-tensors", where);
    auto weights = is_ct ? read_ct(checkpoint, **config, where) : read_kvant(checkpoint, **config, where);
    if (!weights) return propagate(weights);
    return std::optional<StoredWeights>(
        StoredWeights{is_ct ? Convention::compressed_tensors : Convention::kvant, std::move(*weights)});
  });
}

}  // namespace kvant::io
