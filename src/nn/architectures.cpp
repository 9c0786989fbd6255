// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/architectures.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "core/guard.hpp"

namespace kvant::nn {
namespace {

using io::Json;

std::string quoted(std::string_view text) {
  std::string result(1, '"');
  result += text;
  result += '"';
  return result;
}

/// Takes values from one config.json; the first error is kept, and everything after it reads as defaults.
class ConfigReader {
 public:
  ConfigReader(const Json& json, const Where& where) : json_(json), where_(where) {}

  Result<ModelConfig> read() {
    ModelConfig config;
    if (!find_architecture(config)) return tl::unexpected<Error>(std::move(*error_));
    const ConfigKeys& keys = config.architecture->keys;
    read_sizes(keys, config);
    config.norm_epsilon = static_cast<float>(number(json_, keys.norm_epsilon, std::nullopt));
    if (!(config.norm_epsilon >= 0 && std::isfinite(config.norm_epsilon)))
      bad(keys.norm_epsilon, "is no finite number >= 0");
    config.attention_bias = flag(keys.attention_bias);
    config.ffn_bias = flag(keys.ffn_bias);
    config.tied = flag(keys.tied);
    read_positions(keys, config);
    refuse_other_computations(*config.architecture, config);
    if (error_) return tl::unexpected<Error>(std::move(*error_));
    return config;
  }

