// SPDX-License-Identifier: Apache-2.0
// The verbs that are built. Adding one is a file that defines its row, a line here, and its name in verbs.cpp.
#pragma once

#include "command.hpp"

namespace kvant::cli {

extern const Verb kInspect;
extern const Verb kQuantize;
extern const Verb kDequantize;
extern const Verb kPack;
extern const Verb kCompare;
extern const Verb kEval;
extern const Verb kGenerate;
extern const Verb kCast;
extern const Verb kDecode;
extern const Verb kGemm;
extern const Verb kBench;
extern const Verb kList;
extern const Verb kDoctor;

}  // namespace kvant::cli
