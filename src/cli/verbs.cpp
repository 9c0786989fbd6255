// SPDX-License-Identifier: Apache-2.0
#include "verbs.hpp"

#include <array>

namespace kvant::cli {
namespace {

constexpr std::array kVerbs{&kInspect, &kQuantize, &kDequantize, &kPack,  &kCompare, &kEval,  &kGenerate,
                            &kCast,    &kDecode,   &kGemm,       &kBench, &kList,    &kDoctor};

}  // namespace

std::span<const Verb* const> verbs() noexcept { return kVerbs; }

const Verb* find_verb(std::string_view name) noexcept {
  for (const Verb* verb : kVerbs)
    if (verb->name == name) return verb;
  return nullptr;
}

}  // namespace kvant::cli
