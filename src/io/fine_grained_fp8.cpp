// SPDX-License-Identifier: Apache-2.0
// Fine-grained FP8, as DeepSeek-V3 and Qwen3-FP8 are published: X.weight in E4M3, X.weight_scale_inv with a factor for
// each block of it. Sources: transformers integrations/finegrained_fp8.py, DeepSeek-V3 inference/kernel.py.
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "kvant/io/utf8.hpp"
#include "storage.hpp"

namespace kvant::io {
namespace {

constexpr std::string_view kScale = ".weight_scale_inv";

/// What the configuration says.
struct Fp8Config {
  MatrixShape block{0, 0};
  std::optional<ActivationScheme> activation;
  std::string not_computed;
};

/// [rows, columns] of a block.
Result<MatrixShape> read_block(const Json& config, const Where& where) {
  const Json* size = config.find("weight_block_size");
  if (size == nullptr || size->is_null())
    return fail(ErrorCode::unsupported,
                "quantization_config has no weight_block_size: FP8 with a scale for a whole weight is not read", where);
  MatrixShape block{0, 0};
  if (size->items().size() == 2)
    block = {size->items()[0].as_uint64().value_or(0), size->items()[1].as_uint64().value_or(0)};
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (block.rows == 0 || block.cols == 0 || block.rows > kMost || block.cols > kMost)
    return fail(
        ErrorCode::bad_config,
        "quantization_config has a weight_block_size that is no [rows, columns]: " + printable(to_text(*size), 80),
        where);
  return block;
}

/// Inputs are rounded in groups as wide as a block, as compressed-tensors does it by group.
Status read_activations(const Json& config, const Where& where, Fp8Config& out) {
  const Json* scheme = config.find("activation_scheme");
  const std::string_view name =
      scheme == nullptr || scheme->is_null() ? "dynamic" : text_of(config, "activation_scheme");
  const std::string_view scales = text_of(config, "scale_fmt");
  if (name != "dynamic" && name != "static")
    return fail(ErrorCode::unsupported,
                "quantization_config has the activation_scheme " + printable(to_text(*scheme), 60) +
                    ", expected dynamic or static",
                where);
  if (name == "static")
    out.not_computed = "static input activations in blocks";
  else if (!scales.empty() && scales != "float")
    out.not_computed = "input activations under scales of the scale_fmt '" + printable(scales, 40) + "'";
  else
    out.activation = ActivationScheme{format_id<fp8_e4m3fn>, PerGroup{static_cast<std::size_t>(out.block.cols)}};
  return {};
}

Result<Fp8Config> read_config(const Json& config, const Where& where) {
  // Which layers stay float the tensors say; `dequantize` asks a loader for floats.
  constexpr std::array<std::string_view, 8> kKeys{"quant_method",      "fmt",       "activation_scheme",
                                                  "weight_block_size", "scale_fmt", "modules_to_not_convert",
                                                  "ignored_layers",    "dequantize"};
  if (const Status ok = check_keys(config, kKeys, "", where); !ok) return propagate(ok);
  if (const Json* fmt = config.find("fmt"); fmt != nullptr && !fmt->is_null() && text_of(config, "fmt") != "e4m3")
    return fail(ErrorCode::unsupported,
                "quantization_config has the fmt " + printable(to_text(*fmt), 60) + ", expected e4m3", where);
  Fp8Config out;
  const auto block = read_block(config, where);
  if (!block) return propagate(block);
  out.block = *block;
  if (const Status ok = read_activations(config, where, out); !ok) return propagate(ok);
  return out;
}

/// The format of scales that are stored in that type; nothing where scales are not.
std::optional<FormatId> scale_format(DType dtype) noexcept {
  if (dtype == DType::f32) return format_id<fp32>;
  if (dtype == DType::bf16) return format_id<bf16>;
  if (dtype == DType::f16) return format_id<fp16>;
  if (dtype == DType::f8_e8m0) return format_id<e8m0>;
  return std::nullopt;
}

Result<StoredWeight> find_weight(const Checkpoint& checkpoint, const CheckpointTensor& scale, const Fp8Config& config) {
  StoredWeight w;
  w.name = scale.name.substr(0, scale.name.size() - kScale.size()) + ".weight";
  w.scale_suffix = "_scale_inv";
  const std::string file = checkpoint.path().string();
  const CheckpointTensor* codes = checkpoint.find(w.name);
  if (codes == nullptr)
    return fail(ErrorCode::bad_metadata, "is missing, but its scales are there", {file, w.name, {}});
  if (codes->dtype != DType::f8_e4m3 || codes->shape.size() != 2)
    return fail(ErrorCode::bad_metadata,
                "is " + std::string(dtype_info(codes->dtype).name) + " " + shape_text(codes->shape) +
                    ", expected F8_E4M3 in two dimensions, since it has scales of blocks",
                {file, w.name, {}});
  const auto type = scale_format(scale.dtype);
  if (!type)
    return fail(ErrorCode::bad_metadata,
                "is " + std::string(dtype_info(scale.dtype).name) + ", expected F32, BF16, F16 or F8_E8M0",
                {file, scale.name, {}});
  w.rows = codes->shape[0];
  w.cols = codes->shape[1];
  const PerBlock block{static_cast<std::size_t>(config.block.rows), static_cast<std::size_t>(config.block.cols)};
  w.scheme = {{.format = format_id<fp8_e4m3fn>, .granularity = block, .scales = {*type}}, config.activation};
  w.codes = {"", DType::f8_e4m3, w.cols};
  w.tensors = {w.name, scale.name};
  const Granularity& g = w.scheme.weight.granularity;
  if (const Status ok =
          check_stored(checkpoint, scale.name, scale.dtype, {{g.scale_rows(w.rows), g.scale_cols(w.cols)}});
      !ok)
    return propagate(ok);
  return w;
}

/// Other codes and scales would be taken for numbers.
Status check_left_over(const Checkpoint& checkpoint, const StoredWeights& found) {
  std::unordered_set<std::string_view> used;
  for (const StoredWeight& w : found.weights) used.insert(w.tensors.begin(), w.tensors.end());
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    const bool part = t.name.find(".weight_scale") != std::string::npos || t.name.ends_with(".input_scale") ||
                      t.name.ends_with(".activation_scale");
    if ((part || holds_codes(t)) && !used.contains(t.name))
      return fail(ErrorCode::bad_metadata, "belongs to a quantized weight, but the configuration gives it no meaning",
                  {checkpoint.path().string(), t.name, {}});
  }
  return {};
}

}  // namespace

Result<StoredWeights> read_fine_grained_fp8(const Checkpoint& checkpoint, const Json& json, const Where& where) {
  const auto config = read_config(json, where);
  if (!config) return propagate(config);
  StoredWeights result;
  result.convention = read_convention(json);
  result.not_computed = config->not_computed;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    if (!t.name.ends_with(kScale)) continue;
    auto weight = find_weight(checkpoint, t, *config);
    if (!weight) return propagate(weight);
    result.weights.push_back(std::move(*weight));
  }
  if (const Status ok = check_left_over(checkpoint, result); !ok) return propagate(ok);
  return result;
}

}  // namespace kvant::io
