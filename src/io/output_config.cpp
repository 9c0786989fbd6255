// SPDX-License-Identifier: Apache-2.0
#include "output_config.hpp"

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "json_edit.hpp"
#include "kvant/io/checkpoint.hpp"
#include "kvant/io/input_file.hpp"

namespace kvant::io {
namespace {

constexpr const char* kQuantization = "quantization_config";

std::string torch_dtype(FormatId format) {
  return format == format_id<fp16> ? "float16" : format == format_id<bf16> ? "bfloat16" : "float32";
}

/// The type of floats, in the root and in the parts of a model of several (text_config, vision_config).
void add_dtype_edits(const Json& config, FormatId dtype, std::vector<JsonEdit>& edits) {
  const auto add = [&](const std::string& name, const Json& object) {
    for (const char* key : {"torch_dtype", "dtype"})
      if (const Json* value = object.find(key); value != nullptr && value->is_string())
        edits.push_back({name, key, Json(torch_dtype(dtype))});
  };
  add("", config);
  for (const Json::Member& member : config.members())
    if (member.key.ends_with("_config") && member.value.is_object() && member.key != kQuantization)
      add(member.key, member.value);
}

}  // namespace

Result<std::optional<std::string>> output_config(const SourceInfo& source, const std::optional<Json>& quantization,
                                                 std::optional<FormatId> dtype) {
  if (!source.is_folder || (!source.config && !quantization)) return std::optional<std::string>{};
  std::string text = "{}";
  const std::filesystem::path path = source.path / "config.json";
  std::vector<JsonEdit> edits;
  if (source.config) {
    auto read = read_text_file(path, kConfigLimits.max_bytes);
    if (!read) return propagate(read);
    text = std::move(*read);
    if (dtype) add_dtype_edits(*source.config, *dtype, edits);
    const Json* earlier = source.config->find(kQuantization);
    if (!quantization && earlier != nullptr && !earlier->is_null()) edits.push_back({"", kQuantization, std::nullopt});
  }
  if (quantization) edits.push_back({"", kQuantization, quantization});
  auto edited = edit_json(std::move(text), edits, kConfigLimits, where_of(path));
  if (!edited) return propagate(edited);
  return std::optional<std::string>(std::move(*edited));
}

Metadata output_metadata(const SourceInfo& source, const std::optional<Json>& quantization) {
  Metadata metadata = source.metadata;
  metadata.erase(kQuantization);
  if (quantization && !source.is_folder) metadata[kQuantization] = to_text(*quantization);
  return metadata;
}

}  // namespace kvant::io
