// SPDX-License-Identifier: Apache-2.0
#include "metaspace.hpp"

#include <utility>

namespace kvant::text {

namespace {

Result<Metaspace::Prepend> read_prepend(const JsonNode& node) {
  using Prepend = Metaspace::Prepend;
  const auto prefix_space = node.flag("add_prefix_space", true);
  if (!prefix_space) return propagate(prefix_space);
  if (!node.find("prepend_scheme")) return *prefix_space ? Prepend::always : Prepend::never;
  const auto scheme = node.text("prepend_scheme");
  if (!scheme) return propagate(scheme);
  if (*scheme == "never") return Prepend::never;
  if (*scheme != "always" && *scheme != "first")
    return node.unsupported(*scheme, "\"prepend_scheme\" is always, never or first");
  if (!*prefix_space)
    return node.error(ErrorCode::bad_tokenizer,
                      "\"add_prefix_space\" is false, but \"prepend_scheme\" is \"" + *scheme + "\", not \"never\"");
  return *scheme == "first" ? Prepend::first : Prepend::always;
}

}  // namespace

Result<Metaspace> Metaspace::from_json(const JsonNode& node) {
  if (auto ok = node.only({"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"}); !ok)
    return propagate(ok);
  auto replacement = node.character("replacement");
  if (!replacement) return propagate(replacement);
  // A copy of the replacement that old versions wrote and none has read.
  if (node.find("str_rep"))
    if (const auto copy = node.text("str_rep"); !copy) return propagate(copy);
  const auto prepend = read_prepend(node);
  if (!prepend) return propagate(prepend);
  const auto split = node.flag("split", true);
  if (!split) return propagate(split);
  return Metaspace{*std::move(replacement), *prepend, *split};
}

}  // namespace kvant::text
