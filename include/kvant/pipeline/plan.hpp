// SPDX-License-Identifier: Apache-2.0
// What happens to each tensor of a checkpoint: decided, and refused if it makes no sense, before any work.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/quant/layer_scheme.hpp"

namespace kvant::pipeline {

/// One rule: tensors whose whole name the pattern matches get the scheme, or are skipped where there is none.
struct Rule {
  std::string pattern;  ///< PCRE2, case-sensitive, anchored to the whole name
  std::optional<LayerScheme> scheme;
  std::string text;  ///< as the user wrote it, for reports and errors
};

/// The rule of `--skip PATTERN`.
[[nodiscard]] Rule skip_rule(std::string_view pattern);

/// Parses `PATTERN=SCHEME`, split at the last '='. Errors: bad_recipe (no '=', empty pattern), bad_scheme.
[[nodiscard]] Result<Rule> parse_rule(std::string_view text);

/// What `quantize` was asked for. Rules, skips among them, are ordered: the first match wins.
struct PlanOptions {
  LayerScheme scheme;
  std::vector<Rule> rules;
  std::vector<std::string> transposed{};  ///< patterns, as those of rules: weights that are stored [in, out]
};

enum class Action : std::uint8_t { quantize, cast, copy, drop };
[[nodiscard]] std::string_view action_name(Action action) noexcept;

struct TensorPlan {
  std::string name;
  Action action = Action::copy;
  LayerScheme scheme;       ///< for quantize and cast
  std::string rule;         ///< the rule that decided, as written; "default" or "" where none did
  bool transposed = false;  ///< stored [in, out]: rows of its transpose are quantized
  std::string_view kept{};  ///< why a weight stays float by default: its role, or of kept_float_by_default()
};

struct Plan {
  std::vector<TensorPlan> tensors;  ///< in the order of Weights::list()
  std::vector<std::string> warnings;
  /// Matrices of one layer that engines join and that have different schemes, in words; empty where there are none.
  std::string split;
};

/// Decides every tensor. Where config.json names a family of nn::families(), its linear layers are quantized by
/// default, stacks [experts, …] of them too, and what is stored [in, out] is known; of other tensors 2-D float
/// `*.weight` ones, except those that kept_float_by_default() lists. A cast (fp32, fp16, bf16) takes every float
/// tensor; a rule that matches overrides that. A head that is a copy of the embedding, to which it is tied, is dropped.
/// A rule's scheme takes the 2-D float tensors and stacks among its matches, a cast all float ones. Errors:
/// bad_pattern, rule_matches_nothing, unsupported (the checkpoint is quantized already; a weight that is stored [in,
/// out], as its bias shows, and that neither the family nor a pattern says so of; matrices of a stack that would share
/// scales), bad_recipe (a pattern names one as transposed that is not).
[[nodiscard]] Result<Plan> make_plan(const io::Weights& weights, const PlanOptions& options);

/// Weights that stay float unless a rule says otherwise.
struct KeptFloat {
  std::string_view part;  ///< of "." + the tensor's name
  std::string_view why;
  bool outside_layers = false;  ///< only in names without a number
};
[[nodiscard]] std::span<const KeptFloat> kept_float_by_default() noexcept;

}  // namespace kvant::pipeline
