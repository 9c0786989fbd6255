// SPDX-License-Identifier: Apache-2.0
#include "kvant/pipeline/plan.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "io/name_pattern.hpp"
#include "known_tensors.hpp"
#include "kvant/io/utf8.hpp"
#include "kvant/nn/families.hpp"
#include "kvant/nn/heads.hpp"
#include "kvant/quant/rows.hpp"
#include "orientation.hpp"

namespace kvant::pipeline {
namespace {

constexpr std::string_view kWeight = ".weight";

/// The first row that fits has its say: parts of towers are called embeddings and heads, too.
constexpr std::array kKept{
    // What predicts several tokens ahead, which engines load as floats or not at all.
    KeptFloat{".mtp", "mtp"},
    KeptFloat{".eh_proj.", "mtp"},
    // Between modalities: small, and few engines give them a scheme.
    KeptFloat{"multi_modal_projector", "projector"},
    KeptFloat{"mm_projector", "projector"},
    KeptFloat{"modality_projection", "projector"},
    KeptFloat{"img_projection", "projector"},
    KeptFloat{"visual_projection", "projector"},
    KeptFloat{"text_projection", "projector"},
    KeptFloat{"connector", "projector"},
    KeptFloat{"aligner", "projector"},
    KeptFloat{"resampler", "projector"},
    KeptFloat{".mlp1.", "projector"},
    // Few engines load codes of a head, and every token's error passes through it.
    KeptFloat{".gen_head.", "head"},
    KeptFloat{"lm_head", "head"},
    KeptFloat{".cls.", "head"},
    KeptFloat{"vocab_transform", "head"},
    KeptFloat{"vocab_projector", "head"},
    KeptFloat{"embed_out", "head"},
    KeptFloat{"output_layer", "head"},
    KeptFloat{".score.", "head"},
    KeptFloat{".v_head.", "head"},
    KeptFloat{".output.weight", "head", true},
    // Towers, which engines run as floats.
    KeptFloat{"vision", "vision"},
    KeptFloat{"visual", "vision"},
    KeptFloat{"patch_embed", "vision"},
    KeptFloat{"audio_tower", "audio"},
    KeptFloat{".head.", "head"},
    // Rows of a table are looked up, and engines read it as floats.
    KeptFloat{"embed", "embedding"},
    KeptFloat{".emb.", "embedding"},
    KeptFloat{".wte.", "embedding"},
    KeptFloat{".wpe.", "embedding"},
    KeptFloat{".shared.weight", "embedding"},
    // Small, and a wrong choice of experts is worse than a wrong number.
    KeptFloat{"router", "router"},
    KeptFloat{".mlp.gate.", "router"},
    KeptFloat{".block_sparse_moe.gate.", "router"},
    KeptFloat{".feed_forward.gate.", "router"},
    KeptFloat{".mixer.gate.", "router"},
    KeptFloat{".moe.gate.", "router"},
    KeptFloat{".shared_expert_gate.", "router"},
    KeptFloat{"classifier", "classifier"},
    KeptFloat{"pooler", "pooler"},
    KeptFloat{"norm", "norm"},
    KeptFloat{"ln_", "norm"},
    KeptFloat{"relative_attention_bias", "position bias"},
    // Few inputs, and errors of a step add up; kernels read them as floats.
    KeptFloat{".dt_proj.", "recurrence"},
    KeptFloat{".in_proj_ba.", "recurrence"},
};

bool is_plain_float(DType dtype) noexcept {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
}

/// Whether a scheme can be given to a weight at all. Rows of nothing, however many, and no rows are copied.
bool applies(const io::WeightInfo& weight, const nn::TensorUse* use, const LayerScheme& scheme) noexcept {
  if (!is_plain_float(weight.dtype)) return false;
  if (scheme.is_cast()) return true;
  return (weight.shape.size() == 2 || is_stack(weight, use)) && weight.stored_bytes != 0;
}

const KeptFloat* find_kept(const std::string& name) {
  const std::string dotted = "." + name;
  const auto* found = std::find_if(kKept.begin(), kKept.end(), [&](const KeptFloat& row) {
    return dotted.find(row.part) != std::string::npos && !(row.outside_layers && !layer_of(name).empty());
  });
  return found != kKept.end() ? found : nullptr;
}

TensorPlan decide(const io::WeightInfo& weight, const LayerScheme& scheme, std::string rule) {
  return {weight.name, scheme.is_cast() ? Action::cast : Action::quantize, scheme, std::move(rule)};
}

/// What happens to a weight that no rule matches.
TensorPlan by_default(const io::WeightInfo& weight, const nn::TensorUse* use, const LayerScheme& scheme) {
  TensorPlan copy{weight.name, Action::copy, {}, ""};
  if (!applies(weight, use, scheme)) return copy;
  if (scheme.is_cast()) return decide(weight, scheme, "default");
  if (use != nullptr) {  // which knows better than names do
    if (use->role == nn::Role::linear) return decide(weight, scheme, "default");
    copy.kept = nn::kRoleNames[static_cast<std::size_t>(use->role)];
    return copy;
  }
  if (!weight.name.ends_with(kWeight)) return copy;
  if (const KeptFloat* kept = find_kept(weight.name)) {
    copy.kept = kept->why;
    return copy;
  }
  return decide(weight, scheme, "default");
}

/// How often a rule matched, and how often it was the first to.
struct Hits {
  std::size_t matched = 0;
  std::size_t decided = 0;
};

}  // namespace

std::span<const KeptFloat> kept_float_by_default() noexcept { return kKept; }

std::string_view action_name(Action action) noexcept {
  switch (action) {
    case Action::quantize:
      return "quantize";
    case Action::cast:
      return "cast";
    case Action::drop:
      return "drop";
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
  auto scheme = parse_layer_scheme(text.substr(at + 1));
  if (!scheme) return propagate(scheme);
  return Rule{std::string(text.substr(0, at)), *scheme, std::string(text)};
}

namespace {

/// What no checkpoint can hold, or nothing here can choose.
Status check_storable(const LayerScheme& scheme) {
  if (!io::is_storable(scheme.weight))
    return fail(ErrorCode::unsupported, "the format " + std::string(scheme.weight.info().name) +
                                            " is the program's own, and no codebook that files can hold");
  if (scheme.activation && scheme.activation->is_static)
    return fail(ErrorCode::unsupported, "scheme '" + to_text(scheme) +
                                            "': static activations take calibration, which there is none of yet; "
                                            "dynamic ones, as int8-token, need none");
  return {};
}

Status check_storable(const PlanOptions& options) {
  if (const Status ok = check_storable(options.scheme); !ok) return ok;
  std::map<std::string_view, FormatId> codebooks;
  const auto has_one_name = [&](FormatId format) {
    return is_listed(format) || codebooks.try_emplace(format.custom->name, format).first->second == format;
  };
  bool unique = has_one_name(options.scheme.weight.format);
  for (const Rule& rule : options.rules) {
    if (!rule.scheme) continue;
    if (const Status ok = check_storable(*rule.scheme); !ok) return ok;
    unique = has_one_name(rule.scheme->weight.format) && unique;
  }
  if (!unique) return fail(ErrorCode::usage, "two codebooks have one name, under which both would be stored");
  return {};
}

// ---- weights that are stored [in, out] ----------------------------------------------------------------------------

Result<std::vector<io::NamePattern>> compile_all(const std::vector<std::string>& patterns) {
  std::vector<io::NamePattern> compiled;
  for (const std::string& text : patterns) {
    auto pattern = io::NamePattern::compile(text);
    if (!pattern) return propagate(pattern);
    compiled.push_back(std::move(*pattern));
  }
  return compiled;
}

tl::unexpected<Error> matches_nothing(const std::string& what, const io::Weights& weights) {
  return fail(ErrorCode::rule_matches_nothing,
              what + " matches no tensor that it could apply to; patterns match whole names, see 'kvant inspect'",
              {weights.path_text(), {}, {}});
}

/// Which of the weights that are to be quantized lie transposed: those that the model's steps or patterns say it of.
Status find_transposed(const io::Weights& weights, const KnownTensors& known, const PlanOptions& options, Plan& plan) {
  const auto patterns = compile_all(options.transposed);
  if (!patterns) return propagate(patterns);
  std::vector<bool> used(patterns->size());
  const Orientations orientations(weights);
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    TensorPlan& tensor = plan.tensors[t];
    if (tensor.action != Action::quantize) continue;
    const nn::TensorUse* use = known.find(weights.list()[t]);
    tensor.transposed = use != nullptr && use->transposed;
    for (std::size_t i = 0; i < patterns->size(); ++i) {
      const auto matched = (*patterns)[i].matches(tensor.name);
      if (!matched) return propagate(matched);
      if (!*matched) continue;
      tensor.transposed = true;
      used[i] = true;
    }
    const Orientation seen = orientations.of(weights.list()[t]);
    const Where where{weights.path_text(), tensor.name, {}};
    if (seen == Orientation::in_out && !tensor.transposed)
      return fail(ErrorCode::unsupported,
                  "is stored [in, out], as the biases of its layer show; --transposed PATTERN quantizes such weights "
                  "along the right axis, --skip PATTERN leaves them as they are",
                  where);
    if (seen == Orientation::out_in && tensor.transposed)
      return fail(ErrorCode::bad_recipe, "is named by --transposed, but stored [out, in], as its bias shows", where);
  }
  for (std::size_t i = 0; i < used.size(); ++i)
    if (!used[i]) return matches_nothing("--transposed '" + options.transposed[i] + "'", weights);
  return {};
}

/// Matrices of a stack are layers of their own, so none may share a scale with the next but one of the whole stack.
Status check_stack(const io::QuantizedWeight& w) {
  const Scheme& scheme = w.scheme.weight;
  const auto rows = static_cast<std::size_t>(w.rows);
  const auto each = rows / static_cast<std::size_t>(w.members);
  if (scheme.granularity.kind() == Granularity::Kind::block && each % scheme.granularity.rows_parameter() != 0)
    return fail(ErrorCode::unsupported, "is a stack of matrices of " + std::to_string(each) +
                                            " rows, which is no multiple of the rows of a block of " + to_text(scheme));
  for (std::size_t first = 0; first < rows; first += each)
    if (const Status ok = check_rows(scheme, rows, static_cast<std::size_t>(w.cols), first, each); !ok)
      return fail(ErrorCode::unsupported, "is a stack of matrices, of which " + ok.error().message);
  return {};
}

Status check_stacks(const io::Weights& weights, const Plan& plan) {
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    const TensorPlan& tensor = plan.tensors[t];
    if (tensor.action != Action::quantize) continue;
    const io::QuantizedWeight w = quantized_form(weights.list()[t], tensor.scheme, tensor.transposed);
    const Status ok = w.members != 0 ? check_stack(w) : Status{};
    if (!ok) return fail(ok.error().code, ok.error().message, {weights.path_text(), tensor.name, {}});
  }
  return {};
}

/// A copy of the embedding is stored once, whatever a rule says of it.
Status drop_tied_head(const io::Weights& weights, Plan& plan) {
  const auto head = nn::find_tied_head(weights);
  if (!head) return propagate(head);
  for (TensorPlan& t : plan.tensors)
    if (*head && t.name == **head) t = {t.name, Action::drop, {}, "tied to the embedding"};
  return {};
}

// ---- what is said about a plan -------------------------------------------------------------------------------------

std::string in_words(const TensorPlan& t) {
  return t.name + " " + (t.action == Action::quantize ? to_text(t.scheme) : "float");
}

/// The first set of matrices that engines join and that a plan splits.
std::string find_split(const Plan& plan) {
  std::map<std::string, const TensorPlan*> sets;
  for (const TensorPlan& t : plan.tensors) {
    const std::string set = nn::joined_with(t.name);
    if (set.empty()) continue;
    const TensorPlan& first = *sets.emplace(set, &t).first->second;
    if (in_words(first).substr(first.name.size()) != in_words(t).substr(t.name.size()))
      return in_words(first) + ", " + in_words(t);
  }
  return "";
}

void warn_of_what_is_left(const io::Weights& weights, const PlanOptions& options, Plan& plan) {
  if (options.scheme.is_cast()) return;
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  const io::WeightInfo* largest = nullptr;
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    const io::WeightInfo& w = weights.list()[t];
    if (!is_plain_float(w.dtype) || w.shape.size() <= 2 || plan.tensors[t].action != Action::copy) continue;
    ++count;
    bytes += w.stored_bytes;
    if (largest == nullptr || w.stored_bytes > largest->stored_bytes) largest = &w;
  }
  if (count != 0)
    plan.warnings.push_back(std::to_string(count) + (count == 1 ? " float tensor" : " float tensors") +
                            " of more than two dimensions, " + std::to_string(bytes) +
                            " bytes, left as they are (the largest: " + io::printable(largest->name, 200) + ")");
  if (std::none_of(plan.tensors.begin(), plan.tensors.end(),
                   [](const TensorPlan& t) { return t.action == Action::quantize; }))
    plan.warnings.push_back("nothing was quantized: no 2-D float weight is left by the rules and the default list");
}

}  // namespace

