// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/families.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "config_reader.hpp"
#include "core/guard.hpp"
#include "families/decoder.hpp"
#include "step_builder.hpp"

namespace kvant::nn {
namespace {

/// Remote code of the hub spells some names in other cases.
bool same_class(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return (x | 0x20) == (y | 0x20); });
}

bool is_computed_class(ConfigReader& c, const Family& family) {
  if (!c.has("architectures")) return true;
  std::string expected;
  for (std::string_view rest = family.classes; !rest.empty();) {
    const std::string_view one = rest.substr(0, rest.find(", "));
    rest.remove_prefix(std::min(rest.size(), one.size() + 2));
    expected += (expected.empty() ? "" : " or ") + in_quotes(one);
    for (const io::Json& item : c.find("architectures")->items())
      if (const std::string* name = item.as_string(); name != nullptr && same_class(*name, one)) return true;
  }
  c.unsupported("architectures", expected + " among them");
  return false;
}

const Family* family_of(ConfigReader& c) {
  if (!c.json().is_object()) {
    c.set_error(ErrorCode::bad_config, "is no JSON object");
    return nullptr;
  }
  const io::Json* type = c.find("model_type");
  if (type == nullptr || type->as_string() == nullptr) {
    c.bad("model_type", "is missing or no string; it names the family");
    return nullptr;
  }
  if (const Family* family = find_family(c.json())) return is_computed_class(c, *family) ? family : nullptr;
  std::string known;
  for (const Family* f : families()) known += (known.empty() ? "" : ", ") + std::string(f->model_type);
  c.unsupported("model_type", "one of: " + known);
  return nullptr;
}

Result<ModelConfig> read_config(const io::Json& json, const Where& where, const io::Weights* weights) {
  ConfigReader c(json, where);
  ModelConfig config;
  config.family = family_of(c);
  if (config.family != nullptr) {
    StepBuilder builder(config, weights);
    config.family->write(c, builder);
    if (builder.is_full()) c.set_error(ErrorCode::limit, "asks for more tensors or steps than any model has");
  }
  if (c.failed()) return tl::unexpected<Error>(c.take_error());
  return config;
}

}  // namespace

std::span<const Family* const> families() {
  static const std::vector<const Family*> all = [] {
    std::vector<const Family*> rows;
    for (const std::span<const Family> kind :
         {dense_families(), early_families(), expert_families(), encoder_families()})
      for (const Family& family : kind) rows.push_back(&family);
    return rows;
  }();
  return all;
}

const Family* find_family(const io::Json& config) noexcept {
  const io::Json* type = config.find("model_type");
  const std::string* name = type != nullptr ? type->as_string() : nullptr;
  if (name == nullptr) return nullptr;
  for (const Family* family : families())
    if (*name == family->model_type) return family;
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

Result<ModelConfig> read_model_config(const io::Json& config, const Where& where, const io::Weights* weights) {
  return guarded([&] { return read_config(config, where, weights); });
}

}  // namespace kvant::nn
