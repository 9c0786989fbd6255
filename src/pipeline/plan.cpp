// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/plan.hpp"

#include <algorithm>
#include <array>

#include "io/name_pattern.hpp"

namespace kvant::pipeline {
namespace {

constexpr std::array<std::string_view, 13> kSkipped{"embed",        "wte",    "wpe",       "lm_head", "norm",
                                                    "ln_",          "router", "mlp.gate.", "vision",  "visual",
                                                    "mm_projector", "pooler", "classifier"};

bool is_plain_float(DType dtype) noexcept {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
}

/// Whether a scheme can be given to a weight at all. Rows of nothing, however many, are copied.
bool applies(const io::WeightInfo& weight, const Scheme& scheme) noexcept {
  return is_plain_float(weight.dtype) && (scheme.is_cast() || (weight.shape.size() == 2 && weight.shape[1] != 0));
}

bool quantized_by_default(const io::WeightInfo& weight, const Scheme& scheme) noexcept {
  if (!applies(weight, scheme)) return false;
  if (scheme.is_cast()) return true;
  if (!weight.name.ends_with(".weight")) return false;
  return std::none_of(kSkipped.begin(), kSkipped.end(),
                      [&](std::string_view part) { return weight.name.find(part) != std::string::npos; });
}

TensorPlan decide(const io::WeightInfo& weight, const Scheme& scheme, std::string rule) {
  return {weight.name, scheme.is_cast() ? Action::cast : Action::quantize, scheme, std::move(rule)};
}

/// How often a rule matched, and how often it was the first to.
struct Hits {
  std::size_t matched = 0;
  std::size_t decided = 0;
};

}  // namespace

std::span<const std::string_view> skipped_by_default() noexcept { return kSkipped; }

std::string_view action_name(Action action) noexcept {
  switch (action) {
    case Action::quantize:
      return "quantize";
    case Action::cast:
      return "cast";
    case Action::copy:
      break;
  }
  return "copy";
}

Rule skip_rule(std::string_view pattern) {
  return {std::string(pattern), std::nullopt, "--skip " + std::string(pattern)};
}

Result<Rule> parse_rule(std::string_view text) {
  const std::size_t at = text.rfind('=');
  if (at == std::string_view::npos || at == 0)
    return fail(ErrorCode::bad_recipe,
                "rule '" + std::string(text) + "', expected PATTERN=SCHEME, as '.*down_proj.*=int8-channel'");
  auto scheme = parse_scheme(text.substr(at + 1));
  if (!scheme) return propagate(scheme);
  return Rule{std::string(text.substr(0, at)), *scheme, std::string(text)};
}

namespace {

/// What no checkpoint can hold, or nothing here can choose.
Status check_storable(const Scheme& scheme) {
  if (!is_listed(scheme.format) || !is_listed(scheme.scale_type))
    return fail(ErrorCode::unsupported,
                "the format " + std::string(scheme.info().name) +
                    " is the program's own: no file holds its levels, so none could be read back");
  if (scheme.activation && scheme.activation->is_static)
    return fail(ErrorCode::unsupported, "scheme '" + to_text(scheme) +
                                            "': static activations take calibration, which there is none of yet; "
                                            "dynamic ones, as int8-token, need none");
  return {};
}

Status check_storable(const PlanOptions& options) {
  if (const Status ok = check_storable(options.scheme); !ok) return ok;
  for (const Rule& rule : options.rules)
    if (rule.scheme)
      if (const Status ok = check_storable(*rule.scheme); !ok) return ok;
  return {};
}

}  // namespace

Result<Plan> make_plan(const io::Weights& weights, const PlanOptions& options) {
  if (const Status ok = check_storable(options); !ok) return propagate(ok);
  std::vector<io::NamePattern> patterns;
  for (const Rule& rule : options.rules) {
    auto pattern = io::NamePattern::compile(rule.pattern);
    if (!pattern) return propagate(pattern);
    patterns.push_back(std::move(*pattern));
  }
  Plan plan;
  std::vector<Hits> hits(options.rules.size());
  for (const io::WeightInfo& weight : weights.list()) {
    if (weight.scheme)
      return fail(ErrorCode::unsupported,
                  "is quantized already (" + to_text(*weight.scheme) + "); run 'kvant dequantize' first",
                  {weights.checkpoint().path().string(), weight.name, {}});
    TensorPlan tensor{weight.name, Action::copy, {}, ""};
    if (quantized_by_default(weight, options.scheme)) tensor = decide(weight, options.scheme, "default");
    bool decided = false;
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      const Rule& rule = options.rules[i];
      const auto matched = patterns[i].matches(weight.name);
      if (!matched) return propagate(matched);
      if (!*matched || (rule.scheme && !applies(weight, *rule.scheme))) continue;
      ++hits[i].matched;
      if (decided) continue;
      decided = true;
      ++hits[i].decided;
      tensor =
          rule.scheme ? decide(weight, *rule.scheme, rule.text) : TensorPlan{weight.name, Action::copy, {}, rule.text};
    }
    plan.tensors.push_back(std::move(tensor));
  }
  for (std::size_t i = 0; i < hits.size(); ++i) {
    if (hits[i].matched == 0)
      return fail(ErrorCode::rule_matches_nothing,
                  "rule '" + options.rules[i].text +
                      "' matches no tensor that it could apply to; patterns match whole "
                      "names, see 'kvant inspect'",
                  {weights.checkpoint().path().string(), {}, {}});
    if (hits[i].decided == 0)
      plan.warnings.push_back("rule '" + options.rules[i].text + "' is shadowed by earlier rules");
  }
  return plan;
}

}  // namespace kvant::pipeline