Result<Plan> make_plan(const io::Weights& weights, const PlanOptions& options) {
  if (const Status ok = check_storable(options); !ok) return propagate(ok);
  std::vector<std::string> texts;
  for (const Rule& rule : options.rules) texts.push_back(rule.pattern);
  const auto patterns = compile_all(texts);
  if (!patterns) return propagate(patterns);
  Plan plan;
  const KnownTensors known(weights);
  std::vector<Hits> hits(options.rules.size());
  for (const io::WeightInfo& weight : weights.list()) {
    if (weight.scheme)
      return fail(ErrorCode::unsupported,
                  "is quantized already (" + to_text(*weight.scheme) + "); run 'kvant dequantize' first",
                  {weights.path_text(), weight.name, {}});
    const nn::TensorUse* use = known.find(weight);
    TensorPlan tensor = by_default(weight, use, options.scheme);
    bool decided = false;
    for (std::size_t i = 0; i < patterns->size(); ++i) {
      const Rule& rule = options.rules[i];
      const auto matched = (*patterns)[i].matches(weight.name);
      if (!matched) return propagate(matched);
      if (!*matched || (rule.scheme && !applies(weight, use, *rule.scheme))) continue;
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
    if (hits[i].matched == 0) return matches_nothing("rule '" + options.rules[i].text + "'", weights);
    if (hits[i].decided == 0)
      plan.warnings.push_back("rule '" + options.rules[i].text + "' is shadowed by earlier rules");
  }
  if (const Status ok = drop_tied_head(weights, plan); !ok) return propagate(ok);
  if (const Status ok = find_transposed(weights, known, options, plan); !ok) return propagate(ok);
  if (const Status ok = check_stacks(weights, plan); !ok) return propagate(ok);
  plan.split = find_split(plan);
  warn_of_what_is_left(weights, options, plan);
  return plan;
}

}  // namespace kvant::pipeline
