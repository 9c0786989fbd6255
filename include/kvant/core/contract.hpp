// SPDX-License-Identifier: Apache-2.0
// Contracts between pieces of code: checked always, reported through one replaceable handler.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace kvant {

/// What a broken contract says: the text of the condition and where it stands.
struct ContractViolation {
  const char* text;
  const char* file;
  int line;
};

using ContractHandler = void (*)(const ContractViolation&);

namespace detail {

inline void default_contract_handler(const ContractViolation& v) {
  std::fprintf(stderr, "kvant: broken contract at %s:%d: %s\n", v.file, v.line, v.text);
}

/// Visible also where a program hides its symbols, or the program and the shared library would have one each.
[[gnu::visibility("default")]] inline std::atomic<ContractHandler> contract_handler{&default_contract_handler};

[[noreturn]] inline void contract_broken(const ContractViolation& v) {
  contract_handler.load(std::memory_order_relaxed)(v);
  std::abort();  // only where the handler returned: there is nothing sound to go on with
}

}  // namespace detail

/// Replaces the handler (one per program) and returns the one before. A handler may throw or exit; when it returns,
/// the process aborts.
inline ContractHandler set_contract_handler(ContractHandler handler) noexcept {
  return detail::contract_handler.exchange(handler != nullptr ? handler : &detail::default_contract_handler);
}

/// Checks a promise of the caller's code. Never for input: wrong files, options and shapes are a Result.
constexpr void expects(bool condition, const char* text, const char* file = __builtin_FILE(),
                       int line = __builtin_LINE()) {
  if (!condition) [[unlikely]]
    detail::contract_broken({text, file, line});
}

}  // namespace kvant
