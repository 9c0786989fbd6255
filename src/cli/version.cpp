// SPDX-License-Identifier: Apache-2.0
// Alone in its file, so that a new commit recompiles nothing else.
#include "version.hpp"

#ifndef KVANT_VERSION
#define KVANT_VERSION "unknown"
#endif
#ifndef KVANT_COMMIT
#define KVANT_COMMIT "unknown"
#endif

namespace kvant::cli {

std::string_view version() noexcept { return KVANT_VERSION; }

std::string_view commit() noexcept { return KVANT_COMMIT; }

std::string_view compiler() noexcept {
#ifdef __clang__
  return __VERSION__;
#else
  return "GCC " __VERSION__;
#endif
}

}  // namespace kvant::cli