 private:
  /// The value under `key`; null counts as absent, as in transformers.
  static const Json* present(const Json& object, std::string_view key) {
    const Json* value = object.find(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  void set_error(ErrorCode code, std::string message) {
    if (!error_) error_ = Error{code, std::move(message), where_};
  }
  void bad(std::string_view key, const std::string& why) {
    const Json* value = present(json_, key);
    const std::string found = value != nullptr ? ": " + io::to_text(*value).substr(0, 100) : "";
    set_error(ErrorCode::bad_config, quoted(key) + " " + why + found);
  }
  void unsupported(std::string_view key, const Json& value, const std::string& expected) {
    set_error(ErrorCode::unsupported, quoted(key) + " is " + io::to_text(value).substr(0, 200) +
                                          ", which the forward pass does not compute; expected " + expected);
  }

  bool find_architecture(ModelConfig& config) {
    if (!json_.is_object()) {
      set_error(ErrorCode::bad_config, "is no JSON object");
      return false;
    }
    const Json* type = present(json_, "model_type");
    const std::string* name = type != nullptr ? type->as_string() : nullptr;
    if (name == nullptr) {
      bad("model_type", "is missing or no string; it names the architecture");
      return false;
    }
    if (const Architecture* row = nn::find_architecture(json_)) {
      config.architecture = row;
      return is_language_model(*row);
    }
    std::string known;
    for (const Architecture& row : kArchitectures) known += (known.empty() ? "" : ", ") + std::string(row.model_type);
    unsupported("model_type", *type, "one of: " + known);
    return false;
  }

  bool is_language_model(const Architecture& row) {
    const Json* classes = present(json_, "architectures");
    if (classes == nullptr) return true;
    for (const Json& c : classes->items())
      if (const std::string* name = c.as_string(); name != nullptr && *name == row.class_name) return true;
    unsupported("architectures", *classes, quoted(row.class_name) + " among them");
    return false;
  }

  void read_sizes(const ConfigKeys& keys, ModelConfig& config) {
    config.hidden = size(keys.hidden, std::nullopt);
    config.ffn = size(keys.ffn, std::nullopt);
    config.layers = size(keys.layers, std::nullopt);
    config.heads = size(keys.heads, std::nullopt);
    config.kv_heads = size(keys.kv_heads, config.heads);
    config.vocabulary = size(keys.vocabulary, std::nullopt);
    config.max_positions = size(keys.max_positions, std::nullopt);
    if (present(json_, keys.head_dim) == nullptr && config.hidden % config.heads != 0)
      bad(keys.hidden, "is no multiple of " + quoted(keys.heads) + ", and " + quoted(keys.head_dim) + " is missing");
    config.head_dim = size(keys.head_dim, config.hidden / config.heads);
    if (config.head_dim % 2 != 0) bad(keys.head_dim, "is odd; positions rotate pairs of elements");
    if (config.heads % config.kv_heads != 0) bad(keys.kv_heads, "does not divide " + quoted(keys.heads));
  }

  void read_positions(const ConfigKeys& keys, ModelConfig& config) {
    config.rope_theta = number(json_, keys.rope_theta, 10000.0);
    for (const std::string_view key : {std::string_view("rope_scaling"), std::string_view("rope_parameters")}) {
      const Json* rope = present(json_, key);
      if (rope == nullptr) continue;
      const Json* type = present(*rope, "rope_type");
      if (type == nullptr) type = present(*rope, "type");
      if (type == nullptr || type->as_string() == nullptr || *type->as_string() != "default")
        unsupported(key, *rope, "null, or the rope_type \"default\"");
      refuse_partial_rotation(*rope);
      if (present(*rope, keys.rope_theta) == nullptr) continue;
      const double theta = number(*rope, keys.rope_theta, std::nullopt);
      if (present(json_, keys.rope_theta) != nullptr && theta != config.rope_theta)
        bad(keys.rope_theta, "differs from the one in " + quoted(key));
      config.rope_theta = theta;
    }
    refuse_partial_rotation(json_);
    if (!(config.rope_theta > 0 && std::isfinite(config.rope_theta)))
      bad(keys.rope_theta, "is no finite number above 0");
  }

  void refuse_partial_rotation(const Json& object) {
    const Json* factor = present(object, "partial_rotary_factor");
    if (factor != nullptr && factor->as_double() != 1.0) unsupported("partial_rotary_factor", *factor, "1");
  }

  void refuse_other_computations(const Architecture& row, const ModelConfig& config) {
    const Json* activation = present(json_, row.keys.activation);
    if (activation != nullptr &&
        (activation->as_string() == nullptr || *activation->as_string() != row.activation_name))
      unsupported(row.keys.activation, *activation, quoted(row.activation_name));
    const Json* window = present(json_, "sliding_window");
    if (window != nullptr && window->as_uint64().value_or(0) < config.max_positions)
      unsupported("sliding_window", *window, "null, or at least " + quoted(row.keys.max_positions));
  }

  /// An integer from 1 to 2^31 - 1. After an error: 1, so that sizes can be divided by.
  std::size_t size(std::string_view key, std::optional<std::size_t> otherwise) {
    const Json* value = present(json_, key);
    if (value == nullptr && otherwise) return *otherwise;
    const auto n = value != nullptr ? value->as_uint64() : std::nullopt;
    if (n && *n >= 1 && *n <= INT32_MAX) return static_cast<std::size_t>(*n);
    bad(key, value != nullptr ? "is no integer from 1 to 2^31 - 1" : "is missing");
    return 1;
  }

  double number(const Json& object, std::string_view key, std::optional<double> otherwise) {
    const Json* value = present(object, key);
    if (value == nullptr && otherwise) return *otherwise;
    const auto n = value != nullptr ? value->as_double() : std::nullopt;
    if (!n) bad(key, value != nullptr ? "is no number" : "is missing");
    return n.value_or(1);
  }

  bool flag(std::string_view key) {
    const Json* value = present(json_, key);
    const auto on = value != nullptr ? value->as_bool() : std::optional<bool>(false);
    if (!on) bad(key, "is neither true nor false");
    return on.value_or(false);
  }

  const Json& json_;
  const Where& where_;
  std::optional<Error> error_;
};

}  // namespace

const Architecture* find_architecture(const Json& config) noexcept {
  const Json* type = config.find("model_type");
  const std::string* name = type != nullptr ? type->as_string() : nullptr;
  for (const Architecture& row : kArchitectures)
    if (name != nullptr && *name == row.model_type) return &row;
  return nullptr;
}

std::string joined_with(std::string_view tensor) {
  constexpr std::string_view kWeight = ".weight";
  struct Member {
    std::string_view name, set;
  };
  constexpr std::array kMembers{Member{"q_proj", "q k v"},      Member{"k_proj", "q k v"},    Member{"v_proj", "q k v"},
                                Member{"query", "q k v"},       Member{"key", "q k v"},       Member{"value", "q k v"},
                                Member{"gate_proj", "gate up"}, Member{"up_proj", "gate up"}, Member{"w1", "w1 w3"},
                                Member{"w3", "w1 w3"}};
  if (!tensor.ends_with(kWeight)) return "";
  tensor.remove_suffix(kWeight.size());
  const std::size_t dot = tensor.rfind('.') + 1;
  for (const Member& m : kMembers)
    if (tensor.substr(dot) == m.name) return std::string(tensor.substr(0, dot)) + std::string(m.set);
  return "";
}

Result<ModelConfig> read_model_config(const Json& config, const Where& where) {
  return guarded([&] { return ConfigReader(config, where).read(); });
}

}  // namespace kvant::nn
