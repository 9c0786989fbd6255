// SPDX-License-Identifier: Apache-2.0
// A verb of the command line: one row of the table in verbs.cpp, one class in the file of its name.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string_view>

#include "kvant/core/error.hpp"

namespace kvant::cli {

class Console;
class Options;

/// What a verb takes and does. An object lives for one run.
class Command {
 public:
  Command() = default;
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  virtual ~Command() = default;

  /// Binds members to options and arguments.
  virtual void define(Options& options) = 0;
  /// Does the work; the result goes to `console`.
  virtual Status run(Console& console) = 0;
};

struct Verb {
  std::string_view name;
  std::string_view synopsis;  ///< what stands after the name
  std::string_view summary;   ///< one sentence
  std::array<std::string_view, 2> examples;
  std::unique_ptr<Command> (*make)();
};

/// All verbs, in the order of the help page.
[[nodiscard]] std::span<const Verb* const> verbs() noexcept;
/// The verb of that name, or nullptr.
[[nodiscard]] const Verb* find_verb(std::string_view name) noexcept;

}  // namespace kvant::cli
