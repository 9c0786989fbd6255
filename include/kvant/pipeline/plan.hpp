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
#include "kvant/quant/scheme.hpp"

namespace kvant::pipeline {

/// One rule: tensors whose whole name the pattern matches get the scheme, or are skipped where there is none.
struct Rule {
  std::string pattern;  ///< PCRE2, case-sensitive, anchored to the whole name
  std::optional<Scheme> scheme;
  std::string text;  ///< as the user wrote it, for reports and errors
};

/// The rule of `--skip PATTERN`.
[[nodiscard]] Rule skip_rule(std::string_view pattern);

/// Parses `PATTERN=SCHEME`, split at the last '='. Errors: bad_recipe (no '=', empty pattern), bad_scheme.
[[nodiscard]] Result<Rule> parse_rule(std::string_view text);

/// What `quantize` was asked for. Rules, skips among them, are ordered: the first match wins.
struct PlanOptions {
  Scheme scheme;
  std::vector<Rule> rules;
};

enum class Action : std::uint8_t { quantize, cast, copy };
[[nodiscard]] std::string_view action_name(Action action) noexcept;

struct TensorPlan {
  std::string name;
  Action action = Action::copy;
  Scheme scheme;     ///< for quantize and cast
  std::string rule;  ///< the rule that decided, as written; "default" or "" where none did
};

struct Plan {
  std::vector<TensorPlan> tensors;  ///< in the order of Weights::list()
  std::vector<std::string> warnings;
};

/// Decides every tensor. By default 2-D float `*.weight` tensors are quantized, except those whose name contains one of
/// skipped_by_default(), and a cast (fp32, fp16, bf16) takes every float tensor; a rule that matches overrides that.
/// A rule's scheme takes the 2-D float tensors among its matches, a cast all float ones. Errors: bad_pattern,
/// rule_matches_nothing, unsupported (the checkpoint is quantized already).
[[nodiscard]] Result<Plan> make_plan(const io::Weights& weights, const PlanOptions& options);

/// Parts of names that are left alone unless a rule says otherwise.
[[nodiscard]] std::span<const std::string_view> skipped_by_default() noexcept;

}  // namespace kvant::pipeline
