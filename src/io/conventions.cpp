// SPDX-License-Identifier: Apache-2.0
// How other programs store quantized weights, as far as it takes to recognise them: by configuration, by the files
// beside the weights, by the tensors themselves.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "kvant/io/utf8.hpp"
#include "storage.hpp"

namespace kvant::io {
namespace {

struct Row {
  std::string_view key;  ///< quant_method, a file's name, or what a tensor's name ends in
  std::string_view name;
};

constexpr std::array kMethods{
    Row{"aqlm", "AQLM"},
    Row{"auto-round", "AutoRound"},
    Row{"autoround", "AutoRound"},
    Row{"awq", "AWQ"},
    Row{"bitnet", "BitNet"},
    Row{"bitsandbytes", "bitsandbytes"},
    Row{"eetq", "EETQ"},
    Row{"fbgemm_fp8", "FBGEMM FP8"},
    Row{"gptq", "GPTQ"},
    Row{"higgs", "HIGGS"},
    Row{"hqq", "HQQ"},
    Row{"modelopt", "ModelOpt"},
    Row{"quanto", "quanto"},
    Row{"quark", "Quark"},
    Row{"spqr", "SpQR"},
    Row{"torchao", "torchao"},
    Row{"vptq", "VPTQ"},
};

/// Files that lie beside the weights.
constexpr std::array kFiles{
    Row{"quantize_config.json", "GPTQ (AutoGPTQ)"},
    Row{"quant_config.json", "AWQ (AutoAWQ)"},
    Row{"hf_quant_config.json", "ModelOpt"},
};

/// Tensors that no float checkpoint has.
constexpr std::array kTensors{
    Row{".qweight", "GPTQ or AWQ"},
    Row{".qzeros", "GPTQ or AWQ"},
    Row{".weight_packed", "compressed-tensors, without its configuration"},
    Row{".weight_scale", "FP8 or compressed-tensors, without a configuration"},
    Row{".weight_scale_inv", "fine-grained FP8"},
    Row{".weight_scale_2", "ModelOpt"},
    Row{".weight_zero_point", "compressed-tensors, without its configuration"},
    Row{".absmax", "bitsandbytes"},
    Row{".nested_absmax", "bitsandbytes"},
    Row{".quant_map", "bitsandbytes"},
    Row{".SCB", "bitsandbytes"},
    Row{"quant_state.bitsandbytes__nf4", "bitsandbytes"},
    Row{"quant_state.bitsandbytes__fp4", "bitsandbytes"},
    Row{".W_q", "HQQ"},
    Row{".weight_scales", "EETQ or BitBLAS"},
    Row{".weight._data", "quanto"},
    Row{".weight._scale", "quanto"},
    Row{".scale_weight", "scaled FP8"},
    Row{".codebooks", "AQLM"},
    Row{"_blocks", "MXFP4 of gpt-oss"},  // with U8 numbers, see below
};

template <class Rows>
std::string name_of(const Rows& rows, std::string_view key) {
  for (const Row& row : rows)
    if (row.key == key) return std::string(row.name);
  return "'" + printable(key, 60) + "'";
}

bool is_set(const Json* value) { return value != nullptr && value->is_object() && !value->members().empty(); }

/// What an object that configures quantization belongs to; "" where it is one of ours to read.
std::string method_of(const Json& config) {
  if (!read_convention(config).empty()) return "";
  const std::string_view method = text_of(config, "quant_method");
  if (!method.empty()) return name_of(kMethods, method);
  if (config.find("quant_algo") != nullptr || config.find("producer") != nullptr) return "ModelOpt";
  if (config.find("load_in_4bit") != nullptr || config.find("load_in_8bit") != nullptr) return "bitsandbytes";
  if (config.find("w_bit") != nullptr) return "AWQ";
  if (config.find("desc_act") != nullptr) return "GPTQ";
  if (config.find("group_size") != nullptr && config.find("bits") != nullptr) return "mlx";
  return "a program that it does not name";
}

std::optional<ForeignConvention> by_configuration(const Json& config) {
  if (const Json* own = config.find("quantization_config"); is_set(own))
    if (std::string name = method_of(*own); !name.empty())
      return ForeignConvention{std::move(name), "quantization_config"};
  if (const Json* old = config.find("compression_config"); is_set(old))
    return ForeignConvention{"compressed-tensors before its configuration was called quantization_config",
                             "compression_config"};
  if (const Json* mlx = config.find("quantization"); is_set(mlx)) return ForeignConvention{"mlx", "quantization"};
  for (const Json::Member& m : config.members()) {  // a model of several parts
    const Json* inner = m.key.ends_with("_config") ? m.value.find("quantization_config") : nullptr;
    if (!is_set(inner)) continue;
    std::string name = method_of(*inner);
    return ForeignConvention{
        name.empty() ? std::string(text_of(*inner, "quant_method")) + " for a part of the model" : name,
        m.key + ".quantization_config"};
  }
  return std::nullopt;
}

std::optional<ForeignConvention> by_tensors(const Checkpoint& checkpoint) {
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    for (const Row& row : kTensors)
      if (t.name.ends_with(row.key) && (row.key != "_blocks" || t.dtype == DType::u8))
        return ForeignConvention{std::string(row.name), "the tensor " + t.name};
    if (!holds_codes(t)) continue;
    const bool mlx = t.dtype == DType::u32 && checkpoint.find(module_of(t.name) + ".scales") != nullptr;
    return ForeignConvention{
        mlx ? "mlx" : "a program that it does not name: codes of " + std::string(dtype_info(t.dtype).name),
        "the tensor " + t.name};
  }
  return std::nullopt;
}

}  // namespace

bool holds_codes(const CheckpointTensor& t) noexcept {
  const DTypeInfo& info = dtype_info(t.dtype);
  if (t.shape.size() < 2) return false;
  if (info.is_float && info.bits <= 8) return true;
  return t.name.ends_with(".weight") &&
         (t.dtype == DType::u8 || t.dtype == DType::i8 || t.dtype == DType::i32 || t.dtype == DType::u32);
}

std::optional<ForeignConvention> find_foreign_convention(const Checkpoint& checkpoint) {
  if (const auto format = checkpoint.metadata().find("format");
      format != checkpoint.metadata().end() && format->second == "kvant-packed")
    return ForeignConvention{"kvant-packed, which programs map (io::PackedFile)", "its metadata"};
  bool has_own = checkpoint.metadata().contains("quantization_config");
  if (checkpoint.config()) {
    if (auto found = by_configuration(*checkpoint.config())) return found;
    has_own = is_set(checkpoint.config()->find("quantization_config"));
  } else if (has_own) {
    const auto parsed = parse_json(checkpoint.metadata().at("quantization_config"));
    if (std::string name = parsed ? method_of(*parsed) : ""; !name.empty())
      return ForeignConvention{std::move(name), "quantization_config of its metadata"};
  }
  if (has_own) return std::nullopt;
  for (const Row& row : kFiles)
    if (std::find(checkpoint.side_files().begin(), checkpoint.side_files().end(), row.key) !=
        checkpoint.side_files().end())
      return ForeignConvention{std::string(row.name), std::string(row.key)};
  return by_tensors(checkpoint);
}

}  // namespace kvant::io
